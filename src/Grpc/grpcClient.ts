import type { Socket } from "node:net"
import * as Grpc from "@grpc/grpc-js"
import * as Clock from "effect/Clock"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Exit from "effect/Exit"
import * as FiberSet from "effect/FiberSet"
import { constVoid } from "effect/Function"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import type * as Credentials from "../Tls/Credentials.js"
import * as Codec from "../Transport/internal/codec.js"
import type { Connection, OutgoingCall } from "../Transport/internal/connection.js"
import * as Count from "../Transport/internal/count.js"
import * as Metadata from "../Transport/Metadata.js"
import type * as Method from "../Transport/Method.js"
import * as Peer from "../Transport/Peer.js"
import {
  type CallError,
  type ConnectError,
  DeadlineExceeded,
  HandshakeFailed,
  ResourceExhausted,
  Unavailable,
  Unimplemented
} from "../Transport/TransportError.js"
import * as TransportMetrics from "../Transport/TransportMetrics.js"
import * as GrpcConnector from "./grpcConnector.js"
import * as GrpcMetadata from "./GrpcMetadata.js"
import type { Settings } from "./GrpcOptions.js"
import * as GrpcStatus from "./GrpcStatus.js"
import * as Inbox from "./inbox.js"

type Call = ReturnType<Grpc.ChannelInterface["createCall"]>

const channelOptions = (settings: Settings): Grpc.ChannelOptions => ({
  // Nothing below the call site retries, or attempts would multiply.
  "grpc.enable_retries": 0,
  "grpc.service_config_disable_resolution": 1,
  // Subchannels are pooled by target otherwise, whatever the credentials.
  "grpc.use_local_subchannel_pool": 1,
  "grpc.enable_http_proxy": 0,
  "grpc.enable_channelz": 0,
  "grpc.max_send_message_length": settings.maxSendMessageSize,
  "grpc.max_receive_message_length": settings.maxReceiveMessageSize,
  "grpc.keepalive_time_ms": Duration.toMillis(settings.keepaliveTime),
  "grpc.keepalive_timeout_ms": Duration.toMillis(settings.keepaliveTimeout),
  "grpc.keepalive_permit_without_calls": settings.keepaliveWithoutCalls ? 1 : 0,
  "grpc.initial_reconnect_backoff_ms": Duration.toMillis(settings.initialReconnectBackoff),
  "grpc.max_reconnect_backoff_ms": Duration.toMillis(settings.maxReconnectBackoff),
  "grpc-node.max_session_memory": settings.maxSessionMemory
})

const channelTarget = (target: Peer.Target): string =>
  target._tag === "Unix" ? `unix:${target.path}` : `dns:${Peer.formatTarget(target)}`

interface Channel {
  readonly grpc: Grpc.ChannelInterface
  /** The refusal that keeps the channel from being connected, if it is the one that the text speaks of. */
  readonly refusal: (details: string) => HandshakeFailed | undefined
}

/** A channel that keeps itself connected, and knows why it is not. */
const openChannel = (
  settings: Settings,
  credentials: Credentials.CredentialsService,
  target: Peer.Target
): Effect.Effect<Channel, ConnectError, Scope.Scope> =>
  Effect.gen(function* () {
    const peer = Peer.formatTarget(target)
    const nameWanted = settings.serverName ?? (target._tag === "Unix" ? "localhost" : target.host)
    const runPromise = yield* FiberSet.makeRuntimePromise()
    let lastFailure: HandshakeFailed | Unavailable | undefined
    const refusal = (details: string) =>
      lastFailure?._tag === "HandshakeFailed" && details.includes(lastFailure.message) ? lastFailure : undefined

    const handshake = (socket: Socket) =>
      Effect.gen(function* () {
        const started = yield* Clock.currentTimeMillis
        // Between two owners a socket has no listener for the errors that it may emit at any time.
        socket.on("error", constVoid)
        const secured = yield* GrpcConnector.secure(socket, yield* credentials.current, nameWanted, peer).pipe(
          Effect.timeoutFail({ duration: settings.connectTimeout, onTimeout: () => silent(peer) }),
          Effect.tapError((failure) =>
            Effect.sync(() => {
              lastFailure = failure
            })
          )
        )
        // The server may still stop in the middle of its SETTINGS, which grpc-js would wait for without a limit.
        const spent = (yield* Clock.currentTimeMillis) - started
        runPromise(
          Effect.delay(
            Effect.sync(() => isReady() || secured.socket.destroy()),
            Duration.subtract(settings.connectTimeout, spent)
          )
        ).catch(constVoid)
        return secured
      })

    const channel = yield* Effect.acquireRelease(
      Effect.map(
        credentials.current,
        (material) =>
          new Grpc.Channel(
            channelTarget(target),
            new GrpcConnector.OwnedHandshake(material._tag === "Tls", (socket) => runPromise(handshake(socket))),
            channelOptions(settings)
          )
      ),
      (channel) => Effect.sync(() => channel.close())
    )
    const isReady = () => channel.getConnectivityState(false) === Grpc.connectivityState.READY
    yield* Count.whileOpen(TransportMetrics.connectionsOpened)
    yield* keepConnected(channel)
    yield* Effect.timeoutFail(firstConnect(channel, peer, () => lastFailure), {
      duration: settings.connectTimeout,
      onTimeout: () => lastFailure ?? new DeadlineExceeded({ message: `no connection to ${peer} in time`, peer })
    })
    return { grpc: channel, refusal }
  })

const silent = (peer: string) =>
  new Unavailable({ message: `${peer} accepted the connection and then said nothing`, peer, processed: "no" })

/** grpc-js goes idle when a connection is lost, until the next call. This asks it to connect again at once. */
const keepConnected = (channel: Grpc.ChannelInterface): Effect.Effect<void, never, Scope.Scope> =>
  Effect.asVoid(
    Effect.acquireRelease(
      Effect.sync(() => {
        const watch = { open: true }
        const next = () => {
          if (watch.open) {
            channel.watchConnectivityState(channel.getConnectivityState(true), Number.POSITIVE_INFINITY, next)
          }
        }
        next()
        return watch
      }),
      (watch) =>
        Effect.sync(() => {
          watch.open = false
        })
    )
  )

/** Completes when the channel is connected for the first time, fails when its first attempt did. */
const firstConnect = (
  channel: Grpc.ChannelInterface,
  peer: string,
  lastFailure: () => HandshakeFailed | Unavailable | undefined
): Effect.Effect<void, HandshakeFailed | Unavailable> =>
  Effect.async((resume) => {
    let open = true
    const check = () => {
      if (!open) {
        return
      }
      const state = channel.getConnectivityState(false)
      switch (state) {
        case Grpc.connectivityState.READY:
          return resume(Effect.void)
        case Grpc.connectivityState.TRANSIENT_FAILURE:
          return resume(
            Effect.suspend(() => {
              const failure = lastFailure()
              return failure === undefined ? whyNot(channel, peer) : Effect.fail(failure)
            })
          )
        default:
          channel.watchConnectivityState(state, Number.POSITIVE_INFINITY, check)
      }
    }
    check()
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
    const cancel = () => call.cancelWithStatus(Grpc.status.CANCELLED, "connected after all")
    setImmediate(cancel)
    return Effect.sync(cancel)
  })

interface Where {
  readonly method: string
  readonly peer: string
}

const checkMetadata = (metadata: Metadata.Metadata, limit: number, where: Where) => {
  const size = Metadata.byteSize(metadata)
  return size > limit
    ? Either.left(
        new ResourceExhausted({ message: `metadata has ${size} bytes, more than the ${limit} allowed`, ...where })
      )
    : Either.void
}

/** Connects to a target, and runs calls on the connection. */
export const connect = (
  settings: Settings,
  credentials: Credentials.CredentialsService,
  target: Peer.Target
): Effect.Effect<Connection, ConnectError, Scope.Scope> =>
  Effect.gen(function* () {
    const peer = Peer.formatTarget(target)
    const channel = yield* openChannel(settings, credentials, target)
    const calls = yield* Effect.acquireRelease(
      Effect.sync(() => new Set<Call>()),
      (calls) =>
        Effect.sync(() => {
          for (const call of calls) {
            call.cancelWithStatus(Grpc.status.CANCELLED, "the client was closed")
          }
        })
    )

    const open = (path: string, call: OutgoingCall, listener: Listener): Call => {
      const where = { method: path, peer }
      const deadline = call.timeout === Number.POSITIVE_INFINITY ? call.timeout : Date.now() + call.timeout
      const handle = channel.grpc.createCall(path, deadline, null, null, null)
      calls.add(handle)
      handle.start(GrpcMetadata.toGrpc(call.metadata, call.waitForReady), {
        onReceiveMetadata: (headers) => call.onHeaders?.(GrpcMetadata.fromGrpc(headers)),
        onReceiveMessage: (message: unknown) => {
          if (Buffer.isBuffer(message)) {
            listener.onMessage(GrpcMetadata.asBytes(message))
          }
        },
        onReceiveStatus: (status) => {
          calls.delete(handle)
          call.onTrailers?.(GrpcMetadata.fromGrpc(status.metadata))
          if (status.code === Grpc.status.OK) {
            return listener.onEnd(Exit.void)
          }
          const refusal = status.code === Grpc.status.UNAVAILABLE ? channel.refusal(status.details) : undefined
          listener.onEnd(
            Exit.fail(
              refusal === undefined
                ? GrpcStatus.fromStatus(status, where)
                : new HandshakeFailed({ ...refusal, method: path })
            )
          )
        }
      })
      return handle
    }

    const unary: Connection["unary"] = (method, request, call) => {
      const where = { method: method.path, peer }
      return Effect.async((resume) => {
        const bytes = Either.flatMap(checkMetadata(call.metadata, settings.maxMetadataSize, where), () =>
          Codec.encode(method.input, request, settings.maxSendMessageSize, where)
        )
        if (Either.isLeft(bytes)) {
          return resume(Effect.fail(bytes.left))
        }
        let reply: Uint8Array | undefined
        const handle = open(method.path, call, {
          onMessage: (message) => {
            if (reply !== undefined) {
              handle.cancelWithStatus(Grpc.status.UNIMPLEMENTED, `${method.path} answered with more than one message`)
              return
            }
            reply = message
            handle.startRead()
          },
          onEnd: (exit) =>
            resume(
              Exit.isFailure(exit)
                ? Effect.failCause(exit.cause)
                : reply === undefined
                  ? Effect.fail(new Unimplemented({ message: `${method.path} answered without a message`, ...where }))
                  : Codec.decode(method.output, reply, settings.maxReceiveMessageSize, where)
            )
        })
        handle.startRead()
        handle.sendMessageWithContext({}, GrpcMetadata.asBuffer(bytes.right))
        handle.halfClose()
        return Effect.sync(() => handle.cancelWithStatus(Grpc.status.CANCELLED, "the caller was interrupted"))
      })
    }

    const stream = <I, O, II, OO, E>(
      method: Method.Method<I, O, Method.Shape, II, OO>,
      requests: Stream.Stream<II, E>,
      call: OutgoingCall
    ): Stream.Stream<O, CallError | E> =>
      Stream.unwrapScoped(
        Effect.gen(function* () {
          const where = { method: method.path, peer }
          yield* checkMetadata(call.metadata, settings.maxMetadataSize, where)
          const inbox = Inbox.make<CallError | E>(() => handle.startRead())
          const handle: Call = yield* Effect.acquireRelease(
            Effect.sync(() => open(method.path, call, { onMessage: inbox.push, onEnd: inbox.end })),
            (handle) =>
              Effect.sync(() => handle.cancelWithStatus(Grpc.status.CANCELLED, "the caller stopped the stream"))
          )
          const send = (request: II) =>
            Effect.flatMap(Codec.encode(method.input, request, settings.maxSendMessageSize, where), (bytes) =>
              Effect.async<void>((resume) => {
                handle.sendMessageWithContext(
                  { callback: () => resume(Effect.void) },
                  GrpcMetadata.asBuffer(bytes)
                )
              })
            )
          yield* Stream.runForEach(requests, send).pipe(
            Effect.matchCauseEffect({
              onFailure: (cause) =>
                Effect.sync(() => {
                  inbox.end(Exit.failCause(cause))
                  handle.cancelWithStatus(Grpc.status.CANCELLED, "the request stream failed")
                }),
              onSuccess: () => Effect.sync(() => handle.halfClose())
            }),
            Effect.forkScoped
          )
          return Stream.mapEffect(inbox.stream, (bytes) =>
            Codec.decode(method.output, bytes, settings.maxReceiveMessageSize, where)
          )
        })
      )

    return { unary, stream }
  })

interface Listener {
  readonly onMessage: (bytes: Uint8Array) => void
  readonly onEnd: (exit: Exit.Exit<void, CallError>) => void
}
