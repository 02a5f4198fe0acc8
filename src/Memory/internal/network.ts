/** What listens in memory: the network of one or more layers. */
import * as Effect from "effect/Effect"
import type * as ServerCalls from "../../Calls/ServerCalls.js"
import type * as TransportOptions from "../../Connections/TransportOptions.js"
import type * as Authorizer from "../../Transport/Authorizer.js"

export type Settings = ReturnType<typeof TransportOptions.withDefaults>

export interface Listening {
  readonly authorize: Authorizer.Authorizer
  readonly settings: Settings
  readonly server: ServerCalls.Server
  /** The connections of its clients. */
  readonly links: Set<ListenerLink>
}

/** A connection as its listener knows it. */
export interface ListenerLink {
  /** Lets the calls in flight end, and begins no more. */
  readonly goAway: () => void
  /** Ends the calls that are left, whatever their handlers do. */
  readonly end: () => void
}

export interface Network {
  readonly find: (address: string) => Listening | undefined
  /** Whether the address was free. */
  readonly add: (address: string, listening: Listening) => boolean
  readonly remove: (address: string) => void
  /** Completes when a condition holds. */
  readonly until: (holds: () => boolean) => Effect.Effect<void>
  /** Has conditions looked at anew: of a client that is closed, for one. */
  readonly check: () => void
}

export const make = (): Network => {
  const listeners = new Map<string, Listening>()
  const waiting = new Set<() => void>()

  const check = () => {
    for (const again of [...waiting]) {
      again()
    }
  }

  return {
    find: (address) => listeners.get(address),
    add: (address, listening) => {
      if (listeners.has(address)) {
        return false
      }
      listeners.set(address, listening)
      check()
      return true
    },
    remove: (address) => {
      listeners.delete(address)
    },
    until: (holds) =>
      Effect.async<void>((resume) => {
        const again = () => {
          if (holds()) {
            waiting.delete(again)
            resume(Effect.void)
          }
        }
        waiting.add(again)
        again()
        return Effect.sync(() => {
          waiting.delete(again)
        })
      }),
    check
  }
}
