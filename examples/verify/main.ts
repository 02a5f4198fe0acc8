import * as Command from "@effect/cli/Command"
import * as Options from "@effect/cli/Options"
import * as HttpServer from "@effect/platform/HttpServer"
import * as NodeContext from "@effect/platform-node/NodeContext"
import * as NodeRuntime from "@effect/platform-node/NodeRuntime"
import * as Cause from "effect/Cause"
import * as Console from "effect/Console"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Logger from "effect/Logger"
import * as Predicate from "effect/Predicate"
import * as Schema from "effect/Schema"
import * as App from "./App.js"
import { Nodes } from "./Nodes.js"

const options = {
  port: Options.integer("port").pipe(
    Options.withSchema(Schema.Number.pipe(Schema.between(0, 65_535, { message: () => "--port takes 0 to 65535" }))),
    Options.withDefault(0),
    Options.withDescription("The port of the page on 127.0.0.1; 0 lets the system choose")
  )
}

const announce = Effect.gen(function* () {
  const url = yield* HttpServer.addressFormattedWith(Effect.succeed)
  const { nodes } = yield* Effect.flatMap(Nodes, ({ view }) => view)
  yield* Console.log(`verify: ${url}/  (API: ${url}/docs, Ctrl-C stops it)`)
  for (const { reason, status, target, transport } of nodes) {
    yield* Console.log(`  ${transport.padEnd(7)}${status === "absent" ? `absent: ${reason}` : `a node on ${target}`}`)
  }
})

const bindMessage = (port: number, cause: unknown) =>
  Predicate.hasProperty(cause, "code") && cause.code === "EADDRINUSE"
    ? `port ${port} is in use; choose another with --port`
    : `can't listen on port ${port}: ${cause instanceof Error ? cause.message : String(cause)}`

const command = Command.make("verify", options, ({ port }) =>
  Layer.launch(Layer.provide(Layer.effectDiscard(announce), App.layer({ port }))).pipe(
    Effect.tapErrorTag("ServeError", ({ cause }) => Console.error(bindMessage(port, cause))),
    Effect.tapErrorCause((cause) =>
      Effect.forEach(
        Cause.failures(cause),
        (error) => (error._tag === "ServeError" ? Effect.void : Console.error(`${error._tag}: ${error.message}`)),
        { discard: true }
      )
    ),
    Effect.tapDefect((cause) => Console.error(Cause.pretty(cause)))
  )
).pipe(Command.withDescription("A page that sends echoes over each transport, and shows what becomes of them."))

Command.run(command, { name: "verify", version: "0.1.0" })(process.argv).pipe(
  Effect.provide(NodeContext.layer),
  Effect.provide(Logger.replace(Logger.defaultLogger, Logger.withConsoleError(Logger.logfmtLogger))),
  NodeRuntime.runMain({ disableErrorReporting: true, disablePrettyLogger: true })
)
