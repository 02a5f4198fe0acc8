/** Rates that nodes share: a bucket that is filled by what the store grants, asked for ahead so that no call waits for it. */
import * as Effect from "effect/Effect"
import * as LogLevel from "effect/LogLevel"
import type { Rate } from "../../../Transport/AdmissionRules.js"
import type { Boundary } from "../../../Transport/internal/boundary.js"
import type { LimiterService } from "../../Limiter.js"
import type * as Bucket from "./bucket.js"

/** Makes what fills a bucket from the store, for a key. */
export type Leases = (key: string, rate: Rate) => Bucket.Lease

/** A store that has failed is asked again after so long; and one that is silent for as long has failed. */
const retryMillis = 1000

export const make =
  (
    limiter: LimiterService,
    run: (effect: Effect.Effect<void>) => void,
    boundary: Boundary,
    now: () => number
  ): Leases =>
  (key, limit) => {
    const { burst, rate } = typeof limit === "number" ? { rate: limit, burst: limit } : limit
    const count = Math.max(1, Math.min(burst, Math.ceil(rate / 10)))
    const lease: Bucket.Lease = {
      count,
      isPending: false,
      retryAt: 0,
      ask: (bucket) => {
        lease.isPending = true
        const failed = (cause: unknown) => {
          bucket.perMilli = rate / 1000
          lease.retryAt = now() + retryMillis
          boundary.log(
            LogLevel.Warning,
            "limiter",
            `the limiter failed; its rates are kept by this node alone: ${cause}`
          )
        }
        const asked = Effect.suspend(() => limiter.take({ key, count, rate, burst })).pipe(
          Effect.timeout(retryMillis),
          Effect.match({
            onFailure: failed,
            onSuccess: ({ granted, retryAfter }) => {
              bucket.perMilli = 0
              bucket.level = Math.min(burst, bucket.level + Math.max(0, Math.min(count, granted || 0)))
              lease.retryAt = granted >= count ? 0 : now() + Math.max(1, Math.min(60_000, retryAfter || 0))
            }
          }),
          Effect.catchAllCause((cause) => Effect.sync(() => failed(cause))),
          Effect.ensuring(
            Effect.sync(() => {
              lease.isPending = false
            })
          )
        )
        run(asked)
      }
    }
    return lease
  }
