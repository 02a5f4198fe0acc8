/** The state of a connection that is made again whenever it is lost, and who waits for it to change. */
import type * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import { constVoid } from "effect/Function"
import * as Metric from "effect/Metric"
import * as Count from "../../Transport/internal/gauge.js"
import * as TransportMetrics from "../../Transport/TransportMetrics.js"

/** What a new call finds. */
export type State<L, E> =
  /** The first attempt is under way, or the one that follows a loss at once. */
  | { readonly _tag: "Connecting" }
  | { readonly _tag: "Connected"; readonly live: L }
  /** The latest attempt has failed, or too many connections were lost at once; others follow after a pause. */
  | { readonly _tag: "Failed"; readonly cause: Cause.Cause<E> }
  /** Nobody connects any more. */
  | { readonly _tag: "Closed" }

/** Holds the state of one connection. */
export interface ConnectionState<L, E> {
  readonly current: () => State<L, E>
  /** Changes the state, and then wakes who waits for that. A closed connection stays closed. */
  readonly set: (next: State<L, E>) => void
  /** Calls back after each change, until the function that it returns is called. Nobody waits by that. */
  readonly onChange: (listener: () => void) => () => void
  /** Completes with the next change. */
  readonly changed: Effect.Effect<void>
  /** Says that a call waits. */
  readonly hurry: () => void
  /** Completes when a call waits, at once if one does already. For one fiber at a time. */
  readonly wanted: Effect.Effect<void>
}

const gauge = (state: string) => Metric.tagged(TransportMetrics.clientConnections, "state", state)

const gauges = { Connecting: gauge("connecting"), Connected: gauge("connected"), Failed: gauge("failed") }

const count = ({ _tag }: State<unknown, unknown>, n: number) => {
  if (_tag !== "Closed") {
    Count.add(gauges[_tag], n)
  }
}

/** Begins with the first attempt. */
export const make = <L, E>(): ConnectionState<L, E> => {
  const waiting = new Set<() => void>()
  const listeners = new Set<() => void>()
  let current: State<L, E> = { _tag: "Connecting" }
  let onHurry = constVoid
  count(current, 1)
  return {
    current: () => current,
    set: (next) => {
      if (current._tag === "Closed") {
        return
      }
      count(current, -1)
      count(next, 1)
      current = next
      const woken = [...waiting]
      waiting.clear()
      for (const wake of woken) {
        wake()
      }
      for (const listener of [...listeners]) {
        listener()
      }
    },
    onChange: (listener) => {
      listeners.add(listener)
      return () => {
        listeners.delete(listener)
      }
    },
    changed: Effect.async<void>((resume) => {
      const wake = () => resume(Effect.void)
      waiting.add(wake)
      return Effect.sync(() => waiting.delete(wake))
    }),
    hurry: () => onHurry(),
    wanted: Effect.async<void>((resume) => {
      if (waiting.size > 0) {
        resume(Effect.void)
        return
      }
      onHurry = () => resume(Effect.void)
      return Effect.sync(() => {
        onHurry = constVoid
      })
    })
  }
}
