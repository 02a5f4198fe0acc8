/** What one listener serves, for handlers that tell of it, and how they tell their callers first that it closes. */
import type { DescService } from "@bufbuild/protobuf"
import * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import type * as Scope from "effect/Scope"
import * as Deferred from "../../effect/Deferred.js"
import type { IncomingCall } from "../IncomingCall.js"
import { yieldTurn } from "./eventLoop.js"

/** A service of a listener. */
export interface ServedService {
  /** The full name, as `dag.v1.DagService`. */
  readonly name: string
  /** Its protobuf descriptor; undefined for a contract of another language. */
  readonly descriptor: DescService | undefined
  /** Whether the peer of a call may call at least one of its methods. */
  readonly isOpenTo: (call: IncomingCall) => boolean
}

export interface ServedServices {
  readonly services: ReadonlyArray<ServedService>
  /** Completes when the listener begins to close, before its peers are told to go away. */
  readonly closing: Effect.Effect<void>
  readonly isClosing: () => boolean
  /** Has the listener wait, for a moment, until the effect that this returns has run, or the scope has closed. */
  readonly telling: Effect.Effect<Effect.Effect<void>, never, Scope.Scope>
  /** Begins to close, and waits until all have told their callers. */
  readonly close: Effect.Effect<void>
}

/** In the context of every handler, beside what it requires. */
export class Served extends Context.Tag("effect-transport/Transport/Served")<Served, ServedServices>() {}

/** How long callers that do not read hold up a listener that wants to tell them that it closes. */
const tellPeriod = Duration.seconds(2)

export const make = (services: ReadonlyArray<ServedService>): ServedServices => {
  const closing = Deferred.makeUnsafe<void>()
  const tellers = new Set<Deferred.Deferred<void>>()
  let isClosing = false

  const tell = (told: Deferred.Deferred<void>) =>
    Effect.suspend(() => {
      tellers.delete(told)
      return Effect.asVoid(Deferred.succeed(told, undefined))
    })

  const waitForTellers = Effect.suspend(() =>
    tellers.size === 0
      ? Effect.void
      : Effect.timeoutOption(
          // What they sent is written in the next turn at the latest.
          Effect.interruptible(
            Effect.zipRight(Effect.forEach([...tellers], Deferred.await, { discard: true }), yieldTurn)
          ),
          tellPeriod
        )
  )

  return {
    services,
    closing: Deferred.await(closing),
    isClosing: () => isClosing,
    telling: Effect.acquireRelease(
      Effect.sync(() => {
        const told = Deferred.makeUnsafe<void>()
        tellers.add(told)
        return tell(told)
      }),
      (told) => told
    ),
    close: Effect.suspend(() => {
      isClosing = true
      return Effect.zipRight(Deferred.succeed(closing, undefined), Effect.asVoid(waitForTellers))
    })
  }
}

/** What the listener of this handler serves; nothing where there is none. */
export const current: Effect.Effect<ServedServices> = Effect.map(
  Effect.serviceOption(Served),
  Option.getOrElse(() => make([]))
)
