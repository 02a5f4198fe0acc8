/**
 * The port itself: the service that every transport implements, and what it is asked with.
 *
 * @since 0.1.0
 */
import * as Context from "effect/Context"
import type * as Duration from "effect/Duration"
import type * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import type { AdmissionService } from "./AdmissionService.js"
import type { Authorizer } from "./Authorizer.js"
import type { Connection } from "./Connection.js"
import type * as Peer from "./Peer.js"
import type * as Route from "./Route.js"
import type { BindError, ConnectError } from "./TransportError.js"

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
  /** What the wire speaks, for spans: OpenTelemetry's `rpc.system.name`. Default `effect_transport`. */
  readonly system?: string | undefined
  /** Whether calls are measured. Default true. */
  readonly metrics?: boolean | undefined
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
  /**
   * Whether to return at once, while the first attempt goes on: `Connection.status` says what becomes of it. Default
   * false. A transport that does not know it connects first.
   */
  readonly background?: boolean | undefined
  /** What else is known of the target. Default: nothing. */
  readonly names?: TargetNames | undefined
}

/**
 * What is known of a target that was found by a discovery, beside its address.
 *
 * @since 0.1.0
 * @category models
 */
export interface TargetNames {
  /** The name that the peer's certificate must carry, whatever the transport's own `serverName` says. */
  readonly serverName?: string | undefined
  /** The name that the address was found by: it stands in place of the address where neither of the others is given. */
  readonly hostName?: string | undefined
  /** Other addresses of the same peer, such as those of the other IP version: the first that works is used (RFC 8305). */
  readonly alternatives?: ReadonlyArray<Peer.Target> | undefined
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
  /**
   * What may come in, by source and by identity: what `Admission.make` returns. Listeners that are given the same share its
   * budgets. Default: one of the listener's own, with the defaults of `Admission.make`.
   */
  readonly admission?: AdmissionService | undefined
}
