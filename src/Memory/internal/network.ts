/** What listens in memory: the network of one or more layers. */
import * as Effect from "effect/Effect"
import type * as WireTransport from "../../Calls/WireTransport.js"
import * as LocalAddresses from "../../Connections/LocalAddresses.js"
import type * as TransportOptions from "../../Connections/TransportOptions.js"

export type Settings = ReturnType<typeof TransportOptions.withDefaults>

/** A listener, and the limits of the layer that it belongs to. */
export interface Listening extends WireTransport.Listening {
  readonly settings: Settings
}

export interface Network extends LocalAddresses.LocalAddresses<Listening> {
  /** Calls back when a listener has come or gone, until the function that it returns is called. */
  readonly onChange: (listener: () => void) => () => void
  /** Completes when a condition holds. */
  readonly until: (holds: () => boolean) => Effect.Effect<void>
}

export const make = (): Network => {
  const addresses = LocalAddresses.make<Listening>()
  const waiting = new Set<() => void>()

  const check = () => {
    for (const again of [...waiting]) {
      again()
    }
  }

  return {
    find: addresses.find,
    bind: (options, listening) =>
      Effect.zipRight(
        // What is added first runs last, when the address is free.
        Effect.addFinalizer(() => Effect.sync(check)),
        Effect.tap(addresses.bind(options, listening), () => Effect.sync(check))
      ),
    onChange: (listener) => {
      waiting.add(listener)
      return () => {
        waiting.delete(listener)
      }
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
      })
  }
}
