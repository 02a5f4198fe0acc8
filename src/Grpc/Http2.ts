/**
 * Ordinary HTTP/2 beside the calls of `GrpcLive`: requests to other nodes on the connections that calls run on, and an
 * `HttpApp` that answers what is no call on this node's listeners, so that a probe or `/metrics` needs no second port.
 *
 * @since 0.1.0
 */
import type * as HttpApp from "@effect/platform/HttpApp"
import type * as HttpClient from "@effect/platform/HttpClient"
import type * as HttpClientError from "@effect/platform/HttpClientError"
import type * as HttpClientRequest from "@effect/platform/HttpClientRequest"
import type * as HttpClientResponse from "@effect/platform/HttpClientResponse"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import type * as Scope from "effect/Scope"
import * as HttpClients from "../Calls/HttpClients.js"
import * as HttpMounts from "../Calls/HttpMounts.js"
import type * as Peer from "../Transport/Peer.js"
import type { ConnectError } from "../Transport/TransportError.js"

/**
 * The ability to speak plain HTTP/2. `GrpcLive` provides it, and no other transport does.
 *
 * @since 0.1.0
 * @category tags
 */
export class Http2 extends Context.Tag("effect-transport/Http2")<Http2, Http2Service>() {}

/**
 * What a transport implements. Programs use `client`, `get` and `mount` instead.
 *
 * @since 0.1.0
 * @category models
 */
export interface Http2Service {
  /** Sends requests on the connection to the target. */
  readonly connect: (target: Peer.Target) => Effect.Effect<Connected, ConnectError, Scope.Scope>
  /** Answers what is no call on all listeners of the transport, for as long as the scope is open. */
  readonly mount: (handler: Handler) => Effect.Effect<void, never, Scope.Scope>
}

/**
 * What requests of a peer are sent by.
 *
 * @since 0.1.0
 * @category models
 */
export interface Connected {
  /** The scheme and authority of its requests, such as `https://node-b:50051`. */
  readonly origin: string
  readonly send: Send
}

/**
 * Sends one request, and returns the response when its head has come. Interrupted, or with the signal aborted, it resets the
 * stream.
 *
 * @since 0.1.0
 * @category models
 */
export type Send = HttpClients.Send

/**
 * Answers one request of a peer.
 *
 * @since 0.1.0
 * @category models
 */
export type Handler = HttpMounts.Handler

/**
 * A client of a peer, `"host:port"`, `"[v6]:port"` or `"unix:path"`. The paths of its requests are relative to the peer. It
 * shares the connection with the calls to that peer, its credentials and its limit of streams, and has it for as long as the
 * scope is open. Nothing is retried and no redirect is followed. A request that is interrupted, such as by
 * `Effect.timeout`, is reset on the wire (RFC 9113, section 8.7). The content of a response comes as fast as it is read.
 *
 * @since 0.1.0
 * @category client
 */
export const client = (peer: string): Effect.Effect<HttpClient.HttpClient, ConnectError, Http2 | Scope.Scope> =>
  Effect.gen(function* () {
    const { connect } = yield* Http2
    const { origin, send } = yield* Effect.flatMap(HttpClients.targetOf(peer), connect)
    return HttpClients.make(origin, send)
  })

type Requested = Effect.Effect<
  HttpClientResponse.HttpClientResponse,
  ConnectError | HttpClientError.HttpClientError,
  Http2 | Scope.Scope
>

/**
 * One GET. Whoever sends many to one peer makes a `client`, which keeps the connection.
 *
 * @example
 * ```ts
 * import { GrpcLive, Http2 } from "effect-transport"
 * import { Effect } from "effect"
 *
 * const health = Http2.get("node-b:50051", "/healthz").pipe(
 *   Effect.flatMap((response) => response.text),
 *   Effect.scoped,
 *   Effect.provide(GrpcLive)
 * )
 * ```
 *
 * @since 0.1.0
 * @category client
 */
export const get = (peer: string, path: string, options?: HttpClientRequest.Options.NoBody): Requested =>
  Effect.flatMap(client(peer), (http) => http.get(path, options))

/**
 * One POST, as `get`.
 *
 * @since 0.1.0
 * @category client
 */
export const post = (peer: string, path: string, options?: HttpClientRequest.Options.NoUrl): Requested =>
  Effect.flatMap(client(peer), (http) => http.post(path, options ?? {}))

/**
 * One request of any kind, as `get`.
 *
 * @since 0.1.0
 * @category client
 */
export const request = (peer: string, request: HttpClientRequest.HttpClientRequest): Requested =>
  Effect.flatMap(client(peer), (http) => http.execute(request))

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
