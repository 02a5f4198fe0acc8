/**
 * Admission: what a node lets in, by source and by identity. The same on every wire, and asked before anything is spent.
 * docs/guide/admission.md has the order of decisions, the defaults and what each refused caller gets.
 *
 * @since 0.1.0
 */
import * as Config from "effect/Config"
import type * as ConfigError from "effect/ConfigError"
import * as Context from "effect/Context"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import type * as Scope from "effect/Scope"
import type {
  AdmissionError,
  AdmissionOptions,
  Gradient,
  Limits,
  Match,
  PriorityRule,
  Rule
} from "../Transport/AdmissionRules.js"
import type { AdmissionService, Snapshot } from "../Transport/AdmissionService.js"
import type { MissingPackage } from "../Transport/TransportError.js"
import * as File from "./internal/admission/file.js"
import * as Policy from "./internal/admission/policy.js"
import * as Service from "./internal/admission/service.js"

export {
  /**
   * @since 0.1.0
   * @category errors
   */
  AdmissionError,
  /**
   * @since 0.1.0
   * @category models
   */
  type AdmissionOptions,
  /**
   * @since 0.1.0
   * @category models
   */
  type Gradient,
  /**
   * @since 0.1.0
   * @category models
   */
  type Limits,
  /**
   * @since 0.1.0
   * @category models
   */
  type Match,
  /**
   * @since 0.1.0
   * @category models
   */
  type MatchFields,
  /**
   * @since 0.1.0
   * @category models
   */
  type NodeLimits,
  /**
   * @since 0.1.0
   * @category models
   */
  type Pattern,
  /**
   * @since 0.1.0
   * @category models
   */
  type Priority,
  /**
   * @since 0.1.0
   * @category models
   */
  type PriorityRule,
  /**
   * @since 0.1.0
   * @category models
   */
  type Rate,
  /**
   * @since 0.1.0
   * @category models
   */
  type Rule,
  /**
   * @since 0.1.0
   * @category models
   */
  type ShedOptions,
  /**
   * @since 0.1.0
   * @category models
   */
  type Subject
} from "../Transport/AdmissionRules.js"
export type {
  /**
   * @since 0.1.0
   * @category models
   */
  AdmissionService,
  /**
   * @since 0.1.0
   * @category models
   */
  IdentitySnapshot,
  /**
   * @since 0.1.0
   * @category models
   */
  Snapshot
} from "../Transport/AdmissionService.js"
export type {
  /**
   * @since 0.1.0
   * @category models
   */
  SourceOptions
} from "../Transport/AdmissionSources.js"

/**
 * The admission of a program, for listeners that share one: `Transport.serve(handlers, { admission: Admission.Admission })`.
 *
 * @since 0.1.0
 * @category tags
 */
export class Admission extends Context.Tag("effect-transport/Admission")<Admission, AdmissionService>() {}

/**
 * What each identity may where nothing else is said: 1,024 connections, 1,024 calls and 1,024 streams at a time, a cost of
 * 200,000 a second, and calls and bytes a second without a limit, because what they cost only the program knows.
 *
 * @since 0.1.0
 * @category constructors
 */
export const defaultLimits: Required<Limits> = Policy.defaultLimits

/**
 * An admission, until the scope closes. Fails where the options are malformed. Without options it is what each listener has
 * that is given none: the limits of `defaultLimits`, 20,000 calls at a time, 1,000 that wait, and load shedding.
 *
 * @example
 * ```ts
 * import { Effect } from "effect"
 * import { Admission, Transport } from "effect-transport"
 *
 * const program = Effect.gen(function* () {
 *   const admission = yield* Admission.make({
 *     identities: { callsInFlight: 100, callsPerSecond: { rate: 500, burst: 1000 } },
 *     rules: [
 *       Admission.rule({ name: "gone", match: { spiffeId: "spiffe://mesh/old/*" }, deny: true }),
 *       Admission.rule({ name: "bulk", match: { method: "/dag.v1.DagService/Export" }, limits: { callsInFlight: 2 } })
 *     ]
 *   })
 *   yield* Transport.listen([], { admission })
 *   yield* Effect.log(yield* admission.inspect)
 * })
 * ```
 *
 * @since 0.1.0
 * @category constructors
 */
export const make: (options?: AdmissionOptions) => Effect.Effect<AdmissionService, AdmissionError, Scope.Scope> =
  Service.make

/**
 * The same as a layer.
 *
 * @since 0.1.0
 * @category layers
 */
export const layer = (options?: AdmissionOptions): Layer.Layer<Admission, AdmissionError> =>
  Layer.scoped(Admission, make(options))

/**
 * How an admission follows its file.
 *
 * @since 0.1.0
 * @category models
 */
export interface FileOptions {
  /** Whether the file is read again when it changes. Default true. */
  readonly watch?: boolean | undefined
  /** How often it is looked at where the system tells of no change, as on network file systems. Default 1 minute. */
  readonly pollInterval?: Duration.DurationInput | undefined
  /** How long it must have stayed unchanged before it is read. Default 100 milliseconds. */
  readonly settle?: Duration.DurationInput | undefined
}

/**
 * An admission whose options are in a file, JSON or, by its name, YAML (`.yaml`, `.yml`; needs the package `yaml`). It has the
 * fields of `AdmissionOptions`, of which matches are no functions, durations are milliseconds or texts (`"2 seconds"`), and a
 * gradient is `{ "gradient": { "min": 20 } }`. A field that is not known is an error.
 *
 * It is read again whenever it changes, however it is replaced. What is wrong in it is told with its line: at first it fails
 * with that, and later it is logged, and what is in force stays. At most 4 MiB.
 *
 * @since 0.1.0
 * @category constructors
 */
export const makeFile = (
  path: string,
  options?: FileOptions
): Effect.Effect<AdmissionService, AdmissionError | MissingPackage, Scope.Scope> => File.make(path, gradient, options)

/**
 * The same as a layer.
 *
 * @since 0.1.0
 * @category layers
 */
export const layerFile = (
  path: string,
  options?: FileOptions
): Layer.Layer<Admission, AdmissionError | MissingPackage> => Layer.scoped(Admission, makeFile(path, options))

/**
 * An admission with options from the configuration: `Admission.layerConfig({ identities: { callsInFlight:
 * Config.integer("MAX_CALLS") }, sources: { deny: Config.array(Config.string(), "DENIED") }, rules: Config.succeed(rules) })`.
 *
 * @since 0.1.0
 * @category layers
 */
export const layerConfig = (
  config: Config.Config.Wrap<AdmissionOptions>
): Layer.Layer<Admission, AdmissionError | ConfigError.ConfigError> =>
  Layer.unwrapEffect(Effect.map(Config.unwrap(config), (options) => layer(options)))

/**
 * Who holds what now: see `AdmissionService.inspect`.
 *
 * @since 0.1.0
 * @category getters
 */
export const inspect: Effect.Effect<Snapshot, never, Admission> = Effect.flatMap(Admission, ({ inspect }) => inspect)

/**
 * Ends the connections of whoever matches now, and the calls on them: see `AdmissionService.drop`.
 *
 * @since 0.1.0
 * @category control
 */
export const drop = (match: Match): Effect.Effect<number, AdmissionError, Admission> =>
  Effect.flatMap(Admission, ({ drop }) => drop(match))

/**
 * Puts other options in place of those in force: see `AdmissionService.update`.
 *
 * @since 0.1.0
 * @category control
 */
export const update = (options: AdmissionOptions): Effect.Effect<void, AdmissionError, Admission> =>
  Effect.flatMap(Admission, ({ update }) => update(options))

/**
 * A rule: the first that matches a connection decides what its identity may hold, and the first that matches a call what the
 * calls of that kind may. What a rule does not limit stays as it is without the rule. A match that throws, or that can't be
 * read, refuses: rules fail closed.
 *
 * @since 0.1.0
 * @category constructors
 */
export const rule = (rule: Rule): Rule => rule

/**
 * Who goes first when not all can go. A priority from metadata is the caller's own word: combine it with an identity.
 *
 * @since 0.1.0
 * @category constructors
 */
export const priority = (rule: PriorityRule): PriorityRule => rule

/**
 * A limit on calls at a time that finds itself: it grows while calls take as long as they always did, and shrinks by how much
 * longer they take. For `listener.callsInFlight`.
 *
 * Source: Gradient2Limit of Netflix' concurrency-limits; Envoy's adaptive concurrency filter is of the same kind.
 *
 * @since 0.1.0
 * @category constructors
 */
export const gradient = (options: Partial<Omit<Gradient, "_tag">> = {}): Gradient => ({
  _tag: "Gradient",
  min: options.min ?? 20,
  max: options.max ?? 1000,
  initial: options.initial ?? 100,
  tolerance: options.tolerance ?? 1.5,
  smoothing: options.smoothing ?? 0.2
})
