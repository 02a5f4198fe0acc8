/**
 * Middleware of the serving side: what is done around the calls of all methods that stand behind it.
 *
 * @since 0.1.0
 */
import type * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import type * as Types from "effect/Types"
import type { Call, CurrentCall } from "../Call.js"
import type * as Method from "../Method.js"
import type { CallError, StatusError } from "../TransportError.js"

/**
 * @since 0.1.0
 * @category type ids
 */
export const ServerTypeId: unique symbol = Symbol.for("effect-transport/Middleware/ServerMiddleware")

/**
 * @since 0.1.0
 * @category type ids
 */
export type ServerTypeId = typeof ServerTypeId

/**
 * That the handler has done its work: what `next` succeeds with, and nothing else can.
 *
 * @since 0.1.0
 * @category models
 */
export interface Done {
  readonly _: unique symbol
}

/**
 * A middleware of the serving side. It provides `Provides` to the middleware and the handlers behind it, and requires `R`.
 *
 * @since 0.1.0
 * @category models
 */
export interface ServerMiddleware<in Provides = never, out R = never> {
  readonly [ServerTypeId]: ServerTypeId
  /**
   * What it does around the calls of one method; undefined where that is nothing. It is asked once for each method, when a
   * listener begins.
   */
  readonly forMethod: (method: Method.Any) => ServerSteps<Provides, R> | undefined
}

/**
 * What a middleware does around a call.
 *
 * @since 0.1.0
 * @category models
 */
export interface ServerSteps<in Provides, out R> {
  readonly wrap?: ((call: Call, next: Next<Provides>) => Effect.Effect<Done, CallError, R>) | undefined
  readonly onRequest?: ((request: unknown, call: Call) => Effect.Effect<void, StatusError, R>) | undefined
}

/**
 * The rest of a call, whatever its shape: the middleware behind, the handler, and for one that streams the sending of its
 * messages, until the last has been taken. It fails with the status that the caller would get, and is interrupted when the
 * caller gives up, when the deadline passes, and when the listener closes.
 *
 * @since 0.1.0
 * @category models
 */
export type Next<Provides = never> = Effect.Effect<Done, StatusError, Provides>

/**
 * Does something before the handler: what it fails with is the status of the call, and the handler does not run. With
 * `provides` what it succeeds with is provided as that service.
 *
 * @since 0.1.0
 * @category models
 */
export interface ServerBefore<in out I, in out S, out R> {
  readonly provides?: Context.Tag<I, S> | undefined
  readonly run: (call: Call) => Effect.Effect<Types.NoInfer<S>, CallError, R>
  readonly wrap?: undefined
  readonly onRequest?: undefined
}

/**
 * Wraps the whole call. With `provides` it has to provide that service to `next`.
 *
 * @since 0.1.0
 * @category models
 */
export interface ServerAround<in out I, in out S, out R> {
  readonly provides?: Context.Tag<I, S> | undefined
  readonly wrap: (call: Call, next: Next<I>) => Effect.Effect<Done, CallError, R>
  readonly run?: undefined
  readonly onRequest?: undefined
}

/**
 * Looks at each request message before the handler gets it. What it fails with is the status of a unary call, whose handler
 * does not run; in a call that streams the handler's requests end with it.
 *
 * @since 0.1.0
 * @category models
 */
export interface ServerOnRequest<out R> {
  readonly onRequest: (request: unknown, call: Call) => Effect.Effect<void, StatusError, R>
  readonly provides?: undefined
  readonly run?: undefined
  readonly wrap?: undefined
}

/**
 * A middleware for `Transport.handlers` or `Transport.serve`, which is one of three things: `run` is done before the
 * handler, `wrap` around it, and `onRequest` for each request message. It is the same for all four shapes of methods, and
 * runs in the fiber of the handler: `CurrentCall` and the `Scope` of the call are there.
 *
 * The `call` has method, peer, metadata and deadline, and sets response headers and trailers. A failure of another kind
 * than `CallError` does not compile; a defect is `Internal` to the caller, as one of a handler is.
 *
 * @example
 * ```ts
 * import { Clock, Context, Effect, Option } from "effect"
 * import { Metadata, Middleware, Unauthenticated } from "effect-transport"
 *
 * class Tenant extends Context.Tag("app/Tenant")<Tenant, string>() {}
 *
 * // Handlers behind it may use Tenant.
 * const WithTenant = Middleware.server({
 *   provides: Tenant,
 *   run: (call) =>
 *     Option.match(Metadata.get(call.metadata, "x-tenant"), {
 *       onNone: () => Effect.fail(new Unauthenticated({ message: "x-tenant is missing" })),
 *       onSome: Effect.succeed
 *     })
 * })
 *
 * // A trailer with what the whole call took, a stream's last message included.
 * const Timing = Middleware.server({
 *   wrap: (call, next) =>
 *     Effect.flatMap(Clock.currentTimeMillis, (start) =>
 *       Effect.tap(next, () =>
 *         Effect.flatMap(Clock.currentTimeMillis, (end) => call.setTrailers({ "x-took-ms": String(end - start) }))
 *       )
 *     )
 * })
 * ```
 *
 * @since 0.1.0
 * @category constructors
 */
export const server = <I = never, S = unknown, R = never>(
  options: ServerBefore<I, S, R> | ServerAround<I, S, R> | ServerOnRequest<R>
): ServerMiddleware<I, R> => {
  const steps = stepsOf(options)
  return serverForMethods(() => steps)
}

const stepsOf = <I, S, R>(
  options: ServerBefore<I, S, R> | ServerAround<I, S, R> | ServerOnRequest<R>
): ServerSteps<I, R> => {
  if (options.run === undefined) {
    return { wrap: options.wrap, onRequest: options.onRequest }
  }
  const { provides, run } = options
  return provides === undefined
    ? // Without `provides` there is no service that `next` could require.
      { wrap: (call, next) => Effect.zipRight(run(call), next) as Effect.Effect<Done, CallError, R> }
    : {
        wrap: (call, next) =>
          Effect.flatMap(run(call), (service) => Effect.provideService(next, provides, service)) as Effect.Effect<
            Done,
            CallError,
            R
          >
      }
}

/**
 * The same, for what differs from method to method: the function is called once for each, when a listener begins.
 *
 * @internal
 */
export const serverForMethods = <Provides, R>(
  forMethod: ServerMiddleware<Provides, R>["forMethod"]
): ServerMiddleware<Provides, R> => ({ [ServerTypeId]: ServerTypeId, forMethod })

/**
 * Any list of middleware.
 *
 * @since 0.1.0
 * @category models
 */
export type ServerList = ReadonlyArray<ServerMiddleware<never, unknown>>

type Provided<M> = M extends ServerMiddleware<infer Provides, unknown> ? Provides : never
type Required<M> = M extends ServerMiddleware<never, infer R> ? Exclude<R, CurrentCall | Scope.Scope> : never

/**
 * What is left to require of `R` behind a list of middleware, with what these require themselves: each may use what
 * those before it provide. A list of unknown length provides nothing.
 *
 * @since 0.1.0
 * @category models
 */
export type Behind<M extends ServerList, R> = M extends readonly [
  ...infer Before extends ServerList,
  infer Last extends ServerMiddleware<never, unknown>
]
  ? Behind<Before, Exclude<R, Provided<Last>> | Required<Last>>
  : R | Required<M[number]>
