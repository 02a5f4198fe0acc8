/** One runner in a process of its own, which ends when its stdin does: also when the process that started it is gone. */
import * as NodeContext from "@effect/platform-node/NodeContext"
import * as NodeRuntime from "@effect/platform-node/NodeRuntime"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Schema from "effect/Schema"
import { entities } from "./greeter.js"
import { RunnerJson, runner, variable } from "./node.js"

const orphaned = Effect.async<void>((resume) => {
  process.stdin.resume().once("close", () => resume(Effect.void))
})

Effect.gen(function* () {
  const { port, ...cluster } = yield* Schema.Config(variable, RunnerJson)
  yield* Effect.raceFirst(orphaned, Layer.launch(Layer.provide(entities, runner(cluster, port))))
}).pipe(Effect.provide(NodeContext.layer), NodeRuntime.runMain)
