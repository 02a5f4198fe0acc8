import { ClusterSchema, Entity } from "@effect/cluster"
import * as Rpc from "@effect/rpc/Rpc"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"

/** Says which process it lives in, a little later. What it is asked is kept until it has answered. */
export const Greeter = Entity.make("Greeter", [
  Rpc.make("Greet", {
    payload: { id: Schema.String },
    primaryKey: ({ id }) => id,
    success: Schema.Struct({ id: Schema.String, process: Schema.Number })
  }).annotate(ClusterSchema.Persisted, true)
])

export const GreeterLive = Greeter.toLayer({
  Greet: ({ payload: { id } }) => Effect.delay(Effect.succeed({ id, process: process.pid }), "5 millis")
})
