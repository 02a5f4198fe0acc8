#!/usr/bin/env node
/** The command `effect-transport`. */
import * as NodeRuntime from "@effect/platform-node/NodeRuntime"
import * as Exit from "effect/Exit"
import { program } from "./program.js"
import { exitCodeOf } from "./shared/failure.js"

// Whoever reads the output may have seen enough, as `head` has.
process.stdout.on("error", (error: NodeJS.ErrnoException) => process.exit(error.code === "EPIPE" ? 0 : 1))

program(process.argv).pipe(
  NodeRuntime.runMain({
    disableErrorReporting: true,
    disablePrettyLogger: true,
    teardown: (exit, onExit) => onExit(Exit.match(exit, { onFailure: exitCodeOf, onSuccess: () => 0 }))
  })
)
