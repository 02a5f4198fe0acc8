/** How a schedule tells its budget of the calls that it is used for, of which it sees those alone that fail. */
import * as Option from "effect/Option"
import type * as Schedule from "effect/Schedule"
import * as Fiber from "../../effect/Fiber.js"
import * as Time from "../../Transport/internal/time.js"
import type { Account } from "./accounts.js"

/** The initial states of calls that the budget has been told of, each good for one. */
const told = new WeakSet<object>()

/**
 * The same schedule, whose initial state is made anew, and a call counted, each time that it is looked at: that is, once for
 * each `Effect.retry` that a fiber writes. One that is composed with another, or a retry that is run again, is looked at
 * once for all of its calls; those are counted as they fail.
 *
 * In Effect 4 `Schedule.fromStep` takes an effect that runs for each use.
 */
export const counting = <Out, In>(
  schedule: Schedule.Schedule<Out, In>,
  account: Account,
  initialState: () => object
): Schedule.Schedule<Out, In> =>
  Object.defineProperty(schedule, "initial", {
    get: () => {
      const state = initialState()
      const fiber = Option.getOrUndefined(Fiber.getCurrentFiber())
      if (fiber !== undefined) {
        account.began(Time.now(Fiber.clockOf(fiber)))
        told.add(state)
      }
      return state
    }
  })

/** A call has failed, for the first time where there is an initial state. */
export const failed = (account: Account, now: number, initial: object | undefined): void => {
  if (initial !== undefined && !told.delete(initial)) {
    account.began(now)
  }
  account.failed()
}
