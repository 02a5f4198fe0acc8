#!/usr/bin/env node
/** The command `effect-transport`. */
import * as NodeContext from "@effect/platform-node/NodeContext"
import * as NodeRuntime from "@effect/platform-node/NodeRuntime"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import { app } from "./app.js"
import { exitCodeOf } from "./shared/failure.js"
import * as Output from "./shared/output.js"

// Whoever reads the output may have seen enough, as `head` has.
process.stdout.on("error", (error: NodeJS.ErrnoException) => process.exit(error.code === "EPIPE" ? 0 : 1))

const args = process.argv

app(args).pipe(
  Effect.tapErrorCause((cause) => Output.reportCause(args, cause)),
  Effect.provide(NodeContext.layer),
  Output.setUp,
  NodeRuntime.runMain({
    disableErrorReporting: true,
    disablePrettyLogger: true,
    teardown: (exit, onExit) => onExit(Exit.match(exit, { onFailure: exitCodeOf, onSuccess: () => 0 }))
  })
)
