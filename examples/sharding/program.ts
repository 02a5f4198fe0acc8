/** A cluster of runners, on the command line. */
import * as Command from "@effect/cli/Command"
import * as NodeContext from "@effect/platform-node/NodeContext"
import * as NodeRuntime from "@effect/platform-node/NodeRuntime"
import * as Data from "effect/Data"
import * as Effect from "effect/Effect"
import * as Logger from "effect/Logger"
import { exitCode } from "../shared/exitCode.js"
import * as Options from "../shared/Options.js"
import * as Progress from "../shared/Progress.js"
import { networkTransports } from "../shared/transports.js"
import { scenario } from "./scenario.js"

const options = {
  transport: Options.choice("transport", networkTransports, "tls", "What the runners talk over"),
  nodes: Options.number("nodes", { min: 2, max: 10, value: 3, isInteger: true }, "How many runners"),
  seconds: Options.number("seconds", { min: 1, max: 3600, value: 3 }, "How long they work before one is killed"),
  json: Options.json
}

/** A message was lost, or answered by the one that was dead; the summary says so. */
class NotVerified extends Data.TaggedError("NotVerified") {}

const command = Command.make("sharding", options, ({ json, ...options }) =>
  Effect.gen(function* () {
    const summary = yield* Effect.scoped(scenario(options))
    if (json) {
      process.stdout.write(`${JSON.stringify(summary, null, 2)}\n`)
    }
    if (!summary.ok) {
      return yield* new NotVerified()
    }
  }).pipe(Effect.provide(Progress.layer(json ? process.stderr : process.stdout)))
).pipe(
  Command.withDescription("Runners that share fifty entities. One of them is killed, and every message is answered.")
)

Command.run(command, { name: "sharding", version: "0.1.0" })(process.argv).pipe(
  Effect.provide(NodeContext.layer),
  Effect.provide(Logger.replace(Logger.defaultLogger, Logger.withConsoleError(Logger.logfmtLogger))),
  NodeRuntime.runMain({
    disablePrettyLogger: true,
    teardown: (exit, onExit) => onExit(exitCode(exit))
  })
)
