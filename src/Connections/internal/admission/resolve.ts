/** Which rules a connection and its calls are under: looked up when it comes, and again when the rules change. */

import type { Pass } from "../../../Transport/internal/admissionGate.js"
import type * as Metadata from "../../../Transport/Metadata.js"
import type { Counter, Holder } from "./accounts.js"
import type { Sized } from "./charging.js"
import type * as Match from "./match.js"
import * as Plan from "./plan.js"
import type { Policy, Rule } from "./policy.js"
import { ranks } from "./pressure.js"

/** The rules that a connection and its calls are under. */
export interface Resolved {
  /** What calls are under that no rule of their own is for. */
  readonly plan: Plan.Plan
  readonly connections: Counter
  /** Rules for some calls, which go before. Undefined where there are none. */
  readonly calls: ReadonlyArray<{ readonly rule: Rule; readonly plan: Plan.Plan }> | undefined
  /** What was found for a path, where nothing but the path decides. */
  readonly byPath: Map<string, Plan.Plan> | undefined
  readonly sized: ReadonlyArray<Sized>
}

/** Those that come before the first that is for all calls of the connection, and that one. May throw, as functions do. */
const select = (rules: ReadonlyArray<Rule>, who: Match.Who) => {
  const candidates: Array<Rule> = []
  for (const rule of rules) {
    const { call, isFunction, size } = rule.match
    const matches = rule.match.connection(who)
    const isOfCalls = size !== undefined || (call !== undefined && !(isFunction && matches))
    if (isOfCalls && (matches || isFunction)) {
      candidates.push(rule)
    } else if (matches) {
      return { candidates, own: rule }
    }
  }
  return { candidates, own: undefined }
}

/** May throw, as functions do. */
export const resolve = (
  { base, rules }: Policy,
  who: Match.Who,
  holderOf: (rule: Rule) => Holder,
  passOf: (plan: Plan.Plan) => Pass
): Resolved => {
  const { candidates, own } = select(rules, who)
  const below = Plan.make(base, holderOf(base), undefined, passOf)
  const plan = own === undefined ? below : Plan.make(own, holderOf(own), below, passOf)
  const calls = candidates
    .filter(({ match }) => match.size === undefined)
    .map((rule) => ({ rule, plan: Plan.make(rule, holderOf(rule), plan, passOf) }))
  return {
    plan,
    connections: holderOf(own?.limits.connections === undefined ? base : own).connections,
    calls: calls.length === 0 ? undefined : calls,
    byPath: calls.every(({ rule }) => rule.match.isByPath) ? new Map() : undefined,
    // These count on top of others, and set nothing but what they name.
    sized: candidates
      .filter(({ match }) => match.size !== undefined)
      .map((rule) => ({ rule, plan: Plan.make(rule, holderOf(rule), undefined, passOf) }))
  }
}

/** What a call is under. May throw, as functions do. Paths are those of methods that are served. */
export const planOf = (
  { byPath, calls, plan }: Resolved,
  who: Match.Who,
  path: string,
  metadata: Metadata.Metadata
): Plan.Plan => {
  if (calls === undefined) {
    return plan
  }
  const before = byPath?.get(path)
  if (before !== undefined) {
    return before
  }
  const found = calls.find(({ rule }) => rule.match.call?.(who, path, metadata) === true)?.plan ?? plan
  byPath?.set(path, found)
  return found
}

/** The rank of a call's priority. May throw, as functions do. */
export const rankOf = ({ priorities }: Policy, who: Match.Who, path: string, metadata: Metadata.Metadata): number => {
  const found = priorities.find(
    ({ match }) => (match.isFunction || match.connection(who)) && (match.call?.(who, path, metadata) ?? true)
  )
  return found?.rank ?? ranks.normal
}
