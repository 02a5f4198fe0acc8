/** Routes: a method with the handler that answers it, which is what a transport serves. */
import type * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as LogLevel from "effect/LogLevel"
import * as Option from "effect/Option"
import * as Stream from "effect/Stream"
import * as Authorizer from "./Authorizer.js"
import type { IncomingCall } from "./IncomingCall.js"
import * as Authorization from "./internal/authorization.js"
import { exactlyOne } from "./internal/cardinality.js"
import { toStatus } from "./internal/handlerStatus.js"
import * as Layers from "./internal/routeLayers.js"
import * as Tracing from "./internal/tracing.js"
import type * as Method from "./Method.js"
import type { ServerList } from "./Middleware/ServerMiddleware.js"
import type * as Service from "./Service.js"
import { PermissionDenied, type StatusError } from "./TransportError.js"
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
  /**
   * Asked before anything is spent on a call, and before `handle`, which does not ask: why its caller may not call, if so. It has
   * been counted and logged then.
   */
  readonly denies?: ((caller: Caller) => PermissionDenied | undefined) | undefined
}

/** Who calls. */
type Caller = Pick<IncomingCall, "boundary" | "onDenied" | "peer">

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
  /** What is done around the sending of all its messages; undefined where that is nothing. */
  readonly around?:
    | ((sending: Effect.Effect<void, StatusError>, call: IncomingCall) => Effect.Effect<void, StatusError>)
    | undefined
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

const onEffect = (effect: AnyEffect, call: IncomingCall) =>
  Tracing.server(
    Effect.catchAllCause(effect, (cause) => toStatus(cause, call)),
    call
  )

const onStream = (stream: AnyStream, call: IncomingCall) =>
  Tracing.serverStream(
    Stream.catchAllCause(stream, (cause) => Stream.fromEffect(toStatus(cause, call))),
    call
  )

/** A handler by its method's shape, without what is done around it. */
type Bare =
  | { readonly _tag: "Unary"; readonly run: Shapes["unary"] }
  | { readonly _tag: "Stream"; readonly run: Shapes["bidiStreaming"] }

const bare = (method: UnknownMethod, handler: Shapes[Method.Shape]): Bare => {
  switch (method.shape) {
    case "unary": {
      const run = handler as Shapes["unary"]
      return { _tag: "Unary", run: (request, call) => Effect.suspend(() => run(request, call)) }
    }
    case "serverStreaming": {
      const run = handler as Shapes["serverStreaming"]
      return {
        _tag: "Stream",
        run: (requests, call) =>
          Stream.unwrap(Effect.map(exactlyOne(requests, "request", method.path), (request) => run(request, call)))
      }
    }
    case "clientStreaming": {
      const run = handler as Shapes["clientStreaming"]
      return {
        _tag: "Stream",
        run: (requests, call) => Stream.fromEffect(Effect.suspend(() => run(requests, call)))
      }
    }
    case "bidiStreaming": {
      const run = handler as Shapes["bidiStreaming"]
      return { _tag: "Stream", run: (requests, call) => Stream.suspend(() => run(requests, call)) }
    }
  }
}

/** The route of a handler that nothing is done around. */
const plain = (method: UnknownMethod, context: Context.Context<never>, handler: Bare): Route =>
  handler._tag === "Unary"
    ? { _tag: "Unary", method, context, handle: (request, call) => onEffect(handler.run(request, call), call) }
    : { _tag: "Stream", method, context, handle: (requests, call) => onStream(handler.run(requests, call), call) }

/** The route of a handler with layers around it, the first outermost. */
const layered = (
  method: UnknownMethod,
  context: Context.Context<never>,
  handler: Bare,
  layers: ReadonlyArray<Layers.Layer>
): Route => {
  if (handler._tag === "Unary") {
    const handle = Layers.aroundUnary(layers, handler.run)
    return { _tag: "Unary", method, context, handle: (request, call) => onEffect(handle(request, call), call) }
  }
  const around = Layers.aroundSending(layers)
  return {
    _tag: "Stream",
    method,
    context,
    handle: Layers.onRequests(layers, handler.run),
    // The cast: `onEffect` leaves what an effect succeeds with as it is.
    around: (sending, call) => onEffect(around(sending, call), call) as Effect.Effect<void, StatusError>
  }
}

/** What is done around the handlers of a service. */
export interface Around {
  readonly authorize?: Authorizer.Authorizer | { readonly [name: string]: Authorizer.Authorizer } | undefined
  /** Of the listener, for all its services; stands before the authorizer. */
  readonly listener?: ServerList | undefined
  /** Of the service itself; stands behind the authorizer. */
  readonly service?: ServerList | undefined
}

/** The types of `Transport.handlers` hold contract and implementation together; from here on they are one route each. */
export const make = (
  service: Service.Any,
  implementation: { readonly [name: string]: unknown },
  context: Context.Context<never>,
  { authorize, listener = [], service: own = [] }: Around = {}
): ReadonlyArray<Route> =>
  Object.entries(service.methods).map(([name, each]) => {
    const method = each as UnknownMethod
    const handler = bare(method, implementation[name] as Shapes[Method.Shape])
    // A method that was left out against the types is closed.
    const authorizer = typeof authorize === "object" ? (authorize[name] ?? Authorizer.either()) : authorize
    const denies = authorizer && denying(authorizer, method)
    const before = Layers.make(listener, method)
    const behind = Layers.make(own, method)
    if (before.length > 0 || behind.length > 0) {
      const guard = denies === undefined ? [] : [guardLayer(denies)]
      return layered(method, context, handler, [...before, ...guard, ...behind])
    }
    return { ...plain(method, context, handler), denies }
  })

/** Asks the authorizer of a method. Those that it refuses are counted, and logged. */
const denying = (authorizer: Authorizer.Authorizer, { path: method }: UnknownMethod): NonNullable<Route["denies"]> => {
  const denied = new PermissionDenied({ message: "this peer may not call this method", method })
  return ({ boundary, onDenied, peer }) => {
    if (Authorization.allows(boundary, authorizer, peer.identity, peer.address)) {
      return undefined
    }
    TransportMetrics.callsDenied.unsafeUpdate(1, [])
    onDenied?.()
    boundary.log(LogLevel.Warning, `denied ${method}`, `denied ${method} to ${peer.address}`, {
      method,
      peer: peer.address,
      ...Option.match(peer.identity, {
        onNone: () => ({}),
        onSome: ({ fingerprint, subject }) => ({ fingerprint, subject })
      })
    })
    return denied
  }
}

/** The same as a layer among others. */
const guardLayer = (denies: NonNullable<Route["denies"]>): Layers.Layer => ({
  wrap: (call, next) => denies(call) ?? next
})
