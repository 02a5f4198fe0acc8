/** What calls of one identity cost, hold and give back: the passes that they are let in with. */
import type { Pass, Waiting } from "../../../Transport/internal/admissionGate.js"
import type { StatusError } from "../../../Transport/TransportError.js"
import type { Account } from "./accounts.js"
import * as Bucket from "./bucket.js"
import type { Node } from "./node.js"
import * as Plan from "./plan.js"
import type { Rule } from "./policy.js"
import * as Refusal from "./refusal.js"

/** What charging asks of the admission. */
export interface Shared {
  readonly node: Node
  readonly now: () => number
  readonly refused: (rule: string, what: "connection" | "call", identity: string, why: string) => void
  /** The identity has spent all that it may owe. */
  readonly bar: (account: Account, until: number) => void
}

/** A rule that is for messages of some size. */
export interface Sized {
  readonly rule: Rule
  readonly plan: Plan.Plan
}

export interface Charging {
  readonly spend: (plan: Plan.Plan, cost: number, at: number) => void
  /** Counts a refusal, and returns what the caller gets. */
  readonly refuse: (plan: Plan.Plan, refused: Plan.Refused) => StatusError
  /** A call is let in, or waits. */
  readonly count: (plan: Plan.Plan, isStream: boolean, at: number) => void
  /** A pass; `ended` is what it does when the call is over, before what the plan holds is given back. */
  readonly makePass: (plan: Plan.Plan, ended: () => void, waiting?: Waiting) => Pass
}

export const costs = { call: 1, cancel: 20, denial: 50, refusal: 50 } as const

export const make = (
  { bar, node, now, refused }: Shared,
  account: Account,
  sized: () => ReadonlyArray<Sized>
): Charging => {
  const spend = ({ cost }: Plan.Plan, count: number, at: number) => {
    if (cost !== undefined && Bucket.spend(cost, count, at) && cost.burst > 0) {
      bar(account, at + Bucket.delay(cost, 0, at))
    }
  }

  const refuse = (plan: Plan.Plan, { error, rule, why }: Plan.Refused): StatusError => {
    account.refused += 1
    refused(rule, "call", account.identity, why)
    // What the node can't take is no fault of whoever asks.
    if (rule !== "listener") {
      spend(plan, costs.refusal, now())
    }
    return error
  }

  /** The pass of a call with a message that a rule is for: the rule counts on top. */
  const onTopOf = (pass: Pass, plan: Plan.Plan, { flight }: Plan.Plan): Pass => {
    flight.count += 1
    const own: Pass = {
      ...pass,
      received: (bytes, isHeld) => received(own, plan, bytes, isHeld, none),
      ended: (isStream, held) => {
        flight.count -= 1
        pass.ended(isStream, held)
      }
    }
    return own
  }

  const received = (
    pass: Pass,
    plan: Plan.Plan,
    bytes: number,
    isHeld: boolean,
    sized: ReadonlyArray<Sized>
  ): Pass | StatusError => {
    if (plan.bytesIn !== undefined) {
      Bucket.owe(plan.bytesIn, bytes, now())
    }
    const found = sized.length === 0 ? undefined : sized.find(({ rule }) => rule.match.size?.(bytes) === true)
    const over = found && Plan.check(found.plan, false, now())
    if (over !== undefined) {
      return refuse(plan, over)
    }
    if (isHeld && !node.hold(bytes)) {
      const error = Refusal.overloaded("the node holds too much of requests", node.retryDelay())
      return refuse(plan, { rule: "listener", why: "Memory", error })
    }
    if (found?.plan.bytesIn !== undefined) {
      Bucket.owe(found.plan.bytesIn, bytes, now())
    }
    return found === undefined ? pass : onTopOf(pass, plan, found.plan)
  }

  return {
    spend,
    refuse,
    count: (plan, isStream, at) => {
      plan.flight.count += 1
      if (isStream) {
        plan.streams.count += 1
        account.streams += 1
      }
      spend(plan, costs.call, at)
    },
    makePass: (plan, ended, waiting) => {
      const pass: Pass = {
        _tag: "Pass",
        waiting,
        received: (bytes, isHeld) => received(pass, plan, bytes, isHeld, sized()),
        receiveDelay: () => Plan.debt(plan.bytesIn, now()),
        sent: (bytes) => {
          if (plan.bytesOut === undefined) {
            return 0
          }
          Bucket.owe(plan.bytesOut, bytes, now())
          return Plan.debt(plan.bytesOut, now())
        },
        ended: (isStream, held) => {
          plan.flight.count -= 1
          if (isStream) {
            plan.streams.count -= 1
            account.streams -= 1
          }
          node.release(held)
          ended()
        }
      }
      return pass
    }
  }
}

const none: ReadonlyArray<Sized> = []
