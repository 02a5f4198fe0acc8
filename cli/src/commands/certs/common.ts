/** Options and helpers that the commands of `certs` share. */
import * as Options from "@effect/cli/Options"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import { Pins, type TransportError } from "effect-transport"

export const caDir = Options.text("ca-dir").pipe(
  Options.withPseudoName("folder"),
  Options.withDefault("ca"),
  Options.withDescription("The folder of the CA. Default: ca.")
)

export const force = Options.boolean("force").pipe(
  Options.withDescription("Replace files that are there already. Default: they stay, and the command fails.")
)

/** How long a certificate is valid. */
export const validFor = (option: Options.Options<Duration.Duration>, otherwise: Duration.Duration, text: string) =>
  option.pipe(
    Options.withDefault(otherwise),
    Options.withDescription(`How long it is valid: 12h, 90d, 10y. Default: ${text}.`)
  )

/** The pin of a certificate, for `--pin`. */
export const pinOf = (pem: string): Effect.Effect<string, TransportError.CredentialsError> =>
  Effect.map(Pins.certificate(pem), Pins.format)
