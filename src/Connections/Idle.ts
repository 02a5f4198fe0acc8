/** Waits until nothing is under way any more: whoever changes that says so, and nobody looks again and again. */
import * as Effect from "effect/Effect"
import { constVoid } from "effect/Function"

export interface Idle {
  /** Completes when nothing is under way: at once where that is so already. */
  readonly reached: Effect.Effect<void>
  /** Called whenever something has ended. Looks only while somebody waits. */
  readonly check: () => void
  readonly isAwaited: () => boolean
}

/** `onWaiting` is called when somebody begins to wait. */
export const make = (isIdle: () => boolean, onWaiting: () => void = constVoid): Idle => {
  const waiting = new Set<() => void>()
  return {
    reached: Effect.async((resume) => {
      const wake = () => resume(Effect.void)
      if (isIdle()) {
        return wake()
      }
      waiting.add(wake)
      onWaiting()
      return Effect.sync(() => waiting.delete(wake))
    }),
    check: () => {
      if (waiting.size > 0 && isIdle()) {
        const woken = [...waiting]
        waiting.clear()
        for (const wake of woken) {
          wake()
        }
      }
    },
    isAwaited: () => waiting.size > 0
  }
}
