/**
 * `@effect/rpc` over any transport: groups of `RpcGroup` travel over whichever `Transport` is provided, with any
 * `RpcSerialization`. A client holds one call that streams both ways, and all its requests are on that.
 *
 * @since 0.1.0
 */
import * as RpcClient from "@effect/rpc/RpcClient"
import * as RpcMiddleware from "@effect/rpc/RpcMiddleware"
import type * as RpcSerialization from "@effect/rpc/RpcSerialization"
import * as RpcServer from "@effect/rpc/RpcServer"
import * as Context from "effect/Context"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import type * as Scope from "effect/Scope"
import type { Behind, ServerList, ServerMiddleware } from "../Transport/Middleware.js"
import { CurrentPeer, type Peer } from "../Transport/Peer.js"
import type { BindError, ConnectError } from "../Transport/TransportError.js"
import * as Transport from "../Transport.js"
import * as Carrier from "./internal/carrier.js"
import * as Frames from "./internal/frames.js"
import * as ProtocolClient from "./internal/protocolClient.js"
import * as ServerProtocol from "./internal/protocolServer.js"

/**
 * Which of several protocols on one listener is meant.
 *
 * @since 0.1.0
 * @category models
 */
export interface ProtocolOptions {
  /** Letters and digits; the path of the call that carries the requests ends with it. Default `Connect`. */
  readonly name?: string | undefined
  /**
   * The largest frame (a request or a response) that is taken from the other end, in bytes. Default 8 MiB: to decode it takes
   * up to 50 ms (`@effect/rpc` quotes a payload of the wrong type, which takes up to 150), and one that never ends costs as
   * much memory. A serialization with a limit of its own, as `layerNdjsonWith` makes, keeps that too.
   */
  readonly maxFrameSize?: number | undefined
  /**
   * The most elements of a frame that is taken from the other end, or sent: items of lists, keys and values of maps, at any depth.
   * It is scanned before it is decoded. Default 65,536: an element is one byte on the wire and up to 200 in memory. Lists
   * that are longer need it raised at the end that receives them; a stream sends them in chunks, each a frame.
   */
  readonly maxFrameElements?: number | undefined
}

/**
 * @since 0.1.0
 * @category models
 */
export interface ProtocolServerOptions extends ProtocolOptions {
  /**
   * Requests that a client may have in flight on its connection; more wait at the client. One that sends more all the
   * same loses the connection. Default 10,000.
   */
  readonly maxConcurrentRequests?: number | undefined
  /**
   * Requests that a client may interrupt in a second on its connection, and as many at once. One that interrupts more loses
   * the connection: a request that is interrupted at once costs the server a fiber, and is no longer in flight. Default
   * 10,000, as many as it may have in flight.
   */
  readonly maxInterruptRate?: number | undefined
  /**
   * How long requests in flight may take to be answered when the `RpcServer` closes; from then on they fail at the client.
   * Default 5 seconds.
   */
  readonly gracePeriod?: Duration.DurationInput | undefined
}

/**
 * Who the clients of a server protocol are.
 *
 * @since 0.1.0
 * @category tags
 */
export class Peers extends Context.Tag("effect-transport/RpcTransport/Peers")<
  Peers,
  {
    /** The peer behind the `clientId` that a middleware is given; none when it has disconnected. */
    readonly get: (clientId: number) => Option.Option<Peer>
  }
>() {}

/**
 * A middleware that gives the handlers of its group `Peer.CurrentPeer`. A request whose peer has gone is not handled.
 *
 * @since 0.1.0
 * @category middleware
 */
export class PeerMiddleware extends RpcMiddleware.Tag<PeerMiddleware>()(
  "effect-transport/RpcTransport/PeerMiddleware",
  {
    provides: CurrentPeer
  }
) {}

/**
 * @since 0.1.0
 * @category middleware
 */
export const layerPeerMiddleware: Layer.Layer<PeerMiddleware, never, Peers> = Layer.effect(
  PeerMiddleware,
  Effect.map(Peers, ({ get }) =>
    PeerMiddleware.of(({ clientId }) =>
      Option.match(get(clientId), { onNone: () => Effect.interrupt, onSome: Effect.succeed })
    )
  )
)

/**
 * A server protocol, with the handlers that a listener serves for it.
 *
 * @since 0.1.0
 * @category models
 */
export interface ProtocolServer {
  readonly protocol: RpcServer.Protocol["Type"]
  readonly peers: Peers["Type"]
  readonly handlers: Transport.Handlers<never>
}

/**
 * A server protocol for a listener that the program opens itself.
 *
 * @since 0.1.0
 * @category server
 */
export const makeProtocolServer = (
  options: ProtocolServerOptions = {}
): Effect.Effect<ProtocolServer, never, RpcSerialization.RpcSerialization | Scope.Scope> =>
  Effect.map(
    ServerProtocol.make(
      options.maxConcurrentRequests ?? 10_000,
      options.maxInterruptRate ?? Math.max(10_000, options.maxConcurrentRequests ?? 0),
      options.gracePeriod ?? "5 seconds",
      Frames.limitsOf(options)
    ),
    ({ connect, peerOf, protocol }) => ({
      protocol,
      peers: { get: (clientId) => Option.fromNullable(peerOf(clientId)) },
      handlers: Transport.handlers(Carrier.service(options.name), { connect })
    })
  )

/**
 * Where to listen, and what else to serve there. Its `middleware` stands around the one call that a client's requests come
 * on, not around each request: that is what the middleware of the group is for.
 *
 * @since 0.1.0
 * @category models
 */
export interface ServerOptions<
  H extends ReadonlyArray<Transport.Handlers<unknown>>,
  M extends ServerList = ReadonlyArray<ServerMiddleware>
> extends ProtocolServerOptions,
    Transport.ServeOptions<M> {
  /** Services of other contracts, on the same listener. */
  readonly handlers?: H | undefined
}

/**
 * A server protocol on a listener of its own, for `RpcServer.layer`.
 *
 * @since 0.1.0
 * @category server
 */
export const layerProtocolServer = <
  const H extends ReadonlyArray<Transport.Handlers<unknown>> = readonly [],
  const M extends ServerList = readonly []
>(
  options: ServerOptions<H, M> = {}
): Layer.Layer<
  RpcServer.Protocol | Transport.Listener | Peers,
  BindError,
  Transport.Transport | RpcSerialization.RpcSerialization | Behind<M, Transport.RequirementsOf<H>>
> =>
  Layer.scopedContext(
    Effect.gen(function* () {
      const { handlers, peers, protocol } = yield* makeProtocolServer(options)
      const others = (options.handlers ?? []) as H
      const listener = yield* Transport.listen<readonly [Transport.Handlers<never>, ...H], M>(
        [handlers, ...others],
        options
      )
      return Context.make(RpcServer.Protocol, protocol).pipe(
        Context.add(Transport.Listener, listener),
        Context.add(Peers, peers)
      )
    })
  )

/**
 * A client protocol to a peer. It comes back by itself when it is lost; requests that were in flight then fail with
 * `RpcClientError`, whose cause is the error of the transport.
 *
 * @since 0.1.0
 * @category client
 */
export const makeProtocolClient = (
  peer: string,
  options: ProtocolOptions = {}
): Effect.Effect<
  RpcClient.Protocol["Type"],
  ConnectError,
  Transport.Transport | RpcSerialization.RpcSerialization | Scope.Scope
> =>
  Effect.flatMap(Transport.client(Carrier.service(options.name), peer), (client) =>
    ProtocolClient.make(peer, Effect.succeed(client), Frames.limitsOf(options))
  )

/**
 * A client protocol to a peer, for `RpcClient.make`.
 *
 * @since 0.1.0
 * @category client
 */
export const layerProtocolClient = (
  peer: string,
  options?: ProtocolOptions
): Layer.Layer<RpcClient.Protocol, ConnectError, Transport.Transport | RpcSerialization.RpcSerialization> =>
  Layer.scoped(RpcClient.Protocol, makeProtocolClient(peer, options))
