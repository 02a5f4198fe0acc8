/** `certs`: certificates for development, and what peers would say to them. */
import * as Command from "@effect/cli/Command"
import { check } from "./certs/check.js"
import { issue } from "./certs/issue.js"
import { newCa } from "./certs/newCa.js"
import { p12 } from "./certs/p12.js"
import { pin } from "./certs/pin.js"
import { revoke } from "./certs/revoke.js"
import { show } from "./certs/show.js"

export const certs = Command.make("certs").pipe(
  Command.withDescription("Makes, shows and checks certificates."),
  Command.withSubcommands([newCa, issue, show, check, p12, pin, revoke])
)
