/**
 * MemoryLive: calls inside one process, with what a wire does to them: serialization, limits, deadlines, cancellation
 * and backpressure. For tests, and for programs whose nodes share a process.
 *
 * @since 0.1.0
 */

import * as Cause from "effect/Cause"
import * as Config from "effect/Config"
import type * as ConfigError from "effect/ConfigError"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Exit from "effect/Exit"
import * as FiberId from "effect/FiberId"
import { constVoid } from "effect/Function"
import * as Layer from "effect/Layer"
import * as Mailbox from "effect/Mailbox"
import * as Metric from "effect/Metric"
import * as Option from "effect/Option"
import * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import * as CallDuration from "../Calls/CallDuration.js"
import * as CallScope from "../Calls/CallScope.js"
import * as Codec from "../Calls/Codec.js"
import * as InFlight from "../Calls/HandlerFibers.js"
import * as MetadataLimit from "../Calls/MetadataLimit.js"
import * as SharedConnections from "../Connections/ConnectionPool.js"
import type { Pending } from "../Connections/ReconnectingConnection.js"
import * as TransportOptions from "../Connections/TransportOptions.js"
import * as Entries from "../protocol/Entries.js"
import * as Authorizer from "../Transport/Authorizer.js"
import type { Connection, OutgoingCall } from "../Transport/Connection.js"
import * as Deadline from "../Transport/Deadline.js"
import * as IncomingCall from "../Transport/IncomingCall.js"
import * as Authorization from "../Transport/internal/authorization.js"
import * as Boundary from "../Transport/internal/boundary.js"
import { exactlyOne } from "../Transport/internal/cardinality.js"
import * as Turns from "../Transport/internal/eventLoop.js"
import * as Count from "../Transport/internal/gauge.js"
import * as Status from "../Transport/internal/status.js"
import * as Time from "../Transport/internal/time.js"
import * as Metadata from "../Transport/Metadata.js"
import type * as Method from "../Transport/Method.js"
import * as Peer from "../Transport/Peer.js"
import * as Route from "../Transport/Route.js"
import {
  BindError,
  type CallError,
  Cancelled,
  DeadlineExceeded,
  HandshakeFailed,
  type StatusError,
  Unavailable,
  Unimplemented
} from "../Transport/TransportError.js"
import * as TransportMetrics from "../Transport/TransportMetrics.js"
import * as Transport from "../Transport/TransportService.js"

type Settings = ReturnType<typeof TransportOptions.withDefaults>

interface Listening {
  readonly authorize: Authorizer.Authorizer
  readonly settings: Settings
  readonly routes: ReadonlyMap<string, Route.Route>
  readonly inFlight: InFlight.InFlight
  readonly boundary: Boundary.Boundary
  /** Ends the calls that are left, whatever their handlers do. */
  readonly live: Set<Effect.Effect<unknown>>
}

/** What listens in this process: like the loopback interface, there is one, whatever layers a program builds. */
const network = new Map<string, Listening>()
const waiting = new Set<() => void>()

/** Messages that wait between the two sides of a call, in each direction, before the sender is held up. */
const window = 16

type Frame =
  | { readonly _tag: "Headers"; readonly metadata: Metadata.Metadata }
  | { readonly _tag: "Message"; readonly bytes: Uint8Array }
  | { readonly _tag: "Trailers"; readonly metadata: Metadata.Metadata; readonly status: Option.Option<StatusError> }

interface Where {
  readonly method: string
  readonly peer: string
}

const unavailable = (where: Partial<Where> & { readonly peer: string }) =>
  new Unavailable({ message: `nothing listens on ${where.peer}`, processed: "no", ...where })

/** Nobody proves an identity here, so that a listener lets in everybody or nobody. */
const enter = (listening: Listening, where: Partial<Where> & { readonly peer: string }) =>
  Authorization.allows(listening.boundary, listening.authorize, Option.none(), "memory")
    ? Effect.succeed(listening)
    : Effect.zipRight(
        Metric.increment(Metric.tagged(TransportMetrics.handshakesRefused, "reason", "NotAuthorized")),
        Effect.fail(
          new HandshakeFailed({
            message: `${where.peer} refused the connection: NotAuthorized`,
            reason: "NotAuthorized",
            refusedBy: "remote",
            ...where
          })
        )
      )

const find = (where: Where, call: OutgoingCall): Effect.Effect<Listening, Unavailable | HandshakeFailed> =>
  Effect.suspend(() => {
    const listening = network.get(where.peer)
    return listening !== undefined
      ? enter(listening, where)
      : call.waitForReady
        ? Effect.zipRight(listenerStarted, find(where, call))
        : Effect.fail(unavailable(where))
  })

const listenerStarted = Effect.async<void>((resume) => {
  const wake = () => {
    waiting.delete(wake)
    resume(Effect.void)
  }
  waiting.add(wake)
  return Effect.sync(() => waiting.delete(wake))
})

/** The serving side of one call: what the handler answers, as frames, whatever becomes of it. */
const respond = (
  listening: Listening,
  route: Route.Route | undefined,
  call: IncomingCall.IncomingCall,
  requests: Stream.Stream<unknown, StatusError>,
  frames: Pick<Mailbox.Mailbox<Frame>, "offer" | "end">,
  maxMetadataSize: number
): Effect.Effect<void> => {
  const where = { method: call.method, peer: call.peer.address }
  const { response } = call
  const sent = (metadata: Metadata.Metadata) =>
    MetadataLimit.fits(metadata, maxMetadataSize) ? Metadata.filter(metadata, Entries.isOfResponse) : Metadata.empty
  const sendHeaders = Effect.suspend(() => {
    if (response.headersSent) {
      return Effect.void
    }
    response.headersSent = true
    return frames.offer({ _tag: "Headers", metadata: sent(response.headers) })
  })
  const checkResponse = Effect.suspend(() => MetadataLimit.checkResponse(response, maxMetadataSize))
  const checkHeaders = Effect.suspend(() => (response.headersSent ? Effect.void : checkResponse))
  const sendStatus = (status: Option.Option<StatusError>) =>
    sendHeaders.pipe(
      Effect.zipRight(
        Effect.suspend(() =>
          frames.offer({
            _tag: "Trailers",
            metadata: sent(
              Option.match(status, {
                onNone: () => response.trailers,
                onSome: ({ metadata }) => MetadataLimit.ofError(response.trailers, metadata, maxMetadataSize)
              })
            ),
            status
          })
        )
      ),
      Effect.zipRight(frames.end)
    )
  if (route === undefined) {
    return Effect.asVoid(sendStatus(Option.some(new Unimplemented({ message: `unknown method ${call.method}` }))))
  }
  const answer = Stream.runForEach(Route.asStream(route)(requests, call), (message) =>
    Effect.flatMap(
      Codec.encode(route.method.output, message, listening.settings.maxSendMessageSize, where, listening.boundary),
      (bytes) =>
        Effect.all([checkHeaders, sendHeaders, frames.offer({ _tag: "Message", bytes }), Turns.next], { discard: true })
    )
  ).pipe(Effect.zipRight(checkResponse))
  return Effect.uninterruptibleMask((restore) =>
    Effect.gen(function* () {
      const scope = yield* Scope.make()
      const exit = yield* Effect.exit(restore(Scope.extend(answer, scope)))
      yield* Exit.match(yield* CallScope.close(scope, InFlight.settled(exit, call), call), {
        onFailure: (cause) =>
          sendStatus(
            Option.orElseSome(Cause.failureOption(cause), () =>
              listening.inFlight.isDraining()
                ? new Unavailable({ message: "the peer shut down" })
                : new Cancelled({ message: "the handler was interrupted" })
            )
          ),
        onSuccess: () => sendStatus(Option.none())
      })
    })
  )
}

const connect = (settings: Settings, target: Peer.Target): Effect.Effect<Pending, never, Scope.Scope> =>
  Effect.gen(function* () {
    const peer = Peer.formatTarget(target)
    yield* Count.whileOpen(TransportMetrics.connectionsOpened)
    const turns = new WeakMap<Listening, Effect.Semaphore>()
    const open = new Set<Effect.Effect<unknown>>()
    let closed = false
    yield* Effect.addFinalizer(() =>
      Effect.suspend(() => {
        closed = true
        return Effect.forEach(open, (end) => end)
      })
    )

    const turnsOf = (listening: Listening) => {
      const known = turns.get(listening)
      const semaphore = known ?? Effect.unsafeMakeSemaphore(listening.settings.maxConcurrentStreams)
      turns.set(listening, semaphore)
      return semaphore
    }

    /** Waits for the listener where the caller wants that, and for a turn on this connection. */
    const admit = (
      where: Where,
      call: OutgoingCall
    ): Effect.Effect<Listening, Unavailable | HandshakeFailed, Scope.Scope> =>
      Effect.flatMap(find(where, call), (listening) =>
        Effect.flatMap(
          Effect.acquireReleaseInterruptible(turnsOf(listening).take(1), () => turnsOf(listening).release(1)),
          () => (network.get(peer) === listening ? Effect.succeed(listening) : admit(where, call))
        )
      )

    const start = Effect.fnUntraced(function* <I, O, II, OO, E>(
      method: Method.Method<I, O, Method.Shape, II, OO>,
      requests: Stream.Stream<II, E>,
      call: OutgoingCall
    ) {
      const where = { method: method.path, peer }
      if (closed) {
        return yield* new Cancelled({ message: "the client was closed", processed: "no", ...where })
      }
      yield* MetadataLimit.check(call.metadata, settings.maxMetadataSize, where)
      const callers = Deadline.after(yield* now, call.timeout)
      const listening = yield* Effect.timeoutFail(admit(where, call), {
        duration: call.timeout,
        onTimeout: () => exceeded(where)
      })
      const maxMetadataSize = Math.min(settings.maxMetadataSize, listening.settings.maxMetadataSize)
      yield* MetadataLimit.check(call.metadata, maxMetadataSize, where)
      const route = listening.routes.get(method.path)
      const limit =
        route === undefined ? Number.POSITIVE_INFINITY : CallDuration.limitOf(listening.settings.maxCallDuration, route)
      const arrived = yield* now
      const deadline = Deadline.min(callers, Deadline.after(arrived, limit))
      const frames = yield* Effect.acquireRelease(
        Mailbox.make<Frame, CallError | E>(window),
        (frames) => frames.shutdown
      )
      const received = yield* Mailbox.make<unknown, StatusError>(window)
      const incoming = IncomingCall.make({
        method: method.path,
        peer: { address: "memory", identity: Option.none() },
        metadata: Metadata.filter(call.metadata, Entries.isOfRequest),
        deadline,
        draining: listening.inFlight.draining,
        boundary: listening.boundary,
        endConnection: constVoid
      })
      const handler = yield* Effect.acquireRelease(
        Effect.sync(() =>
          listening.inFlight.fork(
            respond(listening, route, incoming, Mailbox.toStream(received), frames, maxMetadataSize),
            route?.context ?? Context.empty(),
            incoming,
            constVoid
          )
        ),
        (handler) => Effect.sync(() => handler.unsafeInterruptAsFork(FiberId.none))
      )
      const breakOff = (cause: Cause.Cause<CallError | E>) =>
        Effect.suspend(() => {
          handler.unsafeInterruptAsFork(FiberId.none)
          return frames.failCause(cause)
        })
      yield* during(open, breakOff(Cause.fail(new Cancelled({ message: "the client was closed", ...where }))))
      yield* during(listening.live, breakOff(Cause.fail(new Unavailable({ message: "the peer shut down", ...where }))))
      yield* Deadline.remaining(deadline).pipe(
        Effect.flatMap(Effect.sleep),
        Effect.zipRight(breakOff(Cause.fail(CallDuration.exceeded(callers - arrived, limit, where)))),
        Effect.forkScoped
      )
      // The listener reads with its own codec; what it has no method for it does not read.
      const codec = route?.method.input
      const send = (request: II) =>
        Codec.encode(method.input, request, settings.maxSendMessageSize, where, listening.boundary).pipe(
          Either.flatMap((bytes) =>
            codec === undefined
              ? Either.right(undefined)
              : Codec.decode(codec, bytes, listening.settings, where, listening.boundary)
          ),
          Effect.flatMap((message) => Effect.zipRight(received.offer(message), Turns.next))
        )
      yield* Stream.runForEach(requests, send).pipe(
        Effect.matchCauseEffect({ onFailure: breakOff, onSuccess: () => received.end }),
        Effect.forkScoped
      )
      return Stream.mapConcatEffect(Mailbox.toStream(frames), (frame) =>
        read(frame, method, settings, call, where, listening.boundary)
      )
    })

    const stream: Connection["stream"] = (method, requests, call) => Stream.unwrapScoped(start(method, requests, call))
    return {
      ready: (waitForReady) =>
        Effect.suspend((): Effect.Effect<void, Unavailable | HandshakeFailed> => {
          const listening = network.get(peer)
          return listening !== undefined
            ? Effect.asVoid(enter(listening, { peer }))
            : waitForReady
              ? Effect.void
              : unavailable({ peer })
        }),
      stream,
      unary: (method, request, call) =>
        exactlyOne(stream(method, Stream.succeed(request), call), "response", method.path)
    }
  })

const now = Effect.clockWith((clock) => Effect.sync(() => Time.now(clock)))

const during = <A>(set: Set<A>, entry: A) =>
  Effect.acquireRelease(
    Effect.sync(() => set.add(entry)),
    () => Effect.sync(() => set.delete(entry))
  )

const exceeded = (where: Where) => new DeadlineExceeded({ message: "the deadline passed", ...where })

/** The calling side of one frame: messages go on, the rest is reported to who asked for it. */
const read = <O>(
  frame: Frame,
  method: Method.Method<unknown, O>,
  settings: Settings,
  call: OutgoingCall,
  where: Where,
  boundary: Boundary.Boundary
): Effect.Effect<ReadonlyArray<O>, StatusError> => {
  switch (frame._tag) {
    case "Headers":
      return Effect.sync(() => {
        call.onHeaders?.(frame.metadata)
        return []
      })
    case "Message":
      return Effect.map(Codec.decode(method.output, frame.bytes, settings, where, boundary), (message) => [message])
    case "Trailers": {
      const status = Option.map(frame.status, (status) => Status.received(status, frame.metadata, where))
      call.onTrailers?.(frame.metadata)
      return Option.match(status, { onNone: () => Effect.succeed([]), onSome: Effect.fail })
    }
  }
}

/** As a client's target names it. */
const hostOf = (host: string | undefined): string | undefined => {
  const target = host === undefined ? undefined : Peer.parseTarget(Peer.formatAddress({ host, port: 1 }))
  return target !== undefined && Either.isRight(target) && target.right._tag === "Tcp" ? target.right.host : host
}

const address = (options: Transport.ListenOptions): Peer.Address => {
  if (options.path !== undefined) {
    return { host: "", port: 0, path: options.path }
  }
  const host = options.host ?? "127.0.0.1"
  let port = options.port ?? 0
  if (port === 0) {
    port = firstFreePort
    while (network.has(Peer.formatAddress({ host, port }))) {
      port += 1
    }
  }
  return { host, port }
}

/** The first of the ports that no service is given (RFC 6335, section 6). */
const firstFreePort = 49152

const listen = (
  settings: Settings,
  routes: ReadonlyMap<string, Route.Route>,
  options: Transport.ListenOptions
): Effect.Effect<Peer.Address, BindError, Scope.Scope> =>
  Effect.gen(function* () {
    const inFlight = yield* InFlight.make
    const boundary = yield* Boundary.make
    const live: Listening["live"] = new Set()
    const bound = yield* Effect.acquireRelease(
      Effect.suspend(() => {
        const wanted = address({ ...options, host: hostOf(options.host) })
        const name = Peer.formatAddress(wanted)
        if (network.has(name)) {
          return new BindError({ reason: "AddressInUse", address: name, message: `${name} is in use` })
        }
        network.set(name, {
          authorize: options.authorize ?? Authorizer.any,
          settings,
          routes,
          inFlight,
          boundary,
          live
        })
        for (const wake of [...waiting]) {
          wake()
        }
        return Effect.succeed(wanted)
      }),
      (bound) =>
        Effect.suspend(() => {
          network.delete(Peer.formatAddress(bound))
          return Effect.zipRight(
            inFlight.drain(options.gracePeriod ?? settings.gracePeriod),
            Effect.suspend(() => Effect.forEach(live, (end) => end))
          )
        })
    )
    return bound
  })

/**
 * @since 0.1.0
 * @category layers
 */
export const layer = (options: TransportOptions.TransportOptions = {}): Layer.Layer<Transport.Transport> =>
  Layer.scoped(
    Transport.Transport,
    Effect.gen(function* () {
      const settings = TransportOptions.withDefaults(options)
      return {
        connect: yield* SharedConnections.make((target) => connect(settings, target)),
        listen: (routes, options) => listen(settings, routes, options),
        defaultTimeout: settings.defaultTimeout,
        description: Effect.succeed("in memory")
      }
    })
  )

/**
 * Calls inside this process. Listeners are found by host and port, as on a network; a program can have several.
 *
 * @since 0.1.0
 * @category layers
 */
export const MemoryLive: Layer.Layer<Transport.Transport> = layer()

/**
 * The transport in memory with options from the environment.
 *
 * @since 0.1.0
 * @category layers
 */
export const layerConfig = (
  config: Config.Config.Wrap<TransportOptions.TransportOptions>
): Layer.Layer<Transport.Transport, ConfigError.ConfigError> =>
  Layer.unwrapEffect(Effect.map(Config.unwrap(config), layer))
