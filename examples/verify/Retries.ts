import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Schedule from "effect/Schedule"
import { type CallError, RetryPolicy } from "effect-transport"
import { stopwatch } from "./Echo.js"
import { attemptKey, failuresKey } from "./EchoNode.js"
import { type Failure, fromError } from "./Failure.js"
import { limits, type RetryInput, toMillis } from "./inputs.js"
import type { Attempt, RetriesExhausted, RetryAnswer } from "./model.js"
import { Nodes } from "./Nodes.js"

/** How long one attempt may take. */
const timeout = "2 seconds"

/** An echo that its node fails as often as it is asked to, under a retry policy, and what became of each attempt. */
export const run = ({ failures, initialBackoff, jitter = false, maxAttempts, transport = "grpc" }: RetryInput) =>
  Effect.gen(function* () {
    const { client } = yield* Effect.flatMap(Nodes, (nodes) => nodes.get(transport))
    const elapsed = yield* stopwatch
    const tried: Array<Attempt> = []
    const delays: Array<number> = []

    const attempt = Effect.suspend(() => {
      const number = tried.length + 1
      return Effect.flatMap(elapsed, (startMillis) => {
        const ended = (outcome: string) =>
          Effect.map(elapsed, (endMillis) => tried.push({ attempt: number, startMillis, endMillis, outcome }))
        return client
          .echo(
            { message: `attempt ${number}` },
            { timeout, metadata: { [attemptKey]: String(number), [failuresKey]: String(failures) } }
          )
          .pipe(Effect.tapBoth({ onSuccess: () => ended("Success"), onFailure: ({ _tag }) => ended(_tag) }))
      })
    })

    const policy = Schedule.tapOutput(
      RetryPolicy.exponential({
        initial: toMillis(initialBackoff) ?? limits.initialBackoffMillis,
        times: maxAttempts - 1,
        maxDelay: limits.maxBackoffMillis,
        jitter,
        on: ["Unavailable"]
      }),
      (delay) => Effect.sync(() => delays.push(Duration.toMillis(delay)))
    )

    const result = Effect.map(elapsed, (totalMillis) => ({
      transport,
      attempts: tried.map((each, i) => (i < tried.length - 1 ? { ...each, delayMillis: delays[i] } : each)),
      totalMillis
    }))

    const failed = (error: CallError): Effect.Effect<never, Failure | typeof RetriesExhausted.Type> =>
      error._tag !== "Unavailable"
        ? Effect.fail(fromError(transport)(error))
        : Effect.flatMap(result, (result) =>
            Effect.fail({
              _tag: "RetriesExhausted" as const,
              message: `all ${maxAttempts} attempts failed, the last one with ${error._tag}`,
              ...result,
              lastError: { _tag: error._tag, message: error.message }
            })
          )

    const { message } = yield* Effect.catchAll(Effect.retry(attempt, policy), failed)
    const answer: typeof RetryAnswer.Type = {
      message: tried.length === 1 ? "the first attempt succeeded" : `attempt ${tried.length} succeeded`,
      echo: message,
      ...(yield* result)
    }
    return answer
  })
