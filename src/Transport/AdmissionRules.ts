/**
 * What an admission goes by: rules, limits and what the node as a whole takes on. All of it is data, so that a file can hold it.
 *
 * @since 0.1.0
 */
import type * as Duration from "effect/Duration"
import type * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import type { SourceOptions } from "./AdmissionSources.js"
import type * as Metadata from "./Metadata.js"
import type * as Peer from "./Peer.js"

/**
 * Options of an admission that can't be used, or a file of them that can't be read.
 *
 * @since 0.1.0
 * @category errors
 */
export class AdmissionError extends Schema.TaggedError<AdmissionError>("effect-transport/AdmissionError")(
  "AdmissionError",
  {
    /** Names the file and line, or the option. */
    message: Schema.String,
    /** `NotFound` and `Unreadable` are of files alone. */
    reason: Schema.Literal("NotFound", "Unreadable", "Malformed"),
    path: Schema.optional(Schema.String),
    line: Schema.optional(Schema.Number),
    cause: Schema.optional(Schema.Defect)
  }
) {}

/**
 * What a match is asked about: the peer of a connection, and of a call its method and metadata too.
 *
 * @since 0.1.0
 * @category models
 */
export interface Subject {
  readonly identity: Option.Option<Peer.Identity>
  /** The address without its port, as `"10.0.0.7"`; empty for unix sockets and in memory. */
  readonly source: string
  /** None of a connection. */
  readonly method: Option.Option<string>
  readonly metadata: Metadata.Metadata
}

/**
 * One pattern or several, of which one has to match: the text itself, or what begins with it where it ends with `*`.
 *
 * @since 0.1.0
 * @category models
 */
export type Pattern = string | ReadonlyArray<string>

/**
 * Whom or what a rule is for. All fields that are given have to match; none given matches everything.
 *
 * @since 0.1.0
 * @category models
 */
export interface MatchFields {
  readonly spiffeId?: Pattern | undefined
  /** A subject alternative name with its kind, as `"DNS:node-a"` or `"URI:spiffe://mesh/*"`. */
  readonly san?: Pattern | undefined
  /** SHA-256 of the certificate in lower or upper case hex, with or without colons. */
  readonly fingerprint?: Pattern | undefined
  /** The path of a method, as `"/dag.v1.DagService/Watch"` or `"/dag.v1.DagService/*"`. */
  readonly method?: Pattern | undefined
  /** A network, as `"10.0.0.0/8"` or `"fd00::/8"`, or one address. */
  readonly source?: string | ReadonlyArray<string> | undefined
  /**
   * The size of a message that has come, in bytes. Such a rule is asked when the message is whole, before it is decoded, and
   * goes on top of the rule that the call began under.
   */
  readonly size?: { readonly min?: number | undefined; readonly max?: number | undefined } | undefined
  /** What the caller's metadata holds: the caller's own word. Values are patterns. */
  readonly metadata?: { readonly [key: string]: string } | undefined
}

/**
 * Fields, or a function. What a function throws, or answers but `true` and `false`, refuses whoever was asked about.
 *
 * @since 0.1.0
 * @category models
 */
export type Match = MatchFields | ((subject: Subject) => boolean)

/**
 * So many a second. A number is a rate whose burst is what comes in one second.
 *
 * @since 0.1.0
 * @category models
 */
export type Rate = number | { readonly rate: number; readonly burst: number }

/**
 * What one may hold and spend. `Infinity` is unlimited.
 *
 * @since 0.1.0
 * @category models
 */
export interface Limits {
  /** Connections at a time. 0 refuses all, and ends those that are open. */
  readonly connections?: number | undefined
  /** Calls at a time, those that wait included. A call counts until its handler has ended. 0 refuses all. */
  readonly callsInFlight?: number | undefined
  /** Calls that stream at a time. */
  readonly streams?: number | undefined
  readonly callsPerSecond?: Rate | undefined
  /** Bytes of messages that come, as they are decoded. */
  readonly bytesInPerSecond?: Rate | undefined
  /** Bytes of messages that are sent. */
  readonly bytesOutPerSecond?: Rate | undefined
  /**
   * What calls cost: 1 each, and 20 more where the caller cancels, 50 more where it is denied or refused. Who has spent twice
   * the burst has its connections closed, and may not come back before it has paid.
   */
  readonly costPerSecond?: Rate | undefined
}

/**
 * A rule. See `Admission.rule`.
 *
 * @since 0.1.0
 * @category models
 */
export interface Rule {
  /** For metrics, logs and `inspect`. Default: `rule-1` and so on, by its place. */
  readonly name?: string | undefined
  readonly match: Match
  /** What is not named stays as `identities` says. */
  readonly limits?: Limits | undefined
  /**
   * Whose the limits are: of each identity that matches, or of all together. Default `"identity"`.
   */
  readonly per?: "identity" | "all" | undefined
  /**
   * Whether `callsPerSecond` is of all nodes together that ask the same `Limiter`. Without a `Limiter` it is of this node.
   * Default `"node"`.
   */
  readonly across?: "node" | "nodes" | undefined
  /** Refuses whatever matches with `PermissionDenied`, and connections with `NotAuthorized`. Default false. */
  readonly deny?: boolean | undefined
}

/**
 * Who goes first when not all can go, and who is shed last.
 *
 * @since 0.1.0
 * @category models
 */
export type Priority = "low" | "normal" | "high" | "critical"

/**
 * A priority for whatever matches. See `Admission.priority`.
 *
 * @since 0.1.0
 * @category models
 */
export interface PriorityRule {
  readonly match: Match
  readonly level: Priority
}

/**
 * A limit on calls at a time that finds itself. See `Admission.gradient`.
 *
 * @since 0.1.0
 * @category models
 */
export interface Gradient {
  readonly _tag: "Gradient"
  readonly min: number
  readonly max: number
  readonly initial: number
  /** How much longer calls may take than they did over a long time before the limit falls. */
  readonly tolerance: number
  /** Of the old limit, how much of the new one counts. Between 0 and 1. */
  readonly smoothing: number
}

/**
 * What all listeners of an admission take on together.
 *
 * @since 0.1.0
 * @category models
 */
export interface NodeLimits {
  /** Calls at a time. Further ones wait. Default 20,000. */
  readonly callsInFlight?: number | Gradient | undefined
  /** Calls that wait at most. Default 1,000. 0 refuses at once. */
  readonly queue?: number | undefined
  /** How long a call waits at most. Default 1 second. */
  readonly maxWait?: Duration.DurationInput | undefined
  /** Bytes of requests of calls in flight, as they came. Default 256 MiB. */
  readonly memory?: number | undefined
  /** When calls are shed; false never. */
  readonly shed?: false | ShedOptions | undefined
}

/**
 * When a node has more to do than it can. At half of either measure it takes no handshakes, at the whole no calls of low
 * priority, at twice none of `normal`, at four times none of `high`; health and reflection are the last.
 *
 * @since 0.1.0
 * @category models
 */
export interface ShedOptions {
  /**
   * The delay of the event loop that has not been undercut for half a second. Default 250 milliseconds.
   */
  readonly eventLoopDelay?: Duration.DurationInput | undefined
  /** The part of V8's heap limit that is in use. Default 0.9: at 0.95 half of what is left is gone, and counts as twice. */
  readonly memory?: number | undefined
}

/**
 * All that an admission goes by. Each field has a default of its own, so that `{}` is the default admission.
 *
 * @since 0.1.0
 * @category models
 */
export interface AdmissionOptions {
  /** Where connections come from. */
  readonly sources?: SourceOptions | undefined
  /** What each identity may, where no rule says otherwise. See `Admission.defaultLimits`. */
  readonly identities?: Limits | undefined
  /** What all listeners of the admission take on together. */
  readonly listener?: NodeLimits | undefined
  /** The first that matches decides. */
  readonly rules?: ReadonlyArray<Rule> | undefined
  /** The first that matches decides. Default: health and reflection are `critical`, all else is `normal`. */
  readonly priorities?: ReadonlyArray<PriorityRule> | undefined
}
