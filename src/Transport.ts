/**
 * The port: what every transport offers, and the listeners and clients made on it. It names no wire.
 *
 * @since 0.1.0
 */
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import * as Admission from "./Connections/Admission.js"
import * as BalancedConnection from "./Connections/BalancedConnection.js"
import * as Discovery from "./Connections/Discovery.js"
import type { AdmissionService } from "./Transport/AdmissionService.js"
import type { BalanceOptions, EndpointStatus } from "./Transport/Balancing.js"
import type { CallConnection } from "./Transport/Call.js"
import * as Client_ from "./Transport/Client.js"
import { type Handlers, type RequirementsOf, routesOf, servedBy } from "./Transport/Handlers.js"
import { Health } from "./Transport/Health.js"
import * as Bind from "./Transport/internal/bind.js"
import * as Boundary from "./Transport/internal/boundary.js"
import * as Served from "./Transport/internal/served.js"
import type { ClientList, ClientRequirements } from "./Transport/Middleware/ClientMiddleware.js"
import type { Behind, ServerList, ServerMiddleware } from "./Transport/Middleware/ServerMiddleware.js"
import * as Peer from "./Transport/Peer.js"
import { Reflection } from "./Transport/Reflection.js"
import { Reverse } from "./Transport/Reverse.js"
import * as Service from "./Transport/Service.js"
import { type BindError, type ConnectError, InvalidArgument, Unavailable } from "./Transport/TransportError.js"
import { type ListenOptions, Transport, type TransportService } from "./Transport/TransportService.js"

export type {
  /**
   * @since 0.1.0
   * @category models
   */
  Balance,
  /**
   * @since 0.1.0
   * @category models
   */
  BalanceOptions,
  /**
   * @since 0.1.0
   * @category models
   */
  EndpointState,
  /**
   * @since 0.1.0
   * @category models
   */
  EndpointStatus,
  /**
   * @since 0.1.0
   * @category models
   */
  KeyedCall,
  /**
   * @since 0.1.0
   * @category models
   */
  OutlierOptions
} from "./Transport/Balancing.js"
export {
  /**
   * @since 0.1.0
   * @category models
   */
  type Call,
  /**
   * @since 0.1.0
   * @category models
   */
  type CallConnection,
  /**
   * @since 0.1.0
   * @category tags
   */
  CurrentCall
} from "./Transport/Call.js"
export type {
  /**
   * @since 0.1.0
   * @category models
   */
  CallOptions,
  /**
   * @since 0.1.0
   * @category models
   */
  Client,
  /**
   * @since 0.1.0
   * @category models
   */
  ClientMethod,
  /**
   * @since 0.1.0
   * @category models
   */
  ClientOptions,
  /**
   * @since 0.1.0
   * @category models
   */
  CommonOptions
} from "./Transport/Client.js"
export {
  /**
   * @since 0.1.0
   * @category models
   */
  type Handler,
  /**
   * @since 0.1.0
   * @category models
   */
  type Handlers,
  /**
   * @since 0.1.0
   * @category models
   */
  type HandlersOptions,
  /**
   * @since 0.1.0
   * @category server
   */
  handlers,
  /**
   * @since 0.1.0
   * @category models
   */
  type Implementation,
  /**
   * @since 0.1.0
   * @category models
   */
  type RequirementsOf
} from "./Transport/Handlers.js"
export {
  /**
   * @since 0.1.0
   * @category tags
   */
  Reverse
} from "./Transport/Reverse.js"
export {
  /**
   * @since 0.1.0
   * @category models
   */
  type ConnectOptions,
  /**
   * @since 0.1.0
   * @category models
   */
  type ListenOptions,
  /**
   * @since 0.1.0
   * @category tags
   */
  Transport,
  /**
   * @since 0.1.0
   * @category models
   */
  type TransportService
} from "./Transport/TransportService.js"

/**
 * A running listener.
 *
 * @since 0.1.0
 * @category tags
 */
export class Listener extends Context.Tag("effect-transport/Transport/Listener")<Listener, ListenerService>() {}

/**
 * @since 0.1.0
 * @category models
 */
export interface ListenerService {
  /** Where it listens, with the port that the system chose. */
  readonly address: Peer.Address
  /** The same as text that `client` takes. */
  readonly target: string
}

/*
 * What is forked where nothing can be interrupted, as in the acquisition of `Effect.acquireRelease`, can't be either, and
 * the scope would wait for it for ever. Hence `interruptible` on what listens and connects.
 */

/**
 * Where and how to listen, and what is done around all calls that come there.
 *
 * @since 0.1.0
 * @category models
 */
export interface ServeOptions<
  M extends ServerList = ReadonlyArray<ServerMiddleware>,
  A extends AdmissionSource = AdmissionService
> extends Omit<ListenOptions, "admission"> {
  /**
   * What is done around all calls of the listener, the first outermost: before the authorizers and the middleware of its
   * services. Default: nothing, which costs nothing.
   */
  readonly middleware?: M | undefined
  /**
   * What may come in, by source and by identity: what `Admission.make` returns, that effect itself, or the tag
   * `Admission.Admission`, which the program provides. Listeners that are given the same value share its budgets. Default: one of
   * the listener's own, with the defaults of `Admission.make`.
   */
  readonly admission?: A | undefined
}

/**
 * An admission, or how to come by one.
 *
 * @since 0.1.0
 * @category models
 */
export type AdmissionSource = AdmissionService | Effect.Effect<AdmissionService, unknown, unknown>

/** Why there may be no admission, and what it takes. */
type AdmissionErrorOf<A> = A extends Effect.Effect<infer _, infer E, infer _> ? E : never
type AdmissionContextOf<A> = A extends Effect.Effect<infer _, infer _, infer R> ? R : never

const admissionOf = <A extends AdmissionSource>(
  source: A | undefined
): Effect.Effect<AdmissionService, AdmissionErrorOf<A>, AdmissionContextOf<A> | Scope.Scope> => {
  const admission: AdmissionSource | undefined = source
  if (admission === undefined) {
    // Defaults can't be malformed.
    return Effect.orDie(Admission.make())
  }
  return "gate" in admission
    ? Effect.succeed(admission)
    : // What the source itself may fail with, and takes.
      (admission as Effect.Effect<AdmissionService, AdmissionErrorOf<A>, AdmissionContextOf<A>>)
}

/** Tells `Health` of services, where there is one. */
const register = (services: ReadonlyArray<string>) =>
  Effect.flatMap(
    Effect.serviceOption(Health),
    Option.match({
      onNone: () => Effect.succeed({ opened: Effect.void, closing: Effect.void }),
      onSome: (health) => health.register(services)
    })
  )

/** The handlers of `Reflection`, where it is in the context and not among the handlers already. */
const reflection = (handlers: ReadonlyArray<Handlers<unknown>>): Effect.Effect<ReadonlyArray<Handlers<never>>> =>
  Effect.map(Effect.serviceOption(Reflection), (found) =>
    Option.toArray(found).flatMap((each) =>
      handlers.some(({ service }) => service === each.handlers.service) ? [] : [each.handlers]
    )
  )

/**
 * Listens for as long as the scope is open. Where `Health` is in the context, the services are `SERVING` until it closes.
 *
 * @since 0.1.0
 * @category server
 */
export const listen = <
  const H extends ReadonlyArray<Handlers<unknown>>,
  const M extends ServerList = readonly [],
  A extends AdmissionSource = AdmissionService
>(
  handlers: H,
  { admission: source, middleware, ...rest }: ServeOptions<M, A> = {}
): Effect.Effect<
  ListenerService,
  BindError | AdmissionErrorOf<A>,
  Transport | Scope.Scope | Behind<M, RequirementsOf<H>> | AdmissionContextOf<A>
> =>
  Effect.gen(function* () {
    const transport = yield* Transport
    const all = [...handlers, ...(yield* reflection(handlers))]
    const served = Served.make(servedBy(all))
    const options: ListenOptions = { ...rest, admission: yield* admissionOf(source) }
    // The context of all handlers is the context of each.
    const routes = yield* routesOf(all, served, middleware)
    yield* Bind.check(options)
    // What is added last is done first: services stop serving before the transport tells its peers to go away, and are
    // forgotten when it has closed.
    const registration = yield* register(served.services.map(({ name }) => name))
    const address = yield* transport.listen(routes, options)
    yield* Effect.addFinalizer(() => Effect.zipRight(registration.closing, served.close))
    yield* registration.opened
    const target = Peer.formatAddress(address)
    const description = transport.description === undefined ? "" : ` (${yield* transport.description})`
    yield* Effect.logInfo(`listening on ${target}${description}`)
    return { address, target }
  }).pipe(Effect.interruptible)

/**
 * A listener as a layer.
 *
 * @since 0.1.0
 * @category server
 */
export const serve = <
  const H extends ReadonlyArray<Handlers<unknown>>,
  const M extends ServerList = readonly [],
  A extends AdmissionSource = AdmissionService
>(
  handlers: H,
  options?: ServeOptions<M, A>
): Layer.Layer<
  Listener,
  BindError | AdmissionErrorOf<A>,
  Transport | Behind<M, RequirementsOf<H>> | Exclude<AdmissionContextOf<A>, Scope.Scope>
> => Layer.scoped(Listener, listen(handlers, options))

/** The connection to one peer. */
const connectTo = (transport: TransportService, peer: Target, options: Client_.CommonOptions) =>
  Effect.gen(function* () {
    const target = yield* parse(String(peer))
    const connection = yield* transport.connect(target, { waitForReady: options.waitForReady })
    return [Peer.formatTarget(target), connection] as const
  })

const parse = (peer: string) =>
  Either.mapLeft(Peer.parseTarget(peer), (message) => new InvalidArgument({ message, peer }))

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

/**
 * A client of the node at the other end of a connection that it made, as `call.connection` in a handler. That node says
 * with `offer` what may be called. When the connection ends so do the calls, with `Unavailable`.
 *
 * @since 0.1.0
 * @category reverse
 */
export const reverse = <S extends Service.Source, const M extends ClientList = readonly []>(
  service: S,
  connection: CallConnection,
  options: Client_.ClientOptions<M> = {}
): Effect.Effect<Client_.Client<S>, Unavailable, Transport | Reverse | ClientRequirements<M>> =>
  Effect.gen(function* () {
    const transport = yield* Transport
    const back = (yield* Reverse).over(connection)
    const peer = connection.peer.address
    if (Option.isNone(back)) {
      return yield* new Unavailable({ message: `no way back over the connection of ${peer}`, peer, processed: "no" })
    }
    return Client_.make<S>(Service.from(service), back.value, {
      ...options,
      timeout: options.timeout ?? transport.defaultTimeout,
      peer,
      system: transport.system,
      boundary: yield* Boundary.unscoped,
      context: yield* Effect.context<never>()
    })
  })

/**
 * Serves handlers to a peer on the connection that this end makes to it until the scope closes. Then no further calls are
 * taken (`Unimplemented`), `call.draining` completes, and those in flight may go on for the transport's grace period (5 seconds
 * by default) before they are interrupted.
 *
 * Fails as `client` does where there is no connection, and with `InvalidArgument` where one of the methods is offered to that
 * peer already; nothing is offered then.
 *
 * @since 0.1.0
 * @category reverse
 */
export const offer = <const H extends ReadonlyArray<Handlers<unknown>>>(
  handlers: H,
  peer: string
): Effect.Effect<void, ConnectError, Reverse | Scope.Scope | RequirementsOf<H>> =>
  Effect.gen(function* () {
    const { offer } = yield* Reverse
    const served = Served.make(servedBy(handlers))
    const routes = yield* routesOf(handlers, served)
    yield* offer(routes, yield* parse(peer))
    yield* Effect.addFinalizer(() => served.close)
  }).pipe(Effect.interruptible)
