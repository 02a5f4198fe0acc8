/** What is thrown behind a door ends one call, or one connection, on every wire, and nothing else. */
import { describe } from "@effect/vitest"
import { callers } from "./boundary/callers.js"
import { doors } from "./boundary/doors.js"
import { type BoundarySuiteOptions, make } from "./boundary/harness.js"
import { listeners } from "./boundary/listeners.js"

export { type BoundarySuiteOptions, type Door, throwing } from "./boundary/harness.js"

/** The tests of what a transport catches. */
export const boundarySuite = <E>(name: string, options: BoundarySuiteOptions<E>): void => {
  const suite = make(options)
  describe(`${name}: what is thrown`, () => {
    callers(suite)
    listeners(suite)
    doors(suite)
  })
}
