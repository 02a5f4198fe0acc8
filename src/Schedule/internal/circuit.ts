/** What calls do at a circuit breaker: they ask to be let through, and tell how they ended. */
import * as Cause from "effect/Cause"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Option from "effect/Option"
import * as Stream from "effect/Stream"
import * as SubscriptionRef from "effect/SubscriptionRef"
import * as Time from "../../Transport/internal/time.js"
import type { Unavailable } from "../../Transport/TransportError.js"
import type * as Breaker from "./breaker.js"
import * as Health from "./health.js"

export interface Circuit {
  readonly breaker: Breaker.Breaker
  /** Where the state is published. */
  readonly state: SubscriptionRef.SubscriptionRef<Breaker.State>
  readonly name: string
  readonly isFailure: (error: unknown, took: Duration.Duration) => boolean
}

interface Where {
  readonly method?: string | undefined
  readonly peer?: string | undefined
}

/** A call that may be made. */
type Admitted = Extract<Breaker.Admission, { readonly _tag: "Admitted" }> & { readonly since: number }

/** Publishes a state that has changed: whichever it is by then, so that the last one published is the last. */
const publish = ({ breaker, name, state }: Circuit, before: Breaker.State): Effect.Effect<void> => {
  const now = breaker.state()
  if (now === before) {
    return Effect.void
  }
  const log =
    now._tag === "Open"
      ? Effect.logWarning("circuit breaker opened; calls fail until it lets one through to see")
      : Effect.logInfo(now._tag === "Closed" ? "circuit breaker closed" : "circuit breaker is half-open")
  return Effect.zipRight(
    SubscriptionRef.update(state, () => breaker.state()),
    name === "" ? log : Effect.annotateLogs(log, { breaker: name })
  )
}

const admit = (self: Circuit, where: Where): Effect.Effect<Admitted, Unavailable> =>
  Effect.clockWith((clock) => {
    const { breaker, name } = self
    const now = Time.now(clock)
    const before = breaker.state()
    const admission = breaker.admit(now)
    return Effect.zipRight(
      publish(self, before),
      admission._tag === "Admitted"
        ? Effect.succeed({ ...admission, since: now })
        : Effect.fail(Health.refusal(name, admission.waitMillis, where))
    )
  })

const outcomeOf = ({ isFailure }: Circuit, exit: Exit.Exit<unknown, unknown>, millis: number): Breaker.Outcome => {
  if (Exit.isSuccess(exit)) {
    return "succeeded"
  }
  const failure = Cause.failureOption(exit.cause)
  if (Option.isSome(failure)) {
    return isFailure(failure.value, Duration.millis(millis)) ? "failed" : "succeeded"
  }
  return Cause.isInterrupted(exit.cause) ? "unknown" : "failed"
}

const ended = (self: Circuit, admitted: Admitted, exit: Exit.Exit<unknown, unknown>): Effect.Effect<void> =>
  Effect.clockWith((clock) => {
    const { breaker } = self
    const now = Time.now(clock)
    const before = breaker.state()
    const millis = Math.max(0, now - admitted.since)
    let outcome: Breaker.Outcome = "unknown"
    try {
      outcome = outcomeOf(self, exit, millis)
    } finally {
      // Also where the predicate throws: a place among the probes would be lost.
      breaker.ended(now, admitted.generation, outcome, millis)
    }
    return publish(self, before)
  })

export const around = <A, E, R>(self: Circuit, effect: Effect.Effect<A, E, R>, where: Where) =>
  Effect.uninterruptibleMask((restore) =>
    Effect.flatMap(admit(self, where), (admitted) =>
      Effect.onExit(restore(effect), (exit) => ended(self, admitted, exit))
    )
  )

/** One that streams has told what there is to tell when its first message is there, and holds no place any longer. */
export const aroundStream = <A, E, R>(
  self: Circuit,
  stream: Stream.Stream<A, E, R>,
  where: Where
): Stream.Stream<A, E | Unavailable, R> =>
  Stream.unwrap(
    Effect.map(admit(self, where), (admitted) => {
      let isTold = false
      const tell = (exit: Exit.Exit<unknown, unknown>) =>
        Effect.suspend(() => {
          if (isTold) {
            return Effect.void
          }
          isTold = true
          return ended(self, admitted, exit)
        })
      return stream.pipe(
        Stream.mapChunksEffect((chunk) => (isTold ? Effect.succeed(chunk) : Effect.as(tell(Exit.void), chunk))),
        Stream.ensuringWith((exit: Exit.Exit<unknown, E>) => tell(exit))
      )
    })
  )
