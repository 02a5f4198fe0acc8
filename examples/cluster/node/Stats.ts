import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Stream from "effect/Stream"
import type { Service } from "effect-transport"
import * as Activity from "../Activity.js"
import * as Metered from "./Metered.js"

const make = Effect.sync(() => {
  let changes: Array<Partial<Activity.Activity>> = []
  const count = (change: Partial<Activity.Activity>) => Effect.sync(() => void changes.push(change))
  const meter = {
    sent: (bytes: number) => void changes.push({ sent: bytes }),
    received: (bytes: number) => void changes.push({ received: bytes })
  }
  const failed = () => count({ errors: 1 })

  return {
    count,

    /** One try: whether it failed, and how long it took otherwise. */
    attempt: <A, E, R>(effect: Effect.Effect<A, E, R>) =>
      count({ attempts: 1 }).pipe(
        Effect.zipRight(Effect.timed(effect)),
        Effect.tapBoth({
          onFailure: failed,
          onSuccess: ([duration]) => count({ latencies: [Duration.toMillis(duration)] })
        }),
        Effect.map(([, value]) => value)
      ),

    /** The same for a stream, which takes as long as it likes. */
    attemptStream: <A, E, R>(stream: Stream.Stream<A, E, R>) =>
      Stream.onStart(stream, count({ attempts: 1 })).pipe(Stream.tapError(failed)),

    /** The contract, with codecs that count the bytes of its messages. */
    metered: <S extends Service.Source>(contract: S) => Metered.contract(contract, meter),

    /** What has happened since this was asked the last time. */
    take: Effect.sync(() => {
      const taken = Activity.sum(changes)
      changes = []
      return taken
    })
  }
})

/** Counts what this node does as a client of its peers. */
export class Stats extends Effect.Service<Stats>()("cluster/Stats", { effect: make }) {}
