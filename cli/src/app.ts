/** All commands, and how they are parsed. */
import * as CliConfig from "@effect/cli/CliConfig"
import * as Command from "@effect/cli/Command"
import * as HelpDoc from "@effect/cli/HelpDoc"
import * as Span from "@effect/cli/HelpDoc/Span"
import * as Effect from "effect/Effect"
import { bench } from "./commands/bench.js"
import { call } from "./commands/call.js"
import { certs } from "./commands/certs.js"
import { describe } from "./commands/describe.js"
import { doctor } from "./commands/doctor.js"
import { list } from "./commands/list.js"
import { ping } from "./commands/ping.js"
import { serve } from "./commands/serve.js"
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

/** Parses the arguments and runs the command that they name. */
export const app = (args: ReadonlyArray<string>) =>
  Command.run(root, {
    name: "effect-transport",
    executable: "effect-transport",
    summary: Span.text("the command line of effect-transport"),
    version,
    footer
  })(args).pipe(Effect.provide(CliConfig.layer({ showBuiltIns: false, showAllNames: true })))
