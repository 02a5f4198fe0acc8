/**
 * Admission: what a node lets in, by source and by identity. The same on every wire, and asked before anything is spent.
 * docs/guide/admission.md has the order of decisions, the defaults and what each refused caller gets.
 *
 * @since 0.1.0
 */
import * as Context from "effect/Context"
import type { Gradient, PriorityRule, Rule } from "../Transport/AdmissionRules.js"
import type { AdmissionService } from "../Transport/AdmissionService.js"

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
