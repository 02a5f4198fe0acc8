/** What all listeners of an admission take on together: calls that run and that wait, their memory, and what is shed. */
import * as CallQueue from "./callQueue.js"
import * as Gradient from "./gradient.js"
import type { Policy } from "./policy.js"
import * as Pressure from "./pressure.js"

/** A call that waits. */
export interface Entry extends CallQueue.Entry {
  readonly onTurn: () => void
  readonly onRefused: () => void
}

export interface Node {
  readonly level: () => Pressure.Level
  /** How late the event loop is, and how much of the heap is in use. */
  readonly measured: (eventLoopDelay: number, heap: number) => void
  readonly isRoom: () => boolean
  /** A call begins to run, or has ended; after so many milliseconds, where that is of use. */
  readonly began: () => void
  readonly ended: (millis: number | undefined) => void
  /** Whether durations are of use to it: to tell the time costs. */
  readonly isAdaptive: () => boolean
  /** Lets a call wait, if need be in the place of another. Returns whether it may. */
  readonly wait: (entry: Entry) => boolean
  readonly leaveQueue: (entry: Entry) => boolean
  /** Takes bytes of requests, if there is room for them. */
  readonly hold: (bytes: number) => boolean
  readonly release: (bytes: number) => void
  readonly running: () => number
  readonly queued: () => number
  readonly limit: () => number
  /** The policy has changed. */
  readonly change: () => void
  /** When a call that is refused may try again, in milliseconds: a guess. */
  readonly retryDelay: () => number
}

/** Load that needs to be shed does not go away at once. */
const shedDelayMillis = 1000

export const make = (policy: () => Policy, now: () => number): Node => {
  const queue = CallQueue.make<Entry>(() => policy().queue)
  let level: Pressure.Level = 0
  let running = 0
  let held = 0
  let isDraining = false
  let adaptive: Gradient.Adaptive | undefined
  let adaptedBy: unknown

  const change = () => {
    const { callsInFlight } = policy()
    if (adaptedBy !== callsInFlight) {
      adaptedBy = callsInFlight
      adaptive = typeof callsInFlight === "number" ? undefined : Gradient.make(callsInFlight)
    }
    schedule()
  }

  const limit = () => {
    const { callsInFlight } = policy()
    return adaptive?.limit() ?? (typeof callsInFlight === "number" ? callsInFlight : callsInFlight.initial)
  }

  /** Starts those whose turn it is. Not on the stack of the call that ended: what it holds is in order first. */
  const drain = () => {
    isDraining = false
    while (running < limit()) {
      const entry = queue.next(now())
      if (entry === undefined) {
        return
      }
      // Counts its call itself, and may end it before it returns.
      entry.onTurn()
    }
  }

  const schedule = () => {
    if (!isDraining && queue.size() > 0 && running < limit()) {
      isDraining = true
      queueMicrotask(drain)
    }
  }

  const retryDelay = () =>
    Math.max(shedDelayMillis / 10, (policy().maxWaitMillis * queue.size()) / (policy().queue || 1))

  const node: Node = {
    level: () => level,
    measured: (eventLoopDelay, heap) => {
      level = Pressure.levelOf(policy().shed, eventLoopDelay, heap)
    },
    // Those that wait go first.
    isRoom: () => running < limit() && queue.size() === 0,
    began: () => {
      running += 1
    },
    ended: (millis) => {
      if (millis !== undefined) {
        adaptive?.sample(millis, running, now())
      }
      running -= 1
      schedule()
    },
    isAdaptive: () => adaptive !== undefined,
    wait: (entry) => {
      const worst = queue.add(entry)
      schedule()
      if (worst === entry) {
        return false
      }
      worst?.onRefused()
      return true
    },
    leaveQueue: queue.remove,
    hold: (bytes) => {
      if (held + bytes > policy().memory) {
        return false
      }
      held += bytes
      return true
    },
    release: (bytes) => {
      held -= bytes
    },
    running: () => running,
    queued: queue.size,
    limit,
    change,
    retryDelay
  }
  change()
  return node
}
