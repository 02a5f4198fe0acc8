/** How much more a node has to do than it can, by the delay of its event loop and its heap. */
import * as V8 from "node:v8"
import * as Duration from "effect/Duration"
import type * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import type { Priority, ShedOptions } from "../../../Transport/AdmissionRules.js"
import * as EventLoopDelay from "../../../Transport/internal/eventLoopDelay.js"

/** What is shed: 0 nothing, 1 handshakes, 2 calls of `low` priority too, 3 `normal`, 4 `high`. */
export type Level = 0 | 1 | 2 | 3 | 4

/** Calls `f`, until the scope closes, with the milliseconds by which the event loop is late, and the part of the heap in use. */
export type Measures = (f: (eventLoopDelay: number, heap: number) => void) => Effect.Effect<void, never, Scope.Scope>

/** Of as many measurements of the event loop, one looks at the heap. */
const heapEvery = 5

export const live: Measures = (f) => {
  let part = 0
  let n = 0
  return EventLoopDelay.watch((standing) => {
    if (n++ % heapEvery === 0) {
      const { heap_size_limit, used_heap_size } = V8.getHeapStatistics()
      part = used_heap_size / heap_size_limit
    }
    f(standing, part)
  })
}

export const ranks: { readonly [priority in Priority]: number } = { low: 1, normal: 2, high: 3, critical: 4 }

/** Half is at half of what is left below the limit; each quarter of what is left above it counts twice as much. */
const heapPressure = (used: number, limit: number): number =>
  used >= limit ? 2 ** ((4 * (used - limit)) / (1 - limit)) : used >= limit - (1 - limit) / 2 ? 0.5 : 0

export const levelOf = (options: false | ShedOptions | undefined, eventLoopDelay: number, heap: number): Level => {
  if (options === false) {
    return 0
  }
  const wanted = Duration.toMillis(options?.eventLoopDelay ?? 250)
  const pressure = Math.max(eventLoopDelay / wanted, heapPressure(heap, options?.memory ?? 0.9))
  return pressure < 0.5 ? 0 : pressure < 1 ? 1 : pressure < 2 ? 2 : pressure < 4 ? 3 : 4
}
