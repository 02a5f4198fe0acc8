/** One connection of an identity: what its calls are let in by. */
import { constVoid } from "effect/Function"
import type { Pass, Turned, Visit, Waiting } from "../../../Transport/internal/admissionGate.js"
import type * as Metadata from "../../../Transport/Metadata.js"
import type { StatusError } from "../../../Transport/TransportError.js"
import * as Accounts from "./accounts.js"
import * as Charging from "./charging.js"
import type { Leases } from "./leases.js"
import type * as Match from "./match.js"
import type { Entry } from "./node.js"
import * as Plan from "./plan.js"
import type { Policy, Rule } from "./policy.js"
import { ranks } from "./pressure.js"
import * as Refusal from "./refusal.js"
import * as Resolve from "./resolve.js"

/** What all connections of an admission share. */
export interface Shared extends Charging.Shared {
  readonly policy: () => Policy
  /** Of rules whose limits are for all that match. */
  readonly holders: Map<string, Accounts.Holder>
  /** Of rules that nodes share. */
  readonly leases: Leases | undefined
  /** A user's match has thrown. */
  readonly onThrown: (identity: string, cause: unknown) => void
}

/** A connection as its admission knows it. */
export interface Connection {
  readonly who: Match.Who
  readonly account: Accounts.Account
  readonly enter: Visit["enter"]
  readonly spend: Visit["spend"]
  /** Counts the connection, where it may be. */
  readonly open: () => Turned | undefined
  /** Looks up the rules again. Returns why the connection may not stay. */
  readonly refresh: () => Turned | undefined
  /** Counts it no more. */
  readonly close: () => void
  readonly rule: () => string
}

/** How long a call should wait that was shed, beyond what a queue makes it wait. */
const shedDelayMillis = 1000

export const make = (shared: Shared, who: Match.Who, account: Accounts.Account): Connection => {
  const { node, now, policy } = shared
  let resolved: Resolve.Resolved | undefined
  let isOpen = false
  const charging = Charging.make(shared, account, () => resolved?.sized ?? [])
  const { count, makePass, refuse } = charging

  const ended = () => {
    account.running -= 1
    node.ended(undefined)
  }

  /** The pass of a call whose duration is of use. */
  const timed = (plan: Plan.Plan) => {
    const since = now()
    return makePass(plan, () => {
      account.running -= 1
      node.ended(now() - since)
    })
  }

  const holderOf = (rule: Rule) => {
    const { leases } = shared
    const key = rule.isShared ? rule.name : `${rule.name} ${account.identity}`
    return Accounts.holderOf(
      rule.isShared ? shared.holders : account.holders,
      rule,
      now(),
      rule.isAcross && leases !== undefined ? (rate) => leases(key, rate) : undefined
    )
  }

  const look = (): Turned | undefined => {
    try {
      resolved = Resolve.resolve(policy(), who, holderOf, (plan) => makePass(plan, ended))
      return resolved.plan.isDenying || resolved.connections.limit === 0 ? "NotAuthorized" : undefined
    } catch (cause) {
      shared.onThrown(account.identity, cause)
      return "NotAuthorized"
    }
  }

  const rankOf = (path: string, metadata: Metadata.Metadata): number => {
    try {
      return Resolve.rankOf(policy(), who, path, metadata)
    } catch (cause) {
      shared.onThrown(account.identity, cause)
      return ranks.low
    }
  }

  const overloaded = (plan: Plan.Plan, why: string, message: string, delay: number) =>
    refuse(plan, { rule: "listener", why, error: Refusal.overloaded(message, delay) })

  const wait = (plan: Plan.Plan, rank: number, at: number, deadline: number, isStream: boolean): Pass | StatusError => {
    let since: number | undefined
    const full = "the node has too many calls that wait"
    const waiting: Waiting = {
      maxWait: policy().maxWaitMillis,
      overdue: () => overloaded(plan, "QueueTime", "the call has waited for too long", node.retryDelay()),
      onTurn: constVoid,
      onRefused: constVoid
    }
    const entry: Entry = {
      priority: rank,
      deadline,
      owner: account,
      onTurn: () => {
        since = now()
        account.running += 1
        node.began()
        waiting.onTurn()
      },
      onRefused: () => waiting.onRefused(overloaded(plan, "QueueFull", full, node.retryDelay()))
    }
    if (!node.wait(entry)) {
      return overloaded(plan, "QueueFull", full, node.retryDelay())
    }
    count(plan, isStream, at)
    return makePass(
      plan,
      () => {
        if (since === undefined) {
          node.leaveQueue(entry)
        } else {
          account.running -= 1
          node.ended(isStream ? undefined : now() - since)
        }
      },
      waiting
    )
  }

  const enterResolved = (
    resolved: Resolve.Resolved,
    path: string,
    metadata: Metadata.Metadata,
    at: number,
    deadline: number,
    isStream: boolean
  ): Pass | StatusError => {
    const level = node.level()
    if (level > 1 && rankOf(path, metadata) < level) {
      const delay = node.retryDelay() + shedDelayMillis
      return overloaded(resolved.plan, "Shed", "the node has more to do than it can", delay)
    }
    let plan: Plan.Plan
    try {
      plan = Resolve.planOf(resolved, who, path, metadata)
    } catch (cause) {
      shared.onThrown(account.identity, cause)
      return refuse(resolved.plan, { rule: resolved.plan.rule, why: "Thrown", error: Refusal.denied() })
    }
    const refused = Plan.check(plan, isStream, at)
    if (refused !== undefined) {
      return refuse(plan, refused)
    }
    if (!node.isRoom()) {
      return wait(plan, rankOf(path, metadata), at, deadline, isStream)
    }
    count(plan, isStream, at)
    account.running += 1
    node.began()
    return node.isAdaptive() && !isStream ? timed(plan) : plan.pass
  }

  return {
    who,
    account,
    enter: (path, metadata, at, deadline, isStream) =>
      resolved === undefined ? Refusal.denied() : enterResolved(resolved, path, metadata, at, deadline, isStream),
    spend: (what) => {
      if (resolved !== undefined) {
        charging.spend(resolved.plan, Charging.costs[what], now())
      }
    },
    open: () => {
      const turned = look()
      if (turned !== undefined || resolved === undefined) {
        return turned
      }
      if (resolved.connections.count >= resolved.connections.limit) {
        return "TooManyConnections"
      }
      isOpen = true
      account.connections += 1
      resolved.connections.count += 1
      return undefined
    },
    refresh: () => {
      const before = resolved?.connections
      const turned = look()
      if (isOpen && before !== undefined && resolved !== undefined) {
        before.count -= 1
        resolved.connections.count += 1
      }
      return turned
    },
    close: () => {
      if (isOpen && resolved !== undefined) {
        isOpen = false
        account.connections -= 1
        resolved.connections.count -= 1
      }
    },
    rule: () => resolved?.plan.rule ?? "none"
  }
}
