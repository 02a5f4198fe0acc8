/** Token buckets: so many a second, and as many at once as the burst. They can go into debt, by as much as the burst again. */
import type { Rate } from "../../../Transport/AdmissionRules.js"

/** A bucket, changed in place. Times are milliseconds of one clock. */
export interface Bucket {
  perMilli: number
  burst: number
  level: number
  at: number
}

const rateOf = (rate: Rate): { readonly rate: number; readonly burst: number } =>
  typeof rate === "number" ? { rate, burst: rate } : rate

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
  if (bucket.level < 1) {
    return false
  }
  bucket.level -= 1
  return true
}

/** Spends what there may not be. Returns whether the debt has reached its end. */
export const spend = (bucket: Bucket, count: number, now: number): boolean => {
  refill(bucket, now)
  bucket.level = Math.max(-bucket.burst, bucket.level - count)
  return bucket.level <= -bucket.burst
}

/** The milliseconds until the level is reached, which may be infinite. */
export const delay = (bucket: Bucket, level: number, now: number): number => {
  refill(bucket, now)
  return bucket.level >= level
    ? 0
    : level > bucket.burst
      ? Number.POSITIVE_INFINITY
      : (level - bucket.level) / bucket.perMilli
}

export const isFull = (bucket: Bucket | undefined, now: number): boolean =>
  bucket === undefined || delay(bucket, bucket.burst, now) === 0
