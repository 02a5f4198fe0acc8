/**
 * The port: what every transport offers, and the listeners and clients made on it. It names no wire.
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import type * as Scope from "effect/Scope"
import type { CallConnection } from "./Transport/Call.js"
import * as Client_ from "./Transport/Client.js"
import { type Handlers, type RequirementsOf, routesOf, servedBy } from "./Transport/Handlers.js"
import * as Boundary from "./Transport/internal/boundary.js"
import { parse } from "./Transport/internal/parseTarget.js"
import * as Served from "./Transport/internal/served.js"
import type { ClientList, ClientRequirements } from "./Transport/Middleware/ClientMiddleware.js"
import type { Behind, ServerList } from "./Transport/Middleware/ServerMiddleware.js"
import { Reverse } from "./Transport/Reverse.js"
import * as Service from "./Transport/Service.js"
import { type ConnectError, Unavailable } from "./Transport/TransportError.js"
import { Transport } from "./Transport/TransportService.js"

export {
  /**
   * @since 0.1.0
   * @category client
   */
  client,
  /**
   * @since 0.1.0
   * @category client
   */
  connection,
  /**
   * @since 0.1.0
   * @category client
   */
  layerClient,
  /**
   * @since 0.1.0
   * @category models
   */
  type Target
} from "./Connections/Clients.js"
export {
  /**
   * @since 0.1.0
   * @category models
   */
  type AdmissionSource,
  /**
   * @since 0.1.0
   * @category tags
   */
  Listener,
  /**
   * @since 0.1.0
   * @category models
   */
  type ListenerService,
  /**
   * @since 0.1.0
   * @category server
   */
  listen,
  /**
   * @since 0.1.0
   * @category models
   */
  type ServeOptions,
  /**
   * @since 0.1.0
   * @category server
   */
  serve
} from "./Connections/Listeners.js"
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
 * @since 0.1.0
 * @category models
 */
export interface OfferOptions<M extends ServerList = ServerList> {
  /** What is done around all calls, the first outermost, before the authorizers and middleware of the services. Default: nothing. */
  readonly middleware?: M | undefined
}

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
export const offer = <const H extends ReadonlyArray<Handlers<unknown>>, const M extends ServerList = readonly []>(
  handlers: H,
  peer: string,
  { middleware }: OfferOptions<M> = {}
): Effect.Effect<void, ConnectError, Reverse | Scope.Scope | Behind<M, RequirementsOf<H>>> =>
  Effect.gen(function* () {
    const { offer } = yield* Reverse
    const served = Served.make(servedBy(handlers))
    const routes = yield* routesOf(handlers, served, middleware)
    yield* offer(routes, yield* parse(peer))
    yield* Effect.addFinalizer(() => served.close)
  }).pipe(Effect.interruptible)
