/** Clients of the port: typed calls to one peer, or to the endpoints of a name, a list or a `Discovery`. */
import type * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import type { BalanceOptions, EndpointStatus } from "../Transport/Balancing.js"
import * as Client_ from "../Transport/Client.js"
import * as Boundary from "../Transport/internal/boundary.js"
import { parse } from "../Transport/internal/parseTarget.js"
import type { ClientList, ClientRequirements } from "../Transport/Middleware/ClientMiddleware.js"
import * as Peer from "../Transport/Peer.js"
import * as Service from "../Transport/Service.js"
import type { ConnectError, InvalidArgument } from "../Transport/TransportError.js"
import { Transport, type TransportService } from "../Transport/TransportService.js"
import * as BalancedConnection from "./BalancedConnection.js"
import * as Discovery from "./Discovery.js"

/*
 * What is forked where nothing can be interrupted, as in the acquisition of `Effect.acquireRelease`, can't be either, and
 * the scope would wait for it for ever. Hence `interruptible` on what listens and connects.
 */

/** The connection to one peer. */
const connectTo = (transport: TransportService, peer: Target, options: Client_.CommonOptions) =>
  Effect.gen(function* () {
    const target = yield* parse(String(peer))
    const connection = yield* transport.connect(target, { waitForReady: options.waitForReady })
    return [Peer.formatTarget(target), connection] as const
  })

/**
 * What a client reaches.
 *
 * - `"host:port"`, `"[v6]:port"` or `"unix:path"`: one peer, as `Peer.parseTarget` reads it.
 * - `"dns:///name:port"`: all addresses of a name, as the system knows them; asked again every 30 seconds, and at once when a
 *   connection is lost. `"dns://server:port/name:port"` asks that DNS server.
 * - `"srv:///_service._tcp.name"`: the targets of SRV records, with their weights and priorities.
 * - a list of these.
 * - a `Discovery`.
 *
 * @since 0.1.0
 * @category models
 */
export type Target = string | ReadonlyArray<string> | Discovery.Discovery

/** What makes a client of several endpoints; undefined for one peer, to which calls go straight. */
const reachedBy = (target: Target, options: BalanceOptions): BalancedConnection.Reached | undefined => {
  const discovery = Discovery.fromTarget(target)
  const id = typeof target === "string" || Discovery.isDiscovery(target) ? target : JSON.stringify(target)
  return discovery !== undefined
    ? { target: id, discovery }
    : options.connect === "lazy" && typeof target === "string"
      ? { target: id, discovery: Discovery.single(target) }
      : undefined
}

/**
 * A client of a peer: `"host:port"`, `"[v6]:port"` or `"unix:path"`, as `Peer.parseTarget` reads them. Of the addresses of a
 * name each begins to be tried when the one before has failed or been silent for 250 ms, and the first that takes this end is
 * used (RFC 8305). Clients of one peer share one connection. It is made before the first of them returns, and again by itself whenever it is lost until the last of
 * their scopes closes. With `waitForReady` a client of a peer that can't be reached yet is there all the same, and its
 * calls wait; a peer that refuses this end, or is refused, fails it even so.
 *
 * A client of a name, a list or a `Discovery` has an endpoint for each address there, and shares its calls among those that
 * are ready: docs/guide/balancing.md says how. A call that an endpoint has not taken (`processed: "no"`) goes to another at once,
 * once. The client is there when one endpoint is, and fails when none can be reached.
 *
 * @since 0.1.0
 * @category client
 */
export const client = <S extends Service.Source, const M extends ClientList = readonly []>(
  service: S,
  target: Target,
  options: Client_.ClientOptions<M> = {}
): Effect.Effect<Client_.Client<S>, ConnectError, Transport | Scope.Scope | ClientRequirements<M>> =>
  Effect.gen(function* () {
    const transport = yield* Transport
    const reached = reachedBy(target, options)
    if (reached?.discovery.invalid !== undefined) {
      return yield* reached.discovery.invalid
    }
    const [peer, connection] =
      reached === undefined
        ? yield* connectTo(transport, target, options)
        : ([reached.discovery.name, yield* BalancedConnection.connect(transport, reached, options)] as const)
    const boundary = yield* Boundary.make
    return Client_.make<S>(Service.from(service), connection, {
      ...options,
      timeout: options.timeout ?? transport.defaultTimeout,
      peer,
      system: transport.system,
      boundary,
      context: yield* Effect.context<never>()
    })
  }).pipe(Effect.interruptible)

/**
 * What the clients of a target know of its endpoints: a list of all, now and after each change. Of changes that come faster than
 * they are read only the last is told. It is what the clients of that target in this transport see, where there are any;
 * otherwise it connects by itself, as a client with these options would. Ends with nothing but its scope.
 *
 * Fails with `InvalidArgument` for one plain target that can't be read.
 *
 * @since 0.1.0
 * @category client
 */
export const connection = (
  target: Target,
  options: BalanceOptions = {}
): Stream.Stream<ReadonlyArray<EndpointStatus>, InvalidArgument, Transport> =>
  Stream.unwrap(
    Effect.gen(function* () {
      const transport = yield* Transport
      const reached = reachedBy(target, { ...options, connect: "lazy" })
      if (reached === undefined) {
        return Stream.empty
      }
      if (reached.discovery.invalid !== undefined) {
        return yield* reached.discovery.invalid
      }
      return BalancedConnection.states(transport, reached, options)
    })
  )

/**
 * A client as a layer: what needs it asks for the tag and names neither peer nor wire, and a test puts
 * `Layer.succeed(tag, { ... })` in its place. The connection is made when the layer is built, and left when its scope
 * closes; `options` are those of `client`.
 *
 * Building it fails as `client` does: with `InvalidArgument` for a target that can't be read, `Unavailable` or
 * `DeadlineExceeded` for a peer that can't be reached (not with `waitForReady`), and `HandshakeFailed` where one side
 * refuses the other.
 *
 * @example
 * ```ts
 * import { Context, Effect, Layer } from "effect"
 * import { Transport } from "effect-transport"
 * import { PohService } from "./gen/poh/v1/poh_pb.js"
 *
 * class Poh extends Context.Tag("app/Poh")<Poh, Transport.Client<typeof PohService>>() {}
 *
 * const program = Effect.flatMap(Poh, (poh) => poh.prove({ slot: 7n, iterations: 1000 }))
 *
 * // Layer.Layer<Poh, ConnectError, Transport>
 * const PohLive = Transport.layerClient(Poh, PohService, "peer-node:50051", { timeout: "2 seconds" })
 * ```
 *
 * @since 0.1.0
 * @category client
 */
export const layerClient = <I, S extends Service.Source, const M extends ClientList = readonly []>(
  tag: Context.Tag<I, Client_.Client<NoInfer<S>>>,
  service: S,
  target: Target,
  options?: Client_.ClientOptions<M>
): Layer.Layer<I, ConnectError, Transport | Exclude<ClientRequirements<M>, Scope.Scope>> =>
  Layer.scoped(tag, client(service, target, options))
