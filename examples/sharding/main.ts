/** `npm run start:sharding`: a cluster of three processes that talk over mutual TLS, one of which is killed. */
import * as NodeContext from "@effect/platform-node/NodeContext"
import * as NodeRuntime from "@effect/platform-node/NodeRuntime"
import * as Effect from "effect/Effect"
import { scenario } from "./scenario.js"

scenario.pipe(Effect.scoped, Effect.provide(NodeContext.layer), NodeRuntime.runMain)
