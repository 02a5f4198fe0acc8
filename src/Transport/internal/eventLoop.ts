/** Yields to the event loop when one turn of it has become long. */
import * as Effect from "effect/Effect"

/** How long those who send messages keep the event loop in one turn, in milliseconds. */
const sliceMillis = 2

let began: number | undefined

const onNextTurn = () => {
  began = undefined
}

/** Whether this turn of the event loop has been longer than that since this was first asked in it. */
export const isLong = (millis: number): boolean => {
  if (began === undefined) {
    began = performance.now()
    setImmediate(onNextTurn)
    return false
  }
  return performance.now() - began > millis
}

/**
 * Whether this turn of the event loop is long already, so that who sends should go on in the next one. To be asked for each
 * message of a stream: a fiber that never has to wait does not leave the microtask queue, and no timer and no socket has
 * its turn.
 */
export const shouldYield = (): boolean => isLong(sliceMillis)

/** Goes on in the next turn of the event loop. */
export const yieldTurn = Effect.async<void>((resume) => {
  const immediate = setImmediate(() => resume(Effect.void))
  return Effect.sync(() => clearImmediate(immediate))
})

/** Goes on at once, or in the next turn of the event loop where this one is long. */
export const yieldWhenLong: Effect.Effect<void> = Effect.suspend(() => (shouldYield() ? yieldTurn : Effect.void))
