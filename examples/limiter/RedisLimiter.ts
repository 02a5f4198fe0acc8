/** Rates that nodes share, kept in Redis by the rate limiter of `@effect/experimental`. */
import * as RateLimiter from "@effect/experimental/RateLimiter"
import * as RedisRateLimiter from "@effect/experimental/RateLimiter/Redis"
import { Duration, Effect, Layer } from "effect"
import { Limiter } from "effect-transport"

/** A store that takes all of what is asked for, or nothing. */
const LimiterLive = Layer.effect(
  Limiter.Limiter,
  Effect.map(RateLimiter.RateLimiter, ({ consume }) => ({
    take: ({ burst, count, key, rate }: Limiter.Request) =>
      consume({
        algorithm: "token-bucket",
        key,
        limit: burst,
        tokens: count,
        window: Duration.millis((burst / rate) * 1000)
      }).pipe(
        Effect.as({ granted: count, retryAfter: 0 }),
        Effect.catchIf(
          (error) => error.reason === "Exceeded",
          (error) =>
            Effect.succeed({
              granted: 0,
              retryAfter: error.reason === "Exceeded" ? Duration.toMillis(error.retryAfter) : 0
            })
        )
      )
  }))
)

/** For `Admission.layer(...).pipe(Layer.provide(RedisLimiter.layer({ host, port })))`. */
export const layer = (options: { readonly host: string; readonly port: number }) =>
  LimiterLive.pipe(Layer.provide(RateLimiter.layer), Layer.provide(RedisRateLimiter.layerStore(options)))
