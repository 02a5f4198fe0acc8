import { ClusterSchema, Entity, Singleton } from "@effect/cluster"
import * as FileSystem from "@effect/platform/FileSystem"
import * as Rpc from "@effect/rpc/Rpc"
import * as Console from "effect/Console"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Schema from "effect/Schema"

/** Says which process it lives in, when no file of that name keeps it from it. What it is asked is kept until it answers. */
export const Greeter = Entity.make("Greeter", [
  Rpc.make("Greet", {
    payload: { id: Schema.String, unless: Schema.optional(Schema.String) },
    primaryKey: ({ id }) => id,
    success: Schema.Struct({ id: Schema.String, process: Schema.Number })
  }).annotate(ClusterSchema.Persisted, true)
])

const greeter = Greeter.toLayer(
  Effect.map(FileSystem.FileSystem, ({ exists }) => ({
    Greet: ({ payload: { id, unless } }) =>
      (unless === undefined
        ? Effect.void
        : Effect.repeat(Effect.delay(exists(unless), "100 millis"), { while: (isThere) => isThere })
      ).pipe(Effect.as({ id, process: process.pid }), Effect.orDie)
  }))
)

/** What a runner prints when the one singleton of the cluster begins to live in it. */
export const singletonIsHere = "the singleton is here"

const singleton = Singleton.make("Only", Effect.zipRight(Console.log(singletonIsHere), Effect.never))

export const entities = Layer.mergeAll(greeter, singleton)
