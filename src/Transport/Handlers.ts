/**
 * What a program serves: the handlers of a contract, and the routes that a transport gets of them.
 *
 * @since 0.1.0
 */
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import { constTrue } from "effect/Function"
import type * as Scope from "effect/Scope"
import type * as Stream from "effect/Stream"
import type { Authorizer } from "./Authorizer.js"
import type { Call, CurrentCall } from "./Call.js"
import type { IncomingCall } from "./IncomingCall.js"
import * as Ambient from "./internal/ambient.js"
import * as Authorization from "./internal/authorization.js"
import * as Served from "./internal/served.js"
import type * as Method from "./Method.js"
import type { Behind, ServerList, ServerMiddleware } from "./Middleware/ServerMiddleware.js"
import * as Route from "./Route.js"
import * as Service from "./Service.js"
import type { CallError, StatusError } from "./TransportError.js"

/**
 * The handlers of one service, with what they require.
 *
 * @since 0.1.0
 * @category models
 */
export interface Handlers<out R> {
  readonly service: string
  /**
   * What is told of the services behind the routes, as by health and reflection. Default: that there is one, by its name.
   *
   * @internal
   */
  readonly served?: ReadonlyArray<Served.ServedService> | undefined
  /** A route for each method, with the context provided and a listener's middleware before it: what a transport serves. */
  readonly routes: (context: Context.Context<R>, middleware?: ServerList) => ReadonlyArray<Route.Route>
}

/**
 * The handler of one method. It may fail as a call may, so that it can pass on the errors of the calls that it makes itself.
 *
 * @since 0.1.0
 * @category models
 */
export type Handler<M> =
  M extends Method.Method<infer I, unknown, infer S, never, infer OO>
    ? S extends "unary"
      ? (request: I, call: Call) => Effect.Effect<OO, CallError, unknown>
      : S extends "serverStreaming"
        ? (request: I, call: Call) => Stream.Stream<OO, CallError, unknown>
        : S extends "clientStreaming"
          ? (requests: Stream.Stream<I, StatusError>, call: Call) => Effect.Effect<OO, CallError, unknown>
          : (requests: Stream.Stream<I, StatusError>, call: Call) => Stream.Stream<OO, CallError, unknown>
    : never

/**
 * A handler for each method of a contract.
 *
 * @since 0.1.0
 * @category models
 */
export type Implementation<S extends Service.Source> = {
  readonly [K in keyof Service.Methods<S>]: Handler<Service.Methods<S>[K]>
}

type Requirements<H> = {
  readonly [K in keyof H]: H[K] extends (...args: never) => Effect.Effect<unknown, unknown, infer R>
    ? R
    : H[K] extends (...args: never) => Stream.Stream<unknown, unknown, infer R>
      ? R
      : never
}[keyof H]

type NothingElse<S extends Service.Source, H> = { readonly [K in Exclude<keyof H, keyof Service.Methods<S>>]: never }

/**
 * What `handlers` takes beside the handlers.
 *
 * @since 0.1.0
 * @category models
 */
export interface HandlersOptions<S extends Service.Source, M extends ServerList = ReadonlyArray<ServerMiddleware>> {
  /**
   * Who may call: one authorizer for the service, or one for each of its methods, of which none may be left out. Whom it
   * refuses gets `PermissionDenied`, and the handler does not run. Default: all who may connect.
   */
  readonly authorize?: Authorizer | { readonly [K in keyof Service.Methods<S>]: Authorizer } | undefined
  /**
   * What is done around all calls of the service, the first outermost: each sees what those before it provide, and so do the
   * handlers. It stands behind `authorize`, and behind the middleware of the listener. Default: nothing, which costs nothing.
   */
  readonly middleware?: M | undefined
}

/**
 * Handlers for all methods of a contract.
 *
 * Each call has a `Scope` of its own. What a handler fails with is a `CallError`:
 *
 * - One of the status errors gives the caller the same error, with its message, metadata and details and without its `cause`.
 *   What `processed` says of a call that the handler made is not true of the handler itself: it is `"unknown"` to the caller.
 * - `HandshakeFailed`, of a peer that the handler called, is `Unavailable` with `processed: "no"` to the caller, without the
 *   reason and the evidence, which are logged here.
 *
 * Any other failure does not compile. One that arrives all the same, by a cast, is `Internal` to the caller without its text
 * and is logged here, as a defect is.
 *
 * @since 0.1.0
 * @category server
 */
export const handlers = <
  S extends Service.Source,
  const H extends Implementation<S>,
  const M extends ServerList = readonly []
>(
  service: S,
  implementation: H & NothingElse<S, H>,
  { authorize, middleware }: HandlersOptions<S, M> = {}
): Handlers<Behind<M, Exclude<Requirements<H>, CurrentCall | Scope.Scope>>> => {
  const contract = Service.from(service)
  return {
    service: contract.name,
    served: [{ name: contract.name, descriptor: Service.descriptorOfService(contract), isOpenTo: openTo(authorize) }],
    routes: (context, listener) =>
      Route.make(contract, implementation, context, { authorize, listener, service: middleware })
  }
}

type Authorize = Authorizer | { readonly [name: string]: Authorizer } | undefined

/** Whether a service is open to the peer of a call: whether an authorizer of one of its methods lets it pass. */
const openTo = (authorize: Authorize) => {
  const authorizers =
    authorize === undefined ? [] : typeof authorize === "function" ? [authorize] : Object.values(authorize)
  return ({ boundary, peer }: IncomingCall): boolean =>
    authorize === undefined ||
    authorizers.some((each) => Authorization.allows(boundary, each, peer.identity, peer.address))
}

/** @internal */
export const servedBy = (handlers: ReadonlyArray<Handlers<unknown>>): ReadonlyArray<Served.ServedService> =>
  handlers.flatMap(({ served, service }) => served ?? [{ name: service, descriptor: undefined, isOpenTo: constTrue }])

/**
 * What handlers require together.
 *
 * @since 0.1.0
 * @category models
 */
export type RequirementsOf<H extends ReadonlyArray<Handlers<unknown>>> = RequirementsOfEach<H[number]>
type RequirementsOfEach<H> = H extends Handlers<infer R> ? R : never

/**
 * The routes of handlers by path, with what they and a listener's middleware require taken from the context.
 *
 * @internal
 */
export const routesOf = <const H extends ReadonlyArray<Handlers<unknown>>, const M extends ServerList = readonly []>(
  handlers: H,
  served: Served.ServedServices,
  middleware?: M
): Effect.Effect<ReadonlyMap<string, Route.Route>, never, Behind<M, RequirementsOf<H>>> =>
  Effect.gen(function* () {
    // What a middleware provides is not in it, and replaces nothing else.
    const provided = Ambient.without(
      (yield* Effect.context<Behind<M, RequirementsOf<H>>>()) as Context.Context<unknown>
    )
    const context = Context.add(provided, Served.Served, served)
    const routes = new Map<string, Route.Route>()
    for (const route of handlers.flatMap((each) => each.routes(context, middleware))) {
      if (routes.has(route.method.path)) {
        return yield* Effect.dieMessage(`${route.method.path} has two handlers`)
      }
      routes.set(route.method.path, route)
    }
    return routes
  })
