/**
 * The port: what every transport offers, and the listeners and clients made on it. It names no wire.
 *
 * @since 0.1.0
 */
import * as Context from "effect/Context"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import type * as Scope from "effect/Scope"
import type * as Stream from "effect/Stream"
import type { Authorizer } from "./Transport/Authorizer.js"
import type { Call, CallConnection, CurrentCall } from "./Transport/Call.js"
import * as Client_ from "./Transport/Client.js"
import type { Connection } from "./Transport/Connection.js"
import * as Bind from "./Transport/internal/bind.js"
import * as Boundary from "./Transport/internal/boundary.js"
import type * as Method from "./Transport/Method.js"
import * as Peer from "./Transport/Peer.js"
import { Reverse } from "./Transport/Reverse.js"
import * as Route from "./Transport/Route.js"
import * as Service from "./Transport/Service.js"
import {
  type BindError,
  type ConnectError,
  InvalidArgument,
  type StatusError,
  Unavailable
} from "./Transport/TransportError.js"

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
  ClientOptions
} from "./Transport/Client.js"
export {
  /**
   * @since 0.1.0
   * @category tags
   */
  Reverse
} from "./Transport/Reverse.js"

/**
 * The transport that a program talks through. `GrpcLive`, `MemoryLive` and the others provide it.
 *
 * @since 0.1.0
 * @category tags
 */
export class Transport extends Context.Tag("effect-transport/Transport")<Transport, TransportService>() {}

/**
 * What a transport implements. Programs use `serve`, `listen` and `client` instead.
 *
 * @since 0.1.0
 * @category models
 */
export interface TransportService {
  /** Serves the routes until the scope closes; then drains, for no longer than the grace period. */
  readonly listen: (
    routes: ReadonlyMap<string, Route.Route>,
    options: ListenOptions
  ) => Effect.Effect<Peer.Address, BindError, Scope.Scope>
  /** A connection to the target, shared by all who ask for the same target, kept until the last of them is done. */
  readonly connect: (
    target: Peer.Target,
    options?: ConnectOptions
  ) => Effect.Effect<Connection, ConnectError, Scope.Scope>
  /** The timeout of calls that name none. */
  readonly defaultTimeout: Duration.DurationInput
  /** The wire, and as whom it listens, for the log: `"gRPC, as CN=node-a, fingerprint ab12..."`. Default: nothing is said. */
  readonly description?: Effect.Effect<string> | undefined
}

/**
 * How to connect.
 *
 * @since 0.1.0
 * @category models
 */
export interface ConnectOptions {
  /** Whether a peer that can't be reached yet is left to the calls to wait for. Default false: connecting fails. */
  readonly waitForReady?: boolean | undefined
}

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

/**
 * Where and how to listen.
 *
 * @since 0.1.0
 * @category models
 */
export interface ListenOptions {
  /**
   * The interface to bind, `"127.0.0.1"` unless given: a node that others shall reach says so. With `"0.0.0.0"` or `"::"`
   * `QuicLive` listens on each address that the system names; `127.0.0.2` and its like have to be given by name.
   */
  readonly host?: string | undefined
  /** Between 0 and 65535. 0, the default, lets the system choose. */
  readonly port?: number | undefined
  /**
   * The path of a unix socket, instead of host and port. A socket that is there already and on which nobody listens, as a
   * crashed process leaves it, is replaced; any other file stays, and is `AddressInUse`.
   */
  readonly path?: string | undefined
  /**
   * The permissions of the unix socket, as `chmod` takes them: who may connect needs to write. Default: 0o600, the user of
   * this process alone. The socket has them from its first moment on, except in a worker thread (a moment later).
   */
  readonly mode?: number | undefined
  /** How long calls in flight may go on when the scope closes; the transport's own (5 seconds) unless given. */
  readonly gracePeriod?: Duration.DurationInput | undefined
  /**
   * Which peers may connect; whom it refuses gets `HandshakeFailed` with `NotAuthorized`. Default: all whom the transport
   * trusts. Where peers prove no identity, as on plaintext and in memory, all but `Authorizer.any` refuse.
   */
  readonly authorize?: Authorizer | undefined
}

/**
 * The handlers of one service, with what they require.
 *
 * @since 0.1.0
 * @category models
 */
export interface Handlers<out R> {
  readonly service: string
  /** A route for each method, with the context provided: what a transport serves. */
  readonly routes: (context: Context.Context<R>) => ReadonlyArray<Route.Route>
}

/**
 * The handler of one method.
 *
 * @since 0.1.0
 * @category models
 */
export type Handler<M> =
  M extends Method.Method<infer I, unknown, infer S, never, infer OO>
    ? S extends "unary"
      ? (request: I, call: Call) => Effect.Effect<OO, unknown, unknown>
      : S extends "serverStreaming"
        ? (request: I, call: Call) => Stream.Stream<OO, unknown, unknown>
        : S extends "clientStreaming"
          ? (requests: Stream.Stream<I, StatusError>, call: Call) => Effect.Effect<OO, unknown, unknown>
          : (requests: Stream.Stream<I, StatusError>, call: Call) => Stream.Stream<OO, unknown, unknown>
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
export interface HandlersOptions<S extends Service.Source> {
  /**
   * Who may call: one authorizer for the service, or one for each of its methods, of which none may be left out. Whom it
   * refuses gets `PermissionDenied`, and the handler does not run. Default: all who may connect.
   */
  readonly authorize?: Authorizer | { readonly [K in keyof Service.Methods<S>]: Authorizer } | undefined
}

/**
 * Handlers for all methods of a contract.
 *
 * Each call has a `Scope` of its own. A handler that fails with one of the status errors gives the caller the same error.
 * Any other failure, and a defect, is `Internal` to the caller without its text, and is logged here.
 *
 * @since 0.1.0
 * @category server
 */
export const handlers = <S extends Service.Source, const H extends Implementation<S>>(
  service: S,
  implementation: H & NothingElse<S, H>,
  options: HandlersOptions<S> = {}
): Handlers<Exclude<Requirements<H>, CurrentCall | Scope.Scope>> => {
  const contract = Service.from(service)
  return {
    service: contract.name,
    routes: (context) => Route.make(contract, implementation, context, options.authorize)
  }
}

/**
 * What handlers require together.
 *
 * @since 0.1.0
 * @category models
 */
export type RequirementsOf<H extends ReadonlyArray<Handlers<unknown>>> = RequirementsOfEach<H[number]>
type RequirementsOfEach<H> = H extends Handlers<infer R> ? R : never

const routesOf = <const H extends ReadonlyArray<Handlers<unknown>>>(
  handlers: H
): Effect.Effect<ReadonlyMap<string, Route.Route>, never, RequirementsOf<H>> =>
  Effect.gen(function* () {
    const context = (yield* Effect.context<RequirementsOf<H>>()) as Context.Context<unknown>
    const routes = new Map<string, Route.Route>()
    for (const route of handlers.flatMap((each) => each.routes(context))) {
      if (routes.has(route.method.path)) {
        return yield* Effect.dieMessage(`${route.method.path} has two handlers`)
      }
      routes.set(route.method.path, route)
    }
    return routes
  })

/*
 * What is forked where nothing can be interrupted, as in the acquisition of `Effect.acquireRelease`, can't be either, and
 * the scope would wait for it for ever. Hence `interruptible` on what listens and connects.
 */

/**
 * Listens for as long as the scope is open.
 *
 * @since 0.1.0
 * @category server
 */
export const listen = <const H extends ReadonlyArray<Handlers<unknown>>>(
  handlers: H,
  options: ListenOptions = {}
): Effect.Effect<ListenerService, BindError, Transport | Scope.Scope | RequirementsOf<H>> =>
  Effect.gen(function* () {
    const transport = yield* Transport
    // The context of all handlers is the context of each.
    const routes = yield* routesOf(handlers)
    yield* Bind.check(options)
    const address = yield* transport.listen(routes, options)
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
export const serve = <const H extends ReadonlyArray<Handlers<unknown>>>(
  handlers: H,
  options?: ListenOptions
): Layer.Layer<Listener, BindError, Transport | RequirementsOf<H>> => Layer.scoped(Listener, listen(handlers, options))

const parse = (peer: string) =>
  Either.mapLeft(Peer.parseTarget(peer), (message) => new InvalidArgument({ message, peer }))

/**
 * A client of a peer: `"host:port"`, `"[v6]:port"` or `"unix:path"`, as `Peer.parseTarget` reads them. Of the addresses of a
 * name each begins to be tried when the one before has failed or been silent for 250 ms, and the first that takes this end is
 * used (RFC 8305). Clients of one peer share one connection. It is made before the first of them returns, and again by itself whenever it is lost until the last of
 * their scopes closes. With `waitForReady` a client of a peer that can't be reached yet is there all the same, and its
 * calls wait; a peer that refuses this end, or is refused, fails it even so.
 *
 * @since 0.1.0
 * @category client
 */
export const client = <S extends Service.Source>(
  service: S,
  peer: string,
  options: Client_.ClientOptions = {}
): Effect.Effect<Client_.Client<S>, ConnectError, Transport | Scope.Scope> =>
  Effect.gen(function* () {
    const transport = yield* Transport
    const target = yield* parse(peer)
    const connection = yield* transport.connect(target, { waitForReady: options.waitForReady })
    const boundary = yield* Boundary.make
    return Client_.make<S>(Service.from(service), connection, {
      ...options,
      timeout: options.timeout ?? transport.defaultTimeout,
      peer: Peer.formatTarget(target),
      boundary
    })
  }).pipe(Effect.interruptible)

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
export const layerClient = <I, S extends Service.Source>(
  tag: Context.Tag<I, Client_.Client<NoInfer<S>>>,
  service: S,
  target: string,
  options?: Client_.ClientOptions
): Layer.Layer<I, ConnectError, Transport> => Layer.scoped(tag, client(service, target, options))

/**
 * A client of the node at the other end of a connection that it made, as `call.connection` in a handler. That node says
 * with `offer` what may be called. When the connection ends so do the calls, with `Unavailable`.
 *
 * @since 0.1.0
 * @category reverse
 */
export const reverse = <S extends Service.Source>(
  service: S,
  connection: CallConnection,
  options: Client_.ClientOptions = {}
): Effect.Effect<Client_.Client<S>, Unavailable, Transport | Reverse> =>
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
      boundary: yield* Boundary.unscoped
    })
  })

/**
 * Serves handlers to a peer on the connection that this end makes to it, for as long as the scope is open.
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
    const routes = yield* routesOf(handlers)
    yield* offer(routes, yield* parse(peer))
  }).pipe(Effect.interruptible)
