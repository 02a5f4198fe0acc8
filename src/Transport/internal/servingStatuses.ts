/** What a process says of its services: what was set, and what its listeners serve. */
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import * as SubscriptionRef from "effect/SubscriptionRef"

export type Status = "SERVING" | "NOT_SERVING"

/** How many listeners serve a service, and how many of them are closing. */
interface Listeners {
  readonly all: number
  readonly closing: number
}

const none: Listeners = { all: 0, closing: 0 }

interface State {
  readonly set: ReadonlyMap<string, Status>
  readonly listeners: ReadonlyMap<string, Listeners>
}

/** A service whose listeners all close is no longer served, whatever was set. */
const statusOf = ({ listeners, set }: State, service: string): Status | undefined => {
  const { all, closing } = listeners.get(service) ?? none
  return all > 0 && all === closing ? "NOT_SERVING" : (set.get(service) ?? (all > 0 ? "SERVING" : undefined))
}

const allOf = (state: State): ReadonlyMap<string, Status> =>
  new Map(
    [...new Set([...state.set.keys(), ...state.listeners.keys()])].flatMap((service) => {
      const status = statusOf(state, service)
      return status === undefined ? [] : [[service, status] as const]
    })
  )

const countListeners =
  (services: ReadonlyArray<string>, all: number, closing: number) =>
  (state: State): State => {
    const listeners = new Map(state.listeners)
    for (const service of services) {
      const before = listeners.get(service) ?? none
      const after = { all: before.all + all, closing: before.closing + closing }
      if (after.all === 0) {
        listeners.delete(service)
      } else {
        listeners.set(service, after)
      }
    }
    return { ...state, listeners }
  }

export interface ServingStatuses {
  readonly set: (service: string, status: Status) => Effect.Effect<void>
  readonly clear: (service: string) => Effect.Effect<void>
  readonly changes: (service: string) => Stream.Stream<Status | undefined>
  readonly all: Effect.Effect<ReadonlyMap<string, Status>>
  readonly register: (services: ReadonlyArray<string>) => Effect.Effect<Registration, never, Scope.Scope>
}

/** The services of one listener. */
export interface Registration {
  /** The listener has begun to listen. */
  readonly opened: Effect.Effect<void>
  /** It is about to close. */
  readonly closing: Effect.Effect<void>
}

export const make: Effect.Effect<ServingStatuses> = Effect.map(
  SubscriptionRef.make<State>({ set: new Map([["", "SERVING"]]), listeners: new Map() }),
  (ref) => ({
    set: (service, status) =>
      SubscriptionRef.update(ref, (state) => ({ ...state, set: new Map(state.set).set(service, status) })),
    clear: (service) =>
      SubscriptionRef.update(ref, (state) => ({
        ...state,
        set: new Map([...state.set].filter(([each]) => each !== service))
      })),
    changes: (service) =>
      ref.changes.pipe(
        Stream.map((state) => statusOf(state, service)),
        Stream.changes,
        // A watcher that does not read misses what was between, instead of having it kept.
        Stream.buffer({ capacity: 1, strategy: "sliding" }),
        Stream.changes
      ),
    all: Effect.map(SubscriptionRef.get(ref), allOf),
    register: (services) => {
      let counted = none
      const move = (to: Listeners) =>
        Effect.suspend(() => {
          const [all, closing] = [to.all - counted.all, to.closing - counted.closing]
          counted = to
          return all === 0 && closing === 0
            ? Effect.void
            : SubscriptionRef.update(ref, countListeners(services, all, closing))
        })
      return Effect.acquireRelease(
        Effect.succeed({ opened: move({ all: 1, closing: 0 }), closing: move({ all: 1, closing: 1 }) }),
        () => move(none)
      )
    }
  })
)
