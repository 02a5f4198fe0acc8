/** The callbacks that a caller gives with a call: one that throws ends that call, and nothing else. */
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Stream from "effect/Stream"
import * as Deferred from "../../effect/Deferred.js"
import type { OutgoingCall } from "../Connection.js"
import type * as Metadata from "../Metadata.js"
import { Internal } from "../TransportError.js"
import * as Boundary from "./boundary.js"

interface Where {
  readonly peer: string
  readonly boundary: Boundary.Boundary
}

export const isObserved = ({ onHeaders, onTrailers }: OutgoingCall): boolean =>
  onHeaders !== undefined || onTrailers !== undefined

const guard = (call: OutgoingCall, method: string, { boundary, peer }: Where) => {
  const failed = Deferred.makeUnsafe<never, Internal>()
  let thrown: Exit.Exit<never, Internal> | undefined
  const fail = (name: string, cause: unknown) => {
    boundary.caught("callback", peer, cause)
    if (thrown === undefined) {
      thrown = Exit.fail(new Internal({ message: `the callback ${name} threw`, method, peer, cause }))
      Deferred.doneUnsafe(failed, thrown)
    }
  }
  const guarded = (name: "onHeaders" | "onTrailers") => {
    const callback = call[name]
    return callback === undefined
      ? undefined
      : (metadata: Metadata.Metadata) => {
          try {
            const returned: unknown = callback(metadata)
            Boundary.onRejected(returned, (cause) => fail(name, cause))
          } catch (cause) {
            fail(name, cause)
          }
        }
  }
  return {
    call: { ...call, onHeaders: guarded("onHeaders"), onTrailers: guarded("onTrailers") },
    failed,
    /** What was thrown goes before how the call ended, which can be at the same time. */
    endOf: <A, E>(exit: Exit.Exit<A, E>): Exit.Exit<A, E | Internal> => thrown ?? exit
  }
}

/** Runs a call with its callbacks guarded. */
export const effect = <A, E>(
  call: OutgoingCall,
  method: string,
  where: Where,
  run: (call: OutgoingCall) => Effect.Effect<A, E>
): Effect.Effect<A, E | Internal> =>
  Effect.suspend(() => {
    const guarded = guard(call, method, where)
    return Effect.flatMap(
      Effect.exit(Effect.raceFirst(run(guarded.call), Deferred.await(guarded.failed))),
      guarded.endOf
    )
  })

/** The same for one that streams. */
export const stream = <A, E>(
  call: OutgoingCall,
  method: string,
  where: Where,
  run: (call: OutgoingCall) => Stream.Stream<A, E>
): Stream.Stream<A, E | Internal> =>
  Stream.suspend(() => {
    const guarded = guard(call, method, where)
    return Stream.interruptWhenDeferred(run(guarded.call), guarded.failed).pipe(
      Stream.catchAllCause((cause) => Stream.fromEffect(guarded.endOf(Exit.failCause(cause)))),
      Stream.concat(Stream.execute(Effect.suspend(() => guarded.endOf(Exit.void))))
    )
  })
