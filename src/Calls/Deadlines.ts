/** The deadlines of one connection's calls, kept with a single timer. */
import { constVoid } from "effect/Function"
import { count } from "../Transport/internal/boundary.js"
import * as Timing from "./Timing.js"

/**
 * What ends when its time is up, with one timer for all of it: nearly every call ends before its deadline, and to set and
 * clear a timer of Node for each costs more than all else that is done for its end.
 */
export interface Deadlines {
  /** `pass` is called after so many milliseconds, which may be infinite. */
  readonly add: (timeout: number, pass: () => void) => Deadline
  /** One that has passed, or was removed, may be removed again. */
  readonly remove: (deadline: Deadline | undefined) => void
  /** Ends the timer for good, when there will be no more calls. */
  readonly stop: () => void
  /** The time by their clock, in milliseconds. */
  readonly now: () => number
}

export interface Deadline {
  readonly due: number
  readonly pass: () => void
  /** Where it is kept, or `nowhere`. */
  at: number
}

const nowhere = -1

/** `onThrown` is called with what a deadline throws that passes. The others pass all the same. */
export const make = (
  onThrown: (cause: unknown) => void = () => count("timer"),
  { after, now }: Timing.Timing = Timing.node
): Deadlines => {
  const kept: Array<Deadline> = []
  let stopTimer = constVoid
  let timerDue = Number.POSITIVE_INFINITY

  const arm = (due: number) => {
    stopTimer()
    timerDue = due
    stopTimer = after(Math.max(1, due - now()), onTimer)
  }

  const remove = (deadline: Deadline | undefined) => {
    if (deadline === undefined || deadline.at === nowhere) {
      return
    }
    const last = kept.pop()
    if (last !== undefined && last !== deadline) {
      kept[deadline.at] = last
      last.at = deadline.at
    }
    deadline.at = nowhere
  }

  const onTimer = () => {
    timerDue = Number.POSITIVE_INFINITY
    const reached = now()
    for (const deadline of kept.filter(({ due }) => due <= reached)) {
      // One that passes may remove others.
      if (deadline.at !== nowhere) {
        remove(deadline)
        try {
          deadline.pass()
        } catch (cause) {
          onThrown(cause)
        }
      }
    }
    const next = kept.reduce((soonest, { due }) => Math.min(soonest, due), Number.POSITIVE_INFINITY)
    if (next < timerDue) {
      arm(next)
    }
  }

  return {
    add: (timeout, pass) => {
      const deadline = { due: now() + timeout, pass, at: nowhere }
      if (timeout !== Number.POSITIVE_INFINITY) {
        deadline.at = kept.push(deadline) - 1
        if (deadline.due < timerDue) {
          arm(deadline.due)
        }
      }
      return deadline
    },
    remove,
    stop: () => {
      stopTimer()
      timerDue = Number.NEGATIVE_INFINITY
    },
    now
  }
}
