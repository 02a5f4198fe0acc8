/**
 * Limits that several nodes share: a port, so that the store behind it is the program's choice. In memory by default, where a
 * node is alone with its limits.
 *
 * @since 0.1.0
 */
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Bucket from "./internal/admission/bucket.js"

/**
 * What a node asks of the store: for some of what may be spent under a key.
 *
 * @since 0.1.0
 * @category models
 */
export interface Request {
  /** The rule, and where its limits are of each identity the identity too. */
  readonly key: string
  /** How many are wanted. A node asks for a tenth of a second's worth at a time, so that calls do not wait for the store. */
  readonly count: number
  /** How many there are in a second, of all nodes together, and at once. */
  readonly rate: number
  readonly burst: number
}

/**
 * What the store grants.
 *
 * @since 0.1.0
 * @category models
 */
export interface Grant {
  /** How many of those that were wanted, between 0 and `count`. */
  readonly granted: number
  /** Milliseconds after which to ask again, where it is fewer. */
  readonly retryAfter: number
}

/**
 * The store. Where `take` fails, or takes longer than a second, a node goes by the whole rate alone until it answers again.
 *
 * @since 0.1.0
 * @category models
 */
export interface LimiterService {
  readonly take: (request: Request) => Effect.Effect<Grant, unknown>
}

/**
 * Found in the context of `Admission.make`. Rules with `across: "nodes"` ask it.
 *
 * @since 0.1.0
 * @category tags
 */
export class Limiter extends Context.Tag("effect-transport/Limiter")<Limiter, LimiterService>() {}

/** Keys that are remembered at a time. */
const maxKeys = 10_000

/**
 * Token buckets in memory: for programs whose nodes share a process, and for tests. At most 10,000 keys, of which the one that
 * was added first is forgotten.
 *
 * @since 0.1.0
 * @category constructors
 */
export const makeMemory: Effect.Effect<LimiterService> = Effect.sync(() => {
  const buckets = new Map<string, Bucket.Bucket>()
  return {
    take: ({ burst, count, key, rate }) =>
      Effect.map(Clock.currentTimeMillis, (now) => {
        const bucket = buckets.get(key) ?? Bucket.make({ rate, burst }, now)
        if (bucket === undefined) {
          return { granted: count, retryAfter: 0 }
        }
        if (!buckets.has(key) && buckets.size >= maxKeys) {
          buckets.delete(buckets.keys().next().value ?? key)
        }
        buckets.set(key, bucket)
        Bucket.change(bucket, { rate, burst }, now)
        const granted = Math.max(0, Math.min(count, Math.floor(bucket.level)))
        bucket.level -= granted
        return { granted, retryAfter: granted === count ? 0 : Math.min(60_000, Bucket.delay(bucket, 1, now)) }
      })
  }
})

/**
 * The same as a layer.
 *
 * @since 0.1.0
 * @category layers
 */
export const layerMemory: Layer.Layer<Limiter> = Layer.effect(Limiter, makeMemory)
