/** One runner: `tsx examples/sharding/main.ts '{ "port": ..., "database": ..., "cert": ..., "key": ..., "ca": ... }'`. */
import * as NodeRuntime from "@effect/platform-node/NodeRuntime"
import * as Console from "effect/Console"
import * as Layer from "effect/Layer"
import { GreeterLive } from "./greeter.js"
import { runner } from "./node.js"

const [json = "{}"] = process.argv.slice(2)
const node = JSON.parse(json)

GreeterLive.pipe(
  Layer.provide(runner(node)),
  Layer.merge(Layer.effectDiscard(Console.log(`>> runner on ${node.port}`))),
  Layer.launch,
  NodeRuntime.runMain
)
