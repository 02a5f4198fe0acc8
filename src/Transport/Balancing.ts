/**
 * How a client that has several endpoints shares its calls among them, and what it tells of each.
 *
 * @since 0.1.0
 */
import type * as Duration from "effect/Duration"
import type * as Option from "effect/Option"
import type * as Metadata from "./Metadata.js"

/**
 * What the key of a call is made of.
 *
 * @since 0.1.0
 * @category models
 */
export interface KeyedCall {
  /** The full path, as `/dag.v1.DagService/SubmitTransaction`. */
  readonly method: string
  readonly metadata: Metadata.Metadata
  /** The request of a unary call; undefined where requests stream. */
  readonly request: unknown
}

/**
 * Which endpoint gets a call, of those that are ready.
 *
 * - `"leastPending"`: of two at random the one with fewer calls in flight, and of equal ones the one that had fewer.
 * - `"roundRobin"`: each in turn.
 * - `"weighted"`: each in turn, those with more weight more often.
 * - `"pickFirst"`: all calls go to the first of the list that can be reached; there is one connection. Others are tried when it
 *   has failed, or been silent for 250 ms, and from the first again when the connection is lost.
 * - `byKey`: calls of one key go to one endpoint, as long as it is ready, on every client that has the same list
 *   (rendezvous hashing): when endpoints come and go, only the keys of those move. A function that throws fails the call
 *   with `Internal`.
 *
 * @since 0.1.0
 * @category models
 */
export type Balance =
  | "leastPending"
  | "roundRobin"
  | "weighted"
  | "pickFirst"
  | { readonly byKey: (call: KeyedCall) => string }

/**
 * When an endpoint gets no calls for a while although it is connected. At least one endpoint of three, and always one, goes on getting calls.
 *
 * @since 0.1.0
 * @category models
 */
export interface OutlierOptions {
  /**
   * Calls in a row that end with `DeadlineExceeded`, `Unavailable`, `Internal`, `Unknown` or `DataLoss` before it is
   * ejected. Default 3; `Infinity` for never.
   */
  readonly consecutiveFailures?: number | undefined
  /**
   * How many times slower than the median of the others its unary calls may be, on average; by less than 50 ms they always may.
   * Looked at from 64 calls on, where there are three endpoints or more. Default 10; `Infinity` for never.
   */
  readonly latencyFactor?: number | undefined
  /**
   * How long the first ejection lasts. Then it is asked (`grpc.health.v1.Health/Check`, 1 second) before it gets calls again, and where it
   * does not answer, or fails again, the next one lasts twice as long. Default 5 seconds.
   */
  readonly ejection?: Duration.DurationInput | undefined
  /** The longest ejection. Default 5 minutes. */
  readonly maxEjection?: Duration.DurationInput | undefined
}

/**
 * How a client reaches its endpoints. None of it, but `connect`, means anything for one plain target.
 *
 * @since 0.1.0
 * @category models
 */
export interface BalanceOptions {
  /**
   * `"eager"` looks for endpoints and connects before the client is there, and fails where none can be reached. `"lazy"` does so
   * with the first call, and the client is there at once. Default `"eager"`.
   */
  readonly connect?: "eager" | "lazy" | undefined
  /** Which endpoint gets a call. Default `"leastPending"`. A call's `key` goes before it. */
  readonly balance?: Balance | undefined
  /**
   * How many endpoints of a larger list are connected to: each client has some of its own, and others in the place of
   * those that can't be reached, up to twice as many. Default 32. By key all endpoints count, and more than these are connected to when a key needs
   * them.
   */
  readonly subset?: number | undefined
  /**
   * Whether endpoints are asked how they are (`grpc.health.v1.Health/Watch`, one stream of each connection): one that says
   * `NOT_SERVING` gets no calls, and one that has no such service counts as healthy. A name asks about that service; the default, `true`,
   * about the whole process.
   */
  readonly health?: boolean | string | undefined
  /** When an endpoint gets no calls for a while. `false` for never. */
  readonly outliers?: OutlierOptions | false | undefined
  /**
   * How long it takes until an endpoint that has come, or come back, gets its full share of the calls: it begins with a
   * tenth. Default 2 seconds; 0 for at once.
   */
  readonly slowStart?: Duration.DurationInput | undefined
}

/**
 * What an endpoint is doing.
 *
 * - `"idle"`: nobody has needed it.
 * - `"connecting"`: the first attempt is under way, or the one that follows a loss; or it has not said yet how it is.
 * - `"ready"`: it gets calls.
 * - `"backingOff"`: an attempt has failed; another follows after a pause.
 * - `"unhealthy"`: it is connected, and says that it does not serve.
 * - `"ejected"`: it is connected, and has failed or been slow.
 * - `"draining"`: it is on the list no more; its calls go on, and it gets no new ones.
 *
 * @since 0.1.0
 * @category models
 */
export type EndpointState = "idle" | "connecting" | "ready" | "backingOff" | "unhealthy" | "ejected" | "draining"

/**
 * What a client knows of an endpoint.
 *
 * @since 0.1.0
 * @category models
 */
export interface EndpointStatus {
  readonly address: string
  /** The name that it is verified by, where that is not the host of the address. */
  readonly serverName: Option.Option<string>
  readonly weight: number
  readonly attributes: Readonly<Record<string, string>>
  readonly state: EndpointState
  /** Why it is backing off, unhealthy or ejected. */
  readonly reason: Option.Option<string>
  /** Calls in flight. Those of clients of this one plain target are not among them. */
  readonly pending: number
  /**
   * How long a request and its answer take, smoothed: measured by asking for its health when it is connected, and every 5
   * seconds while somebody follows the states. None where `health` is off.
   */
  readonly roundTrip: Option.Option<Duration.Duration>
}
