import * as Effect from "effect/Effect"

const messagesPerTurn = 128

/**
 * To be run for each message of a stream: lets timers and sockets have their turn now and then. Fibers that wake each
 * other do not leave the microtask queue, so that the two ends of a call in one process could keep it from all else.
 */
export const make = (): Effect.Effect<void> => {
  let messages = 0
  return Effect.suspend(() => {
    messages = (messages + 1) % messagesPerTurn
    return messages === 0 ? nextTurn : Effect.void
  })
}

const nextTurn = Effect.async<void>((resume) => {
  const timer = setTimeout(() => resume(Effect.void), 0)
  return Effect.sync(() => clearTimeout(timer))
})
