/** What each identity holds, and what is left of what it may spend: kept over connections, and over changes of the rules. */
import type { Limits, Rate } from "../../../Transport/AdmissionRules.js"
import * as Bucket from "./bucket.js"
import type { Owner } from "./callQueue.js"
import type { Rule } from "./policy.js"

/** So many at a time. */
export interface Counter {
  /** The rule that sets the limit. */
  rule: string
  limit: number
  count: number
}

/** What a rule gives to one identity, or to all that match. */
export interface Holder {
  readonly connections: Counter
  readonly flight: Counter
  readonly streams: Counter
  readonly buckets: { [K in RateName]: Bucket.Bucket | undefined }
  /** The rate that is shared with other nodes. */
  leasedRate?: Rate | undefined
}

export type RateName = "callsPerSecond" | "bytesInPerSecond" | "bytesOutPerSecond" | "costPerSecond"

const rateNames = ["callsPerSecond", "bytesInPerSecond", "bytesOutPerSecond", "costPerSecond"] as const

/** What is known of an identity. */
export interface Account extends Owner {
  readonly identity: string
  /** By the names of rules. */
  readonly holders: Map<string, Holder>
  connections: number
  streams: number
  refused: number
  /** Until when it may not connect, because of what it has spent. */
  barredUntil: number
}

const makeHolder = (rule: string): Holder => ({
  connections: { rule, limit: 0, count: 0 },
  flight: { rule, limit: 0, count: 0 },
  streams: { rule, limit: 0, count: 0 },
  buckets: {
    callsPerSecond: undefined,
    bytesInPerSecond: undefined,
    bytesOutPerSecond: undefined,
    costPerSecond: undefined
  }
})

/** The holder of a rule, with the limits that the rule has now. */
export const holderOf = (
  holders: Map<string, Holder>,
  { limits, name }: Rule,
  now: number,
  leaseOf?: (rate: Rate) => Bucket.Lease
): Holder => {
  const holder = holders.get(name) ?? makeHolder(name)
  holders.set(name, holder)
  const { buckets } = holder
  const before = buckets.callsPerSecond
  const rate = limits.callsPerSecond
  setLimits(holder, limits, now)
  if (leaseOf !== undefined && rate !== undefined && buckets.callsPerSecond !== undefined) {
    // One that is filled already stays, unless its rate is another.
    const isSame = before?.lease !== undefined && holder.leasedRate === rate
    buckets.callsPerSecond = isSame ? before : Bucket.leased(rate, leaseOf(rate), now)
    holder.leasedRate = rate
  }
  return holder
}

const setLimits = ({ buckets, connections, flight, streams }: Holder, limits: Limits, now: number) => {
  connections.limit = limits.connections ?? Number.POSITIVE_INFINITY
  flight.limit = limits.callsInFlight ?? Number.POSITIVE_INFINITY
  streams.limit = limits.streams ?? Number.POSITIVE_INFINITY
  for (const name of rateNames) {
    const limit = limits[name]
    const bucket = buckets[name]
    const fresh = Bucket.make(limit, now)
    if (bucket !== undefined && bucket.lease === undefined && fresh !== undefined && limit !== undefined) {
      Bucket.change(bucket, limit, now)
    } else {
      buckets[name] = fresh
    }
  }
}

export interface Accounts {
  readonly of: (identity: string) => Account
  /** The account has one connection less. */
  readonly left: (account: Account) => void
  readonly all: () => Iterable<Account>
}

/** Accounts without connections that are remembered for what they have spent. */
const maxIdle = 10_000

/** As many are looked at whenever an account is asked for. */
const sweptAtATime = 4

export const make = (now: () => number): Accounts => {
  const accounts = new Map<string, Account>()
  /** Those without connections, the longest first. */
  const idle = new Set<Account>()

  const isSpent = (account: Account) => {
    const at = now()
    if (account.running + account.waiting > 0 || account.barredUntil > at) {
      return true
    }
    for (const { buckets } of account.holders.values()) {
      if (!rateNames.every((name) => Bucket.isFull(buckets[name], at))) {
        return true
      }
    }
    return false
  }

  const forget = (account: Account) => {
    idle.delete(account)
    accounts.delete(account.identity)
  }

  const sweep = () => {
    let left = sweptAtATime
    for (const account of idle) {
      if (left-- === 0) {
        break
      }
      idle.delete(account)
      if (isSpent(account) && idle.size < maxIdle) {
        idle.add(account)
      } else {
        forget(account)
      }
    }
  }

  return {
    of: (identity) => {
      sweep()
      const found = accounts.get(identity)
      if (found !== undefined) {
        idle.delete(found)
        return found
      }
      const made: Account = {
        identity,
        holders: new Map(),
        connections: 0,
        running: 0,
        waiting: 0,
        streams: 0,
        refused: 0,
        barredUntil: 0
      }
      accounts.set(identity, made)
      return made
    },
    left: (account) => {
      if (account.connections === 0) {
        if (isSpent(account)) {
          idle.add(account)
        } else {
          forget(account)
        }
      }
    },
    all: () => accounts.values()
  }
}
