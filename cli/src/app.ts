/** All commands, and how they are parsed. */
import * as CliConfig from "@effect/cli/CliConfig"
import * as Command from "@effect/cli/Command"
import * as HelpDoc from "@effect/cli/HelpDoc"
import * as Span from "@effect/cli/HelpDoc/Span"
import * as Effect from "effect/Effect"
import * as HashMap from "effect/HashMap"
import { bench } from "./commands/bench.js"
import { call } from "./commands/call.js"
import { certs } from "./commands/certs.js"
import { describe } from "./commands/describe.js"
import { doctor } from "./commands/doctor.js"
import { list } from "./commands/list.js"
import { ping } from "./commands/ping.js"
import { serve } from "./commands/serve.js"
import { exitCodes, Failure } from "./shared/failure.js"
import { version } from "./shared/version.js"

const root = Command.make("effect-transport").pipe(
  Command.withDescription(
    "Certificates, checks, calls and measurements for nodes of effect-transport, over every wire."
  ),
  Command.withSubcommands([certs, list, describe, call, ping, serve, bench, doctor])
)

const footer = HelpDoc.p(
  "Exit code: 0 where all is well, 1 where something failed or would be refused, 2 for options that can't be read, 3 where the " +
    "peers refused each other, and 64 + the gRPC status of a call that failed (78 is UNAVAILABLE)."
)

/** @effect/cli names the commands of the root where one of `certs` is wrong. */
const misspelt = ([, , command, sub]: ReadonlyArray<string>): Failure | undefined => {
  const names = [...HashMap.keys(Command.getSubcommands(certs))]
  return command !== "certs" || sub === undefined || sub.startsWith("-") || names.includes(sub)
    ? undefined
    : new Failure({
        message: `certs has no command ${JSON.stringify(sub)}`,
        hint: `use one of ${names.sort().join(", ")}`,
        exitCode: exitCodes.usage
      })
}

const run = Command.run(root, {
  name: "effect-transport",
  executable: "effect-transport",
  summary: Span.text("the command line of effect-transport"),
  version,
  footer
})

/** Parses the arguments and runs the command that they name. */
export const app = (args: ReadonlyArray<string>) =>
  Effect.suspend(() => {
    const wrong = misspelt(args)
    return wrong === undefined ? run(args) : Effect.fail(wrong)
  }).pipe(Effect.provide(CliConfig.layer({ showBuiltIns: false, showAllNames: true })))
