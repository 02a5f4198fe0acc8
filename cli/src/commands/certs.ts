/** `certs`: certificates for development, and what peers would say to them. */
import * as Command from "@effect/cli/Command"
import { issue } from "./certs/issue.js"
import { newCa } from "./certs/newCa.js"
import { p12 } from "./certs/p12.js"
import { pin } from "./certs/pin.js"
import { revoke } from "./certs/revoke.js"

export const certs = Command.make("certs").pipe(
  Command.withDescription("Makes, shows and checks certificates."),
  Command.withSubcommands([newCa, issue, p12, pin, revoke])
)
