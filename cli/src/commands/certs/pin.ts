/** `certs pin`: what to pin of a certificate. */
import * as Args from "@effect/cli/Args"
import * as Command from "@effect/cli/Command"
import * as Effect from "effect/Effect"
import { Pins } from "effect-transport"
import { json } from "../../shared/options.js"
import { result } from "../../shared/output.js"

const file = Args.text({ name: "file" }).pipe(Args.withDescription("The file of a certificate, PEM, leaf first."))

export const pin = Command.make("pin", { file, json }, ({ file, json }) =>
  Effect.gen(function* () {
    const source = { file }
    const pins = {
      certificate: Pins.format(yield* Pins.certificate(source)),
      publicKey: Pins.format(yield* Pins.publicKey(source))
    }
    yield* result(json, pins, ({ certificate, publicKey }) =>
      [`${certificate}   this certificate alone`, `${publicKey}   its key, which a renewal may keep`].join("\n")
    )
  })
).pipe(Command.withDescription("Prints the pins of a certificate and of its key, for --pin and for Credentials."))
