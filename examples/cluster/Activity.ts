import * as Schema from "effect/Schema"

/** What a node did as a client of its peers, over some time. */
export const Activity = Schema.Struct({
  calls: Schema.Number,
  /** Calls, and what was tried again of them. */
  attempts: Schema.Number,
  errors: Schema.Number,
  /** Bytes of messages, as encoded. */
  sent: Schema.Number,
  received: Schema.Number,
  validProofs: Schema.Number,
  invalidProofs: Schema.Number,
  /** Of the calls that succeeded, in milliseconds. */
  latencies: Schema.Array(Schema.Number)
})

export type Activity = typeof Activity.Type

/** All of it together. */
export const sum = (activities: ReadonlyArray<Partial<Activity>>): Activity => {
  const total = (key: Exclude<keyof Activity, "latencies">) =>
    activities.reduce((sum, activity) => sum + (activity[key] ?? 0), 0)
  return {
    calls: total("calls"),
    attempts: total("attempts"),
    errors: total("errors"),
    sent: total("sent"),
    received: total("received"),
    validProofs: total("validProofs"),
    invalidProofs: total("invalidProofs"),
    latencies: activities.flatMap(({ latencies }) => latencies ?? [])
  }
}
