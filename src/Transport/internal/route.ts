import * as Cause from "effect/Cause"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Stream from "effect/Stream"
import { CurrentCall } from "../Call.js"
import type * as Method from "../Method.js"
import type * as Service from "../Service.js"
import { Internal, isStatusError, type StatusError } from "../TransportError.js"
import { exactlyOne } from "./cardinality.js"
import type { IncomingCall } from "./incomingCall.js"
import * as Tracing from "./tracing.js"

/** A method whose handler and codecs are known to belong together. */
export type UnknownMethod = Method.Method<unknown, unknown, Method.Shape, unknown, unknown>

/**
 * A method and the handler that answers it, with everything provided that the handler requires. It fails with nothing
 * but what may be sent to the peer.
 */
export type Route = UnaryRoute | StreamRoute

export interface UnaryRoute {
  readonly _tag: "Unary"
  readonly method: UnknownMethod
  readonly handle: (request: unknown, call: IncomingCall) => Effect.Effect<unknown, StatusError>
}

/** A route that streams at least one way. */
export interface StreamRoute {
  readonly _tag: "Stream"
  readonly method: UnknownMethod
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
    return Effect.fail(failure.value)
  }
  if (Cause.isInterruptedOnly(cause)) {
    return Effect.failCause(cause as Cause.Cause<never>)
  }
  return Effect.zipRight(
    Effect.annotateLogs(Effect.logError(`the handler of ${call.method} failed`, cause), {
      method: call.method,
      peer: call.peer.address
    }),
    Effect.fail(new Internal({ message: "internal error", method: call.method }))
  )
}

const provided = (context: Context.Context<never>, call: IncomingCall) => Context.add(context, CurrentCall, call)

const onEffect = (effect: AnyEffect, call: IncomingCall, context: Context.Context<never>) => {
  const handled = effect.pipe(
    Effect.catchAllCause((cause) => toStatus(cause, call)),
    Effect.provide(provided(context, call))
  )
  return Effect.withFiberRuntime<unknown, StatusError>((fiber) => {
    const span = Tracing.serverSpan(fiber, call)
    return span === undefined ? handled : Effect.withSpan(handled, Tracing.spanName(call.method), span)
  })
}

const onStream = (stream: AnyStream, call: IncomingCall, context: Context.Context<never>) => {
  const handled = stream.pipe(
    Stream.catchAllCause((cause) => Stream.fromEffect(toStatus(cause, call))),
    Stream.provideSomeContext(provided(context, call))
  )
  return Stream.unwrap(
    Effect.withFiberRuntime<Stream.Stream<unknown, StatusError>>((fiber) => {
      const span = Tracing.serverSpan(fiber, call)
      return Effect.succeed(
        span === undefined ? handled : Stream.withSpan(handled, Tracing.spanName(call.method), span)
      )
    })
  )
}

const makeRoute = (
  method: UnknownMethod,
  handler: Shapes[Method.Shape],
  context: Context.Context<never>
): Route => {
  switch (method.shape) {
    case "unary": {
      const run = handler as Shapes["unary"]
      return {
        _tag: "Unary",
        method,
        handle: (request, call) =>
          onEffect(
            Effect.suspend(() => run(request, call)),
            call,
            context
          )
      }
    }
    case "serverStreaming": {
      const run = handler as Shapes["serverStreaming"]
      return {
        _tag: "Stream",
        method,
        handle: (requests, call) =>
          onStream(
            Stream.unwrap(
              Effect.map(exactlyOne(requests, "request", method.path), (request) => run(request, call))
            ),
            call,
            context
          )
      }
    }
    case "clientStreaming": {
      const run = handler as Shapes["clientStreaming"]
      return {
        _tag: "Stream",
        method,
        handle: (requests, call) => onStream(Stream.fromEffect(Effect.suspend(() => run(requests, call))), call, context)
      }
    }
    case "bidiStreaming": {
      const run = handler as Shapes["bidiStreaming"]
      return {
        _tag: "Stream",
        method,
        handle: (requests, call) => onStream(Stream.suspend(() => run(requests, call)), call, context)
      }
    }
  }
}

/** The types of `Transport.handlers` hold contract and implementation together; from here on they are one route each. */
export const make = (
  service: Service.Any,
  implementation: { readonly [name: string]: unknown },
  context: Context.Context<never>
): ReadonlyArray<Route> =>
  Object.entries(service.methods).map(([name, method]) =>
    makeRoute(method as UnknownMethod, implementation[name] as Shapes[Method.Shape], context)
  )

/** Any route as a stream of answers to a stream of requests. */
export const asStream = (route: Route): StreamRoute["handle"] =>
  route._tag === "Stream"
    ? route.handle
    : (requests, call) =>
        Stream.fromEffect(
          Effect.flatMap(exactlyOne(requests, "request", route.method.path), (request) => route.handle(request, call))
        )
