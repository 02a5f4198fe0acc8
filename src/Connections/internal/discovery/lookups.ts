/** Look-ups by the system: few at a time, because each holds one of the process's few threads for as long as it hangs. */
import * as Effect from "effect/Effect"

/** Two of libuv's four threads: the others are left to files and ciphers. */
const maxLookups = 2

let running = 0
const waiting = new Set<() => void>()

const leave = () => {
  running -= 1
  for (const enter of waiting) {
    waiting.delete(enter)
    return enter()
  }
}

/**
 * Looks something up as soon as fewer than two look-ups run in this process. Interrupting it leaves a look-up that has
 * begun to itself: it counts until it ends.
 */
export const run = <A>(look: () => Promise<A>): Effect.Effect<A, unknown> =>
  Effect.async<A, unknown>((resume) => {
    const begin = () => {
      running += 1
      const done = (effect: Effect.Effect<A, unknown>) => {
        leave()
        resume(effect)
      }
      try {
        look().then(
          (value) => done(Effect.succeed(value)),
          (cause: unknown) => done(Effect.fail(cause))
        )
      } catch (cause) {
        done(Effect.fail(cause))
      }
    }
    if (running < maxLookups) {
      return begin()
    }
    waiting.add(begin)
    return Effect.sync(() => {
      waiting.delete(begin)
    })
  })
