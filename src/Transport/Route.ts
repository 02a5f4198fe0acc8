/** Routes: a method with the handler that answers it, which is what a transport serves. */
import * as Cause from "effect/Cause"
import type * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as LogLevel from "effect/LogLevel"
import * as Metric from "effect/Metric"
import * as Option from "effect/Option"
import * as Stream from "effect/Stream"
import * as Authorizer from "./Authorizer.js"
import type { IncomingCall } from "./IncomingCall.js"
import * as Authorization from "./internal/authorization.js"
import { exactlyOne } from "./internal/cardinality.js"
import * as Status from "./internal/status.js"
import * as Tracing from "./internal/tracing.js"
import type * as Method from "./Method.js"
import type * as Service from "./Service.js"
import {
  HandshakeFailed,
  Internal,
  isStatusError,
  notProcessed,
  PermissionDenied,
  type StatusError,
  Unavailable
} from "./TransportError.js"
import * as TransportMetrics from "./TransportMetrics.js"

/** A method whose handler and codecs are known to belong together. */
export type UnknownMethod = Method.Method<unknown, unknown, Method.Shape, unknown, unknown>

/**
 * A method and the handler that answers it, with everything provided that the handler requires. It fails with nothing
 * but what may be sent to the peer.
 */
export type Route = UnaryRoute | StreamRoute

interface RouteBase {
  readonly method: UnknownMethod
  /** What the handler requires. */
  readonly context: Context.Context<never>
}

export interface UnaryRoute extends RouteBase {
  readonly _tag: "Unary"
  readonly handle: (request: unknown, call: IncomingCall) => Effect.Effect<unknown, StatusError>
}

/** A route that streams at least one way. */
export interface StreamRoute extends RouteBase {
  readonly _tag: "Stream"
  readonly handle: (
    requests: Stream.Stream<unknown, StatusError>,
    call: IncomingCall
  ) => Stream.Stream<unknown, StatusError>
}

// What a handler requires is provided here at once, so that it is not followed in the types.
type AnyEffect = Effect.Effect<unknown, unknown>
type AnyStream = Stream.Stream<unknown, unknown>
type Requests = Stream.Stream<unknown, StatusError>

/** What the handler of each shape looks like when nothing is known of its messages. */
interface Shapes {
  readonly unary: (request: unknown, call: IncomingCall) => AnyEffect
  readonly serverStreaming: (request: unknown, call: IncomingCall) => AnyStream
  readonly clientStreaming: (requests: Requests, call: IncomingCall) => AnyEffect
  readonly bidiStreaming: (requests: Requests, call: IncomingCall) => AnyStream
}

/**
 * The only way from a handler's failure to what the peer is told. A peer learns nothing of a failure that the handler
 * did not put into a status error.
 */
const toStatus = (cause: Cause.Cause<unknown>, call: IncomingCall): Effect.Effect<never, StatusError> => {
  const failure = Cause.failureOption(cause)
  if (Option.isSome(failure) && isStatusError(failure.value)) {
    const status = Status.toSend(failure.value)
    return Either.isRight(status) ? Effect.fail(status.right) : internal(Cause.die(status.left), call)
  }
  if (Option.isSome(failure) && failure.value instanceof HandshakeFailed) {
    return upstreamRefused(cause, call)
  }
  return Cause.isInterruptedOnly(cause) ? Effect.failCause(cause as Cause.Cause<never>) : internal(cause, call)
}

const logFailure = (cause: Cause.Cause<unknown>, { boundary, method, peer }: IncomingCall): void =>
  boundary.log(
    LogLevel.Error,
    `handler of ${method}: ${kindOf(cause)}`,
    `the handler of ${method} failed`,
    { method, peer: peer.address },
    cause
  )

const internal = (cause: Cause.Cause<unknown>, call: IncomingCall): Effect.Effect<never, Internal> =>
  Effect.suspend(() => {
    logFailure(cause, call)
    return Effect.fail(new Internal({ message: "internal error", method: call.method }))
  })

/** Names, fingerprints and dates of this node's own peers are none of the caller's business. */
const upstreamRefused = (cause: Cause.Cause<unknown>, call: IncomingCall): Effect.Effect<never, Unavailable> =>
  Effect.suspend(() => {
    logFailure(cause, call)
    return Effect.fail(
      new Unavailable({
        message: "no connection with a peer that this call needs",
        method: call.method,
        processed: "no",
        details: [notProcessed]
      })
    )
  })

/** What tells the failures of one method apart, so that one of many does not hide another. */
const kindOf = (cause: Cause.Cause<unknown>): string => {
  const squashed = Cause.squash(cause)
  const name = squashed instanceof Error ? squashed.name : typeof squashed
  return Cause.isFailure(cause) ? `failed, ${name}` : `died, ${name}`
}

const onEffect = (effect: AnyEffect, call: IncomingCall) =>
  Effect.withFiberRuntime<unknown, StatusError>((fiber) => {
    const handled = Effect.catchAllCause(effect, (cause) => toStatus(cause, call))
    const span = Tracing.serverSpan(fiber, call)
    return span === undefined ? handled : Effect.withSpan(handled, Tracing.spanName(call.method), span)
  })

const onStream = (stream: AnyStream, call: IncomingCall) =>
  Stream.unwrap(
    Effect.withFiberRuntime<Stream.Stream<unknown, StatusError>>((fiber) => {
      const handled = Stream.catchAllCause(stream, (cause) => Stream.fromEffect(toStatus(cause, call)))
      const span = Tracing.serverSpan(fiber, call)
      return Effect.succeed(
        span === undefined ? handled : Stream.withSpan(handled, Tracing.spanName(call.method), span)
      )
    })
  )

const makeRoute = (method: UnknownMethod, handler: Shapes[Method.Shape], context: Context.Context<never>): Route => {
  switch (method.shape) {
    case "unary": {
      const run = handler as Shapes["unary"]
      return {
        _tag: "Unary",
        method,
        context,
        handle: (request, call) =>
          onEffect(
            Effect.suspend(() => run(request, call)),
            call
          )
      }
    }
    case "serverStreaming": {
      const run = handler as Shapes["serverStreaming"]
      return streamRoute(method, context, (requests, call) =>
        Stream.unwrap(Effect.map(exactlyOne(requests, "request", method.path), (request) => run(request, call)))
      )
    }
    case "clientStreaming": {
      const run = handler as Shapes["clientStreaming"]
      return streamRoute(method, context, (requests, call) =>
        Stream.fromEffect(Effect.suspend(() => run(requests, call)))
      )
    }
    case "bidiStreaming": {
      const run = handler as Shapes["bidiStreaming"]
      return streamRoute(method, context, (requests, call) => Stream.suspend(() => run(requests, call)))
    }
  }
}

const streamRoute = (
  method: UnknownMethod,
  context: Context.Context<never>,
  run: Shapes["bidiStreaming"]
): StreamRoute => ({
  _tag: "Stream",
  method,
  context,
  handle: (requests, call) => onStream(run(requests, call), call)
})

/** The types of `Transport.handlers` hold contract and implementation together; from here on they are one route each. */
export const make = (
  service: Service.Any,
  implementation: { readonly [name: string]: unknown },
  context: Context.Context<never>,
  authorize?: Authorizer.Authorizer | { readonly [name: string]: Authorizer.Authorizer }
): ReadonlyArray<Route> =>
  Object.entries(service.methods).map(([name, method]) => {
    const route = makeRoute(method as UnknownMethod, implementation[name] as Shapes[Method.Shape], context)
    // A method that was left out against the types is closed.
    return authorize === undefined
      ? route
      : guarded(route, typeof authorize === "function" ? authorize : (authorize[name] ?? Authorizer.either()))
  })

const denied = ({ boundary, method, onDenied, peer }: IncomingCall): Effect.Effect<never, PermissionDenied> =>
  Effect.zipRight(
    Metric.increment(TransportMetrics.callsDenied),
    Effect.suspend(() => {
      onDenied?.()
      boundary.log(LogLevel.Warning, `denied ${method}`, `denied ${method} to ${peer.address}`, {
        method,
        peer: peer.address,
        ...Option.match(peer.identity, {
          onNone: () => ({}),
          onSome: ({ fingerprint, subject }) => ({ fingerprint, subject })
        })
      })
      return Effect.fail(new PermissionDenied({ message: "this peer may not call this method", method }))
    })
  )

const mayCall = (authorizer: Authorizer.Authorizer, { boundary, peer }: IncomingCall): boolean =>
  Authorization.allows(boundary, authorizer, peer.identity, peer.address)

/** The route, for those whom the authorizer lets pass. */
const guarded = (route: Route, authorizer: Authorizer.Authorizer): Route =>
  route._tag === "Unary"
    ? {
        ...route,
        handle: (request: unknown, call: IncomingCall) =>
          mayCall(authorizer, call) ? route.handle(request, call) : denied(call)
      }
    : {
        ...route,
        handle: (requests: Requests, call: IncomingCall) =>
          mayCall(authorizer, call) ? route.handle(requests, call) : Stream.fromEffect(denied(call))
      }
