/**
 * Ordinary HTTP/2 beside the calls of `GrpcLive`: an `HttpApp` that answers what is no call on this node's listeners, so
 * that a probe or `/metrics` needs no second port.
 *
 * @since 0.1.0
 */
import type * as HttpApp from "@effect/platform/HttpApp"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import type * as Scope from "effect/Scope"
import * as HttpMounts from "../Calls/HttpMounts.js"

/**
 * The ability to answer plain HTTP/2 requests. `GrpcLive` provides it, and no other transport does.
 *
 * @since 0.1.0
 * @category tags
 */
export class Http2 extends Context.Tag("effect-transport/Http2")<Http2, Http2Service>() {}

/**
 * What a transport implements. Programs use `mount` instead.
 *
 * @since 0.1.0
 * @category models
 */
export interface Http2Service {
  /** Answers what is no call on all listeners of the transport, for as long as the scope is open. */
  readonly mount: (handler: Handler) => Effect.Effect<void, never, Scope.Scope>
}

/**
 * Answers one request of a peer.
 *
 * @since 0.1.0
 * @category models
 */
export type Handler = HttpMounts.Handler

/**
 * Answers what is no call on the listeners of the transport, for as long as the scope is open. What was mounted before
 * answers again afterwards. `Peer.CurrentPeer` says who asks.
 *
 * @example
 * ```ts
 * import { HttpRouter, HttpServerResponse } from "@effect/platform"
 * import { Http2 } from "effect-transport"
 *
 * const mounted = Http2.mount(HttpRouter.empty.pipe(HttpRouter.get("/healthz", HttpServerResponse.text("ok"))))
 * ```
 *
 * @since 0.1.0
 * @category server
 */
export const mount = <E, R>(
  app: HttpApp.Default<E, R>
): Effect.Effect<void, never, Http2 | Scope.Scope | HttpMounts.Required<R>> =>
  Effect.flatMap(Http2, ({ mount }) => Effect.flatMap(HttpMounts.handlerOf(app), mount))

/**
 * `mount` as a layer.
 *
 * @since 0.1.0
 * @category server
 */
export const layerMount = <E, R>(
  app: HttpApp.Default<E, R>
): Layer.Layer<never, never, Http2 | HttpMounts.Required<R>> => Layer.scopedDiscard(mount(app))
