/**
 * Ordinary HTTP/3 beside the calls of `QuicLive`: requests to other nodes on the connections that calls run on, and an
 * `HttpApp` that answers what is no call on this node's listeners.
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
import * as Peer from "../Transport/Peer.js"
import type { ConnectError } from "../Transport/TransportError.js"

/**
 * The ability to speak HTTP/3. `QuicLive` provides it, and no other transport does.
 *
 * @since 0.1.0
 * @category tags
 */
export class Http3 extends Context.Tag("effect-transport/Http3")<Http3, Http3Service>() {}

/**
 * What a transport implements. Programs use `client`, `get` and `mount` instead.
 *
 * @since 0.1.0
 * @category models
 */
export interface Http3Service {
  /** Sends a request on the connection to the target. */
  readonly connect: (target: Peer.Target) => Effect.Effect<Send, ConnectError, Scope.Scope>
  /** Answers what is no call on all listeners of the transport, for as long as the scope is open. */
  readonly mount: (handler: Handler) => Effect.Effect<void, never, Scope.Scope>
}

/**
 * Sends one request, and gives the response when its head has come.
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
 * A client of a peer, `"host:port"` or `"[v6]:port"`. The paths of its requests are relative to the peer. It shares the
 * connection with the calls to that peer, and has it for as long as the scope is open.
 *
 * @since 0.1.0
 * @category client
 */
export const client = (peer: string): Effect.Effect<HttpClient.HttpClient, ConnectError, Http3 | Scope.Scope> =>
  Effect.gen(function* () {
    const { connect } = yield* Http3
    const target = yield* HttpClients.targetOf(peer)
    return HttpClients.make(`https://${Peer.formatTarget(target)}`, yield* connect(target))
  })

type Requested = Effect.Effect<
  HttpClientResponse.HttpClientResponse,
  ConnectError | HttpClientError.HttpClientError,
  Http3 | Scope.Scope
>

/**
 * One GET. Whoever sends many to one peer makes a `client`, which keeps the connection.
 *
 * @example
 * ```ts
 * import { Http3, QuicLive } from "effect-transport"
 * import { Effect } from "effect"
 *
 * const ack = Http3.get("node-b:4433", "/poh_ack?id=123").pipe(
 *   Effect.flatMap((response) => response.json),
 *   Effect.scoped,
 *   Effect.provide(QuicLive)
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
 * @since 0.1.0
 * @category server
 */
export const mount = <E, R>(
  app: HttpApp.Default<E, R>
): Effect.Effect<void, never, Http3 | Scope.Scope | HttpMounts.Required<R>> =>
  Effect.flatMap(Http3, ({ mount }) => Effect.flatMap(HttpMounts.handlerOf(app), mount))

/**
 * `mount` as a layer.
 *
 * @since 0.1.0
 * @category server
 */
export const layerMount = <E, R>(
  app: HttpApp.Default<E, R>
): Layer.Layer<never, never, Http3 | HttpMounts.Required<R>> => Layer.scopedDiscard(mount(app))
