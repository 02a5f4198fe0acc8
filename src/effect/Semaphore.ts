/** Semaphores under the name that Effect 4 has for them. */
import * as Effect from "effect/Effect"

export type Semaphore = Effect.Semaphore

export const makeUnsafe = (permits: number): Semaphore => Effect.unsafeMakeSemaphore(permits)
