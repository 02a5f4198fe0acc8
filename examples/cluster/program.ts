/** Nodes that talk to each other, on the command line. */
import * as Command from "@effect/cli/Command"
import * as NodeContext from "@effect/platform-node/NodeContext"
import * as NodeRuntime from "@effect/platform-node/NodeRuntime"
import * as Cause from "effect/Cause"
import * as Console from "effect/Console"
import * as Data from "effect/Data"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Logger from "effect/Logger"
import { Credentials, DevCa } from "effect-transport"
import { exitCode } from "../shared/exitCode.js"
import * as Options from "../shared/Options.js"
import * as Progress from "../shared/Progress.js"
import { transportNames, transports } from "../shared/transports.js"
import * as Scenario from "./supervisor/Scenario.js"
import * as Summary from "./supervisor/Summary.js"

const options = {
  transport: Options.choice("transport", transportNames, "tls", "What the nodes talk over"),
  nodes: Options.number("nodes", { min: 2, max: 10, value: 3, isInteger: true }, "How many nodes"),
  seconds: Options.number("seconds", { min: 1, max: 3600, value: 12 }, "How long they work"),
  json: Options.json
}

/** The cluster did not do what it should; what is wrong has been printed. */
class NotVerified extends Data.TaggedError("NotVerified") {}

const command = Command.make("cluster", options, ({ json, nodes, seconds, transport }) =>
  Effect.gen(function* () {
    const out = json ? process.stderr : process.stdout
    const ca = yield* DevCa.make()
    const observer = yield* ca.issue({ names: ["observer"] })
    const TransportLive = Layer.provide(transports[transport].layer, Credentials.layerPem({ ...observer, ca: ca.ca }))
    const summary = yield* Scenario.run({ ca, transport, nodes, seconds }).pipe(
      Effect.tapError(({ _tag, message }) => Console.error(`\nFAILED: ${_tag}: ${message}`)),
      Effect.tapDefect((cause) => Console.error(`\nFAILED: ${Cause.pretty(cause)}`)),
      Effect.provide(Layer.merge(TransportLive, Progress.layer(out)))
    )
    out.write(`\n${Summary.text(summary)}\n`)
    if (json) {
      process.stdout.write(`${JSON.stringify(summary, null, 2)}\n`)
    }
    if (!summary.ok) {
      return yield* new NotVerified()
    }
  })
).pipe(Command.withDescription("Nodes that talk to each other. One of them is killed, returns, and nothing is lost."))

Command.run(command, { name: "cluster", version: "0.1.0" })(process.argv).pipe(
  Effect.provide(NodeContext.layer),
  Effect.provide(Logger.replace(Logger.defaultLogger, Logger.withConsoleError(Logger.logfmtLogger))),
  NodeRuntime.runMain({
    disableErrorReporting: true,
    disablePrettyLogger: true,
    teardown: (exit, onExit) => onExit(exitCode(exit))
  })
)
