import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Stream from "effect/Stream"
import type { Service } from "effect-transport"
import * as Activity from "../Activity.js"
import * as Metered from "./Metered.js"

const make = Effect.sync(() => {
  let activity = Activity.none
  const count = (change: Partial<Activity.Activity>) => {
    activity = Activity.add(activity, { ...Activity.none, ...change })
  }
  const failed = () => Effect.sync(() => count({ errors: 1 }))
  const meter = {
    sent: (bytes: number) => count({ sent: bytes }),
    received: (bytes: number) => count({ received: bytes })
  }

  return {
    count: (change: Partial<Activity.Activity>) => Effect.sync(() => count(change)),

    /** One try: whether it failed, and how long it took otherwise. */
    attempt: <A, E, R>(effect: Effect.Effect<A, E, R>) =>
      Effect.sync(() => count({ attempts: 1 })).pipe(
        Effect.zipRight(Effect.timed(effect)),
        Effect.tapBoth({
          onFailure: failed,
          onSuccess: ([duration]) => Effect.sync(() => count({ latencies: [Duration.toMillis(duration)] }))
        }),
        Effect.map(([, value]) => value)
      ),

    /** The same for a stream, which takes as long as it likes. */
    attemptStream: <A, E, R>(stream: Stream.Stream<A, E, R>) =>
      Stream.onStart(
        stream,
        Effect.sync(() => count({ attempts: 1 }))
      ).pipe(Stream.tapError(failed)),

    /** The contract, with codecs that count the bytes of its messages. */
    metered: <S extends Service.Source>(contract: S) => Metered.contract(contract, meter),

    /** What has happened since this was asked the last time. */
    take: Effect.sync(() => {
      const taken = activity
      activity = Activity.none
      return taken
    })
  }
})

/** Counts what this node does as a client of its peers. */
export class Stats extends Effect.Service<Stats>()("cluster/Stats", { effect: make }) {}
