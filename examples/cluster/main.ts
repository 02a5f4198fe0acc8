import * as Command from "@effect/cli/Command"
import * as Options from "@effect/cli/Options"
import * as NodeContext from "@effect/platform-node/NodeContext"
import * as NodeRuntime from "@effect/platform-node/NodeRuntime"
import * as Cause from "effect/Cause"
import * as Console from "effect/Console"
import * as Data from "effect/Data"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Layer from "effect/Layer"
import * as Logger from "effect/Logger"
import * as Schema from "effect/Schema"
import { Credentials, DevCa } from "effect-transport"
import * as Progress from "./supervisor/Progress.js"
import * as Scenario from "./supervisor/Scenario.js"
import * as Summary from "./supervisor/Summary.js"
import { transportNames, transports } from "./transports.js"

const options = {
  transport: Options.choice("transport", transportNames).pipe(
    Options.withDefault("tls"),
    Options.withDescription("What the nodes talk over")
  ),
  nodes: Options.integer("nodes").pipe(
    Options.withSchema(Schema.Number.pipe(Schema.between(2, 10, { message: () => "--nodes takes 2 to 10" }))),
    Options.withDefault(3),
    Options.withDescription("How many nodes, from 2 to 10")
  ),
  seconds: Options.float("seconds").pipe(
    Options.withSchema(Schema.Number.pipe(Schema.between(1, 3600, { message: () => "--seconds takes 1 to 3600" }))),
    Options.withDefault(12),
    Options.withDescription("How long they work, from 1 to 3600")
  ),
  json: Options.boolean("json").pipe(
    Options.withDescription("Print the summary as JSON on stdout, and the progress on stderr")
  )
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

const exitCode = (exit: Exit.Exit<unknown, unknown>) =>
  Exit.isSuccess(exit) ? 0 : Cause.isInterruptedOnly(exit.cause) ? 130 : 1

Command.run(command, { name: "cluster", version: "0.1.0" })(process.argv).pipe(
  Effect.provide(NodeContext.layer),
  Effect.provide(Logger.replace(Logger.defaultLogger, Logger.withConsoleError(Logger.logfmtLogger))),
  NodeRuntime.runMain({
    disableErrorReporting: true,
    disablePrettyLogger: true,
    teardown: (exit, onExit) => onExit(exitCode(exit))
  })
)
