import * as Schema from "effect/Schema"

/** What a node did as a client of its peers, over some time. */
export const Activity = Schema.Struct({
  calls: Schema.Number,
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

export const none: Activity = {
  calls: 0,
  attempts: 0,
  errors: 0,
  sent: 0,
  received: 0,
  validProofs: 0,
  invalidProofs: 0,
  latencies: []
}

export const add = (a: Activity, b: Activity): Activity => ({
  calls: a.calls + b.calls,
  attempts: a.attempts + b.attempts,
  errors: a.errors + b.errors,
  sent: a.sent + b.sent,
  received: a.received + b.received,
  validProofs: a.validProofs + b.validProofs,
  invalidProofs: a.invalidProofs + b.invalidProofs,
  latencies: [...a.latencies, ...b.latencies]
})
