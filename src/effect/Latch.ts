/** Latches under the name that Effect 4 has for them. */
import * as Effect from "effect/Effect"

export type Latch = Effect.Latch

export const makeUnsafe = (isOpen = false): Latch => Effect.unsafeMakeLatch(isOpen)
