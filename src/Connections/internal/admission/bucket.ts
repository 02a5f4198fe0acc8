/** Token buckets: so many a second, and as many at once as the burst. They can go into debt. */
import type { Rate } from "../../../Transport/AdmissionRules.js"

/** A bucket, changed in place. Times are milliseconds of one clock. */
export interface Bucket {
  perMilli: number
  burst: number
  level: number
  at: number
  /** What fills it in place of time, where several nodes share it. */
  lease?: Lease | undefined
}

/** How a bucket is filled from elsewhere. */
export interface Lease {
  /** How many are asked for at a time. As many may be spent ahead while they are under way. */
  readonly count: number
  readonly ask: (bucket: Bucket) => void
  isPending: boolean
  /** When to ask again. */
  retryAt: number
}

const rateOf = (rate: Rate): { readonly rate: number; readonly burst: number } =>
  typeof rate === "number" ? { rate, burst: rate } : rate

/** A bucket that another fills, and that is empty until it has. */
export const leased = (limit: Rate, lease: Lease, now: number): Bucket => ({
  perMilli: 0,
  burst: rateOf(limit).burst,
  level: 0,
  at: now,
  lease
})

/** A full bucket; none where nothing is limited. */
export const make = (limit: Rate | undefined, now: number): Bucket | undefined => {
  if (limit === undefined || rateOf(limit).rate === Number.POSITIVE_INFINITY) {
    return undefined
  }
  const { burst, rate } = rateOf(limit)
  return { perMilli: rate / 1000, burst, level: burst, at: now }
}

/** Another limit for what was spent so far. */
export const change = (bucket: Bucket, limit: Rate, now: number): void => {
  refill(bucket, now)
  const { burst, rate } = rateOf(limit)
  bucket.perMilli = rate / 1000
  bucket.burst = burst
  bucket.level = Math.min(bucket.level, burst)
}

/** A clock that goes back fills nothing. */
export const refill = (bucket: Bucket, now: number): void => {
  if (now > bucket.at) {
    bucket.level = Math.min(bucket.burst, bucket.level + (now - bucket.at) * bucket.perMilli)
  }
  bucket.at = now
}

/** Takes one, if there is one. */
export const take = (bucket: Bucket, now: number): boolean => {
  refill(bucket, now)
  const { lease } = bucket
  if (lease !== undefined && bucket.level < lease.count && !lease.isPending && now >= lease.retryAt) {
    lease.ask(bucket)
  }
  // What is under way may be spent ahead: a debt that the next of it pays.
  const least = lease?.isPending === true && lease.retryAt === 0 ? 1 - lease.count : 1
  if (bucket.level < least) {
    return false
  }
  bucket.level -= 1
  return true
}

/** Spends what has come or gone already, of which there may be less: the debt is what a minute pays, or the burst if that is more. */
export const owe = (bucket: Bucket, count: number, now: number): void => {
  refill(bucket, now)
  bucket.level = Math.max(-Math.max(bucket.burst, bucket.perMilli * 60_000), bucket.level - count)
}

/** Spends what there may not be, down to a debt of the burst. Returns whether the debt has reached its end. */
export const spend = (bucket: Bucket, count: number, now: number): boolean => {
  refill(bucket, now)
  bucket.level = Math.max(-bucket.burst, bucket.level - count)
  return bucket.level <= -bucket.burst
}

/** The milliseconds until the level is reached, which may be infinite. */
export const delay = (bucket: Bucket, level: number, now: number): number => {
  refill(bucket, now)
  if (bucket.lease !== undefined && bucket.level < level) {
    return Math.max(50, bucket.lease.retryAt - now)
  }
  return bucket.level >= level
    ? 0
    : level > bucket.burst
      ? Number.POSITIVE_INFINITY
      : (level - bucket.level) / bucket.perMilli
}

export const isFull = (bucket: Bucket | undefined, now: number): boolean =>
  bucket === undefined || bucket.lease !== undefined || delay(bucket, bucket.burst, now) === 0
