/** The command as an effect: what it prints, and the failure that says how it ended. */
import * as NodeContext from "@effect/platform-node/NodeContext"
import * as Effect from "effect/Effect"
import { app } from "./app.js"
import * as Output from "./shared/output.js"

/** Runs the arguments of a process, the first two of which are Node and the script. */
export const program = (args: ReadonlyArray<string>) =>
  app(args).pipe(
    Effect.tapErrorCause((cause) => Output.reportCause(args, cause)),
    Effect.provide(NodeContext.layer),
    Output.setUp
  )
