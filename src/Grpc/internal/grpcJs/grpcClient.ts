/** The client side of GrpcLive: channels of grpc-js as connections, and the calls on them. */
import type * as Net from "node:net"
import * as Grpc from "@grpc/grpc-js"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as FiberSet from "effect/FiberSet"
import { constUndefined, constVoid } from "effect/Function"
import type * as Scope from "effect/Scope"
import * as Deadlines from "../../../Calls/Deadlines.js"
import * as Addresses from "../../../Connections/Addresses.js"
import * as Progress from "../../../Connections/Progress.js"
import * as Reconnected from "../../../Connections/ReconnectingConnection.js"
import type * as Credentials from "../../../Credentials/Credentials.js"
import * as ServerName from "../../../Credentials/ServerName.js"
import * as Deferred from "../../../effect/Deferred.js"
import type { Reverification } from "../../../Handshake/Reverification.js"
import type { Boundary } from "../../../Transport/internal/boundary.js"
import * as CallMetrics from "../../../Transport/internal/callMetrics.js"
import * as Timers from "../../../Transport/internal/timers.js"
import * as Unreachable from "../../../Transport/internal/unreachable.js"
import * as Peer from "../../../Transport/Peer.js"
import { type DeadlineExceeded, HandshakeFailed, Unavailable } from "../../../Transport/TransportError.js"
import type { TargetNames } from "../../../Transport/TransportService.js"
import type { Settings } from "../../GrpcJsOptions.js"
import * as Keepalive from "../keepalive.js"
import * as ChannelTarget from "./channelTarget.js"
import * as GrpcConnector from "./grpcConnector.js"
import * as GrpcHttp2 from "./grpcHttp2.js"
import * as GrpcOutgoing from "./grpcOutgoing.js"
import * as IdentityFilter from "./identityFilter.js"

type Failure = Unavailable | DeadlineExceeded | HandshakeFailed

const channelOptions = (settings: Settings, authority: string, keepaliveMillis: number): Grpc.ChannelOptions => ({
  "grpc.default_authority": authority,
  // Nothing below the call site retries, or attempts would multiply.
  "grpc.enable_retries": 0,
  "grpc.service_config_disable_resolution": 1,
  // Subchannels are pooled by target otherwise, whatever the credentials.
  "grpc.use_local_subchannel_pool": 1,
  "grpc.enable_http_proxy": 0,
  "grpc.enable_channelz": 0,
  // A connection without calls is kept: the peer shall be there for the next one.
  "grpc.client_idle_timeout_ms": Timers.maxTimerMillis,
  "grpc.max_send_message_length": settings.maxSendMessageSize,
  "grpc.max_receive_message_length": settings.maxReceiveMessageSize,
  "grpc.keepalive_time_ms": Timers.clamp(keepaliveMillis),
  "grpc.keepalive_timeout_ms": Timers.clamp(Duration.toMillis(settings.keepaliveTimeout)),
  // Requests wait at their source instead of in a buffer for retries, which are off.
  "grpc.per_rpc_retry_buffer_size": 0,
  "grpc.keepalive_permit_without_calls": settings.keepaliveWithoutCalls ? 1 : 0,
  "grpc-node.max_session_memory": settings.maxSessionMemory
})

/** A silent peer is probed by TCP after so long: below what HTTP/2 may ask for, NATs forget a connection (RFC 5382). */
const tcpKeepAliveMillis = 30_000

/** A channel that is connected; it is left when it is no more, and another takes its place. */
interface Channel {
  readonly grpc: Grpc.ChannelInterface
  readonly isReady: () => boolean
  /** Called when it is connected no more, or should not be. */
  readonly onLost: (lost: () => void) => void
}

/** Connects a channel to one address, or fails with the reason. */
const openChannel = (
  settings: Settings,
  credentials: Credentials.CredentialsService,
  boundary: Boundary,
  reverification: Reverification,
  target: Peer.Target,
  names: TargetNames,
  keepalive: Keepalive.Keepalive,
  to: Peer.Target
): Effect.Effect<Channel, Failure, Scope.Scope> =>
  Effect.gen(function* () {
    const peer = Peer.formatTarget(target)
    const nameWanted = ServerName.wanted(settings.serverName, target, names)
    const runPromise = yield* FiberSet.makeRuntimePromise()
    let onLost = constVoid
    const connecting = connectingSockets(settings.connectTimeout, () => isReady(), boundary, peer)
    /** Why the latest attempt failed. */
    let failure: () => HandshakeFailed | Unavailable | undefined = constUndefined

    const onSocket = (socket: Net.Socket) => {
      connecting.add(socket)
      socket.once("connect", () => socket.setKeepAlive(true, tcpKeepAliveMillis))
      socket.once("error", (error: NodeJS.ErrnoException) => {
        if (error.syscall === "connect") {
          failure = () => Unreachable.unreachable(peer, error)
        }
      })
    }

    const handshake = (
      socket: Net.Socket
    ): Effect.Effect<{ readonly socket: Net.Socket; readonly secure: boolean }, HandshakeFailed | Unavailable> =>
      Effect.gen(function* () {
        failure = constUndefined
        // Between two owners a socket has no listener for the errors that it may emit at any time.
        socket.on("error", constVoid)
        const material = yield* credentials.current
        if (material._tag === "Insecure") {
          // HTTP/2 servers begin with SETTINGS, which makes the channel ready; this one began with something else.
          failure = () => (socket.destroyed && socket.bytesRead > 0 ? noHttp2(peer) : undefined)
        }
        return yield* GrpcConnector.secure(socket, material, nameWanted, peer, boundary, reverification, () =>
          onLost()
        ).pipe(
          Effect.tap(() => Effect.sync(() => connecting.shaken(socket))),
          Effect.mapError((error) => (connecting.isLate(socket) ? silent(peer) : error)),
          Effect.tapError((error) =>
            Effect.sync(() => {
              failure = () => error
            })
          )
        )
      })

    const channel: Grpc.Channel = yield* Effect.acquireRelease(
      Effect.map(credentials.current, (material) => {
        const channel = new Grpc.Channel(
          ChannelTarget.format(to),
          new GrpcConnector.OwnedHandshake(material._tag === "Tls", {
            onSocket: (socket) =>
              boundary.guard(
                "socket",
                peer,
                () => onSocket(socket),
                () => socket.destroy()
              ),
            handshake: (socket) => runPromise(handshake(socket))
          }),
          channelOptions(settings, Addresses.authorityFor(target, names), keepalive.millis())
        )
        IdentityFilter.install(channel)
        return channel
      }),
      (channel) => Effect.sync(() => channel.close())
    )
    const isReady = (): boolean => channel.getConnectivityState(false) === Grpc.connectivityState.READY
    yield* Effect.addFinalizer(() => Effect.sync(connecting.close))
    yield* firstConnect(channel, peer, boundary, () => failure())
    return {
      grpc: channel,
      isReady,
      onLost: (lost) => {
        onLost = lost
        if (isReady()) {
          channel.watchConnectivityState(Grpc.connectivityState.READY, Number.POSITIVE_INFINITY, () =>
            boundary.guard("engine", peer, lost, constVoid)
          )
        } else {
          lost()
        }
      }
    }
  })

/**
 * The sockets of a channel until HTTP/2 is spoken on them, for which grpc-js has no limit: not for TCP, and not for a
 * server that stops in the middle of its SETTINGS. A channel can be ready on one of them while it waits for another, of
 * the next address.
 */
const connectingSockets = (timeout: Duration.Duration, isReady: () => boolean, boundary: Boundary, peer: string) => {
  const timers = new Map<Net.Socket, () => void>()
  const shaken = new WeakSet<Net.Socket>()
  const late = new WeakSet<Net.Socket>()
  const stop = (socket: Net.Socket): void => {
    timers.get(socket)?.()
    timers.delete(socket)
  }
  const giveUp = (socket: Net.Socket, reason?: Error): void => {
    stop(socket)
    if (!isReady() || !shaken.has(socket)) {
      late.add(socket)
      socket.destroy(reason)
    }
  }
  return {
    add: (socket: Net.Socket) => {
      const onTimeout = () => giveUp(socket, new Error("no answer in time"))
      const stopTimer = Timers.after(Duration.toMillis(timeout), () =>
        boundary.guard("timer", peer, onTimeout, () => socket.destroy())
      )
      timers.set(socket, stopTimer)
      socket.once("close", () => stop(socket))
    },
    /** The handshake is over, where there is one. */
    shaken: (socket: Net.Socket) => {
      shaken.add(socket)
    },
    isLate: (socket: Net.Socket) => late.has(socket),
    close: () => {
      for (const socket of timers.keys()) {
        giveUp(socket)
      }
    }
  }
}

const silent = (peer: string) =>
  new Unavailable({ message: `${peer} accepted the connection and then said nothing`, peer, processed: "no" })

const noHttp2 = (peer: string) =>
  new HandshakeFailed({
    message: `${peer} does not speak HTTP/2 without TLS`,
    reason: "NoCommonProtocol",
    refusedBy: "local",
    peer
  })

/** Completes when the channel is connected, fails when its first attempt did. */
const firstConnect = (
  channel: Grpc.ChannelInterface,
  peer: string,
  boundary: Boundary,
  failure: () => HandshakeFailed | Unavailable | undefined
): Effect.Effect<void, HandshakeFailed | Unavailable> =>
  Effect.async((resume) => {
    let open = true
    const check = () => {
      if (!open) {
        return
      }
      const state = channel.getConnectivityState(true)
      switch (state) {
        case Grpc.connectivityState.READY:
          return resume(Effect.void)
        case Grpc.connectivityState.TRANSIENT_FAILURE:
          return resume(Effect.mapError(whyNot(channel, peer), (unavailable) => failure() ?? unavailable))
        default:
          channel.watchConnectivityState(state, Number.POSITIVE_INFINITY, guarded)
      }
    }
    const guarded = () =>
      boundary.guard("engine", peer, check, (cause) =>
        resume(Effect.fail(new Unavailable({ message: `can't connect to ${peer}`, peer, processed: "no", cause })))
      )
    guarded()
    return Effect.sync(() => {
      open = false
    })
  })

/** grpc-js tells why it is not connected to calls only: this one fails before it reaches a wire. */
const whyNot = (channel: Grpc.ChannelInterface, peer: string): Effect.Effect<never, Unavailable> =>
  Effect.async((resume) => {
    const call = channel.createCall("/", Number.POSITIVE_INFINITY, null, null, null)
    call.start(new Grpc.Metadata(), {
      onReceiveMetadata: constVoid,
      onReceiveMessage: constVoid,
      onReceiveStatus: (status) =>
        resume(
          Effect.fail(
            new Unavailable({ message: `can't connect to ${peer}: ${status.details}`, peer, processed: "no" })
          )
        )
    })
    const cancel = () => call.cancelWithStatus(Grpc.status.CANCELLED, "no reason is known")
    const timer = setTimeout(cancel, reasonPeriodMillis)
    return Effect.sync(() => {
      clearTimeout(timer)
      cancel()
    })
  })

/** How long grpc-js may take to say why: at once, unless it connects after all. */
const reasonPeriodMillis = 100

/** Connects, and runs calls on the channel. */
const connectOnce = (
  settings: Settings,
  credentials: Credentials.CredentialsService,
  boundary: Boundary,
  reverification: Reverification,
  target: Peer.Target,
  names: TargetNames,
  keepalive: Keepalive.Keepalive
): Effect.Effect<Reconnected.Live, Failure, Scope.Scope> =>
  Effect.gen(function* () {
    const peer = Peer.formatTarget(target)
    const channel = yield* Addresses.connect(
      target,
      settings.connectTimeout,
      (to) => openChannel(settings, credentials, boundary, reverification, target, names, keepalive, to),
      names.alternatives
    )
    const progress = Progress.make()
    const deadlines = Deadlines.make((cause) => boundary.caught("timer", peer, cause))
    const lost = yield* Deferred.make<void>()
    const ended = yield* Deferred.make<void>()
    let isLost = false
    let isClosed = false

    const endWhenIdle = () => {
      if (isLost && calls.size() === 0) {
        Deferred.doneUnsafe(ended, Effect.void)
      }
    }

    const calls = GrpcOutgoing.make({
      settings,
      grpc: channel.grpc,
      isReady: channel.isReady,
      isClosed: () => isClosed,
      peer,
      boundary,
      deadlines,
      progress,
      onTooManyPings: keepalive.onTooManyPings,
      onIdle: endWhenIdle
    })

    const leave = () => {
      isLost = true
      const session = calls.session()
      if (session !== undefined) {
        GrpcHttp2.pingWhileOpen(session)
      }
      Deferred.doneUnsafe(lost, Effect.void)
      endWhenIdle()
    }

    channel.onLost(leave)
    yield* Effect.addFinalizer(() =>
      Effect.sync(() => {
        isClosed = true
        calls.cancelAll()
        deadlines.stop()
      })
    )

    return {
      connection: calls.connection,
      isLost: () => isLost || !channel.isReady(),
      lost: Deferred.await(lost),
      stalled: progress.stalled,
      hasServed: progress.hasServed,
      ended: Deferred.await(ended),
      leave
    }
  })

/** Connects to a target, and runs calls on the connection, or on the one that replaces it. */
export const connect = (
  settings: Settings,
  credentials: Credentials.CredentialsService,
  boundary: Boundary,
  reverification: Reverification,
  target: Peer.Target,
  names: TargetNames
): Effect.Effect<Reconnected.Reconnected<Reconnected.Live>, never, Scope.Scope> =>
  Reconnected.make(
    connectOnce(settings, credentials, boundary, reverification, target, names, Keepalive.make(settings.keepaliveTime)),
    { initial: settings.initialReconnectBackoff, max: settings.maxReconnectBackoff },
    Peer.formatTarget(target),
    CallMetrics.client(settings.metrics, "grpc", Peer.formatTarget(target))
  )
