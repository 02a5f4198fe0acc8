/** What a call of one connection counts on: made once for each rule that its calls are under, and shared by them. */
import type { Pass } from "../../../Transport/internal/admissionGate.js"
import type { StatusError } from "../../../Transport/TransportError.js"
import type { Counter, Holder, RateName } from "./accounts.js"
import * as Bucket from "./bucket.js"
import type { Rule } from "./policy.js"
import * as Refusal from "./refusal.js"

/** What the calls of a connection are charged to. */
export interface Plan {
  readonly rule: string
  readonly isDenying: boolean
  readonly flight: Counter
  readonly streams: Counter
  readonly rate: Bucket.Bucket | undefined
  readonly bytesIn: Bucket.Bucket | undefined
  readonly bytesOut: Bucket.Bucket | undefined
  readonly cost: Bucket.Bucket | undefined
  /** Which rule sets each rate, for who is refused by it. */
  readonly rateRules: { readonly [K in RateName]: string }
  /** What a call has that does not wait. */
  readonly pass: Pass
}

/** Why a call is refused, for metrics and logs. */
export interface Refused {
  readonly rule: string
  readonly why: string
  readonly error: StatusError
}

/** A rule sets what it names; the rest stays as it is without the rule. */
export const make = (rule: Rule, holder: Holder, below: Plan | undefined, passOf: (plan: Plan) => Pass): Plan => {
  const { limits } = rule
  const has = (name: keyof typeof limits) => below === undefined || limits[name] !== undefined
  const rate = (name: RateName, of: "rate" | "bytesIn" | "bytesOut" | "cost") =>
    has(name) ? holder.buckets[name] : below?.[of]
  const ruleOf = (name: RateName) => (has(name) ? rule.name : (below?.rateRules[name] ?? rule.name))
  const facts = {
    rule: rule.name,
    isDenying: rule.isDenying,
    flight: has("callsInFlight") ? holder.flight : (below?.flight ?? holder.flight),
    streams: has("streams") ? holder.streams : (below?.streams ?? holder.streams),
    rate: rate("callsPerSecond", "rate"),
    bytesIn: rate("bytesInPerSecond", "bytesIn"),
    bytesOut: rate("bytesOutPerSecond", "bytesOut"),
    cost: rate("costPerSecond", "cost"),
    rateRules: {
      callsPerSecond: ruleOf("callsPerSecond"),
      bytesInPerSecond: ruleOf("bytesInPerSecond"),
      bytesOutPerSecond: ruleOf("bytesOutPerSecond"),
      costPerSecond: ruleOf("costPerSecond")
    }
  }
  // The pass closes over the plan, and the plan holds the pass.
  const plan: Plan & { pass: Pass } = { ...facts, pass: none }
  plan.pass = passOf(plan)
  return plan
}

const none: Pass = {
  _tag: "Pass",
  waiting: undefined,
  received: () => none,
  receiveDelay: () => 0,
  sent: () => 0,
  ended: () => undefined
}

/** How long to wait where nobody knows when what others hold is given back. */
const heldDelayMillis = 250

const refused = (rule: string, why: string, error: StatusError): Refused => ({ rule, why, error })

const held = ({ limit, rule }: Counter, why: string, what: string): Refused =>
  refused(
    rule,
    why,
    limit === 0 ? Refusal.denied() : Refusal.exhausted(`more than the ${limit} ${what} allowed`, heldDelayMillis, false)
  )

const overRate = (rule: string, why: string, what: string, delay: number): Refused =>
  refused(rule, why, Refusal.exhausted(`more ${what} in a second than allowed`, delay, true))

/** Why a call may not begin, by what its caller holds and has spent. What it may is not counted yet, but for its rate. */
export const check = (plan: Plan, isStream: boolean, now: number): Refused | undefined => {
  const { bytesIn, bytesOut, cost, flight, rate, rateRules, rule, streams } = plan
  if (plan.isDenying) {
    return refused(rule, "Denied", Refusal.denied())
  }
  if (flight.count >= flight.limit) {
    return held(flight, "CallsInFlight", "calls at a time")
  }
  if (isStream && streams.count >= streams.limit) {
    return held(streams, "Streams", "streams at a time")
  }
  if (cost !== undefined && Bucket.delay(cost, 1, now) > 0) {
    return overRate(rateRules.costPerSecond, "Cost", "cost", Bucket.delay(cost, 1, now))
  }
  if (bytesIn !== undefined && Bucket.delay(bytesIn, 1, now) > 0) {
    return overRate(rateRules.bytesInPerSecond, "BytesIn", "bytes sent", Bucket.delay(bytesIn, 1, now))
  }
  if (bytesOut !== undefined && Bucket.delay(bytesOut, 1, now) > 0) {
    return overRate(rateRules.bytesOutPerSecond, "BytesOut", "bytes received", Bucket.delay(bytesOut, 1, now))
  }
  if (rate !== undefined && !Bucket.take(rate, now)) {
    return overRate(rateRules.callsPerSecond, "CallRate", "calls", Bucket.delay(rate, 1, now))
  }
  return undefined
}

/** The milliseconds until a bucket is out of debt. */
export const debt = (bucket: Bucket.Bucket | undefined, now: number): number =>
  bucket === undefined || bucket.level >= 0 ? 0 : Math.min(60_000, Bucket.delay(bucket, 0, now))
