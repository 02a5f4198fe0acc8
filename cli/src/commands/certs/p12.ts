/** `certs p12`: a key and its chain as one encrypted PKCS#12. */
import * as Command from "@effect/cli/Command"
import * as Options from "@effect/cli/Options"
import * as Prompt from "@effect/cli/Prompt"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Redacted from "effect/Redacted"
import { Credentials } from "effect-transport"
import { isInteractive, readPassphrase } from "../../shared/credentials.js"
import { exitCodes, Failure } from "../../shared/failure.js"
import * as Files from "../../shared/files.js"
import { json } from "../../shared/options.js"
import { result } from "../../shared/output.js"
import { force } from "./common.js"
import * as Pkcs12 from "./pkcs12.js"

const file = (name: string, description: string) =>
  Options.text(name).pipe(Options.withPseudoName("file"), Options.withDescription(description))

const passphraseFile = file(
  "passphrase-file",
  "A file whose first line is the passphrase of the result. Default: $TRANSPORT_KEY_PASSPHRASE, or you are asked."
).pipe(Options.optional)

const keyPassphraseFile = file("key-passphrase-file", "The same for --key, where that is encrypted.").pipe(
  Options.optional
)

/** A passphrase protects only if it is known to nobody else, and typed as it was meant. */
const newPassphrase = Effect.gen(function* () {
  const first = yield* Prompt.run(Prompt.password({ message: "Passphrase for the PKCS#12" }))
  const again = yield* Prompt.run(Prompt.password({ message: "The same again" }))
  return Redacted.value(first) === Redacted.value(again)
    ? first
    : yield* new Failure({ message: "the passphrases differ", hint: "try again" })
}).pipe(
  Effect.catchTag(
    "QuitException",
    () => new Failure({ message: "no passphrase was given", exitCode: exitCodes.interrupted })
  )
)

export const p12 = Command.make(
  "p12",
  {
    cert: file("cert", "The certificate chain, PEM, leaf first."),
    key: file("key", "Its private key, PEM."),
    ca: file("ca", "The CAs to trust, PEM, which go into the file too. Default: none.").pipe(Options.optional),
    out: file("out", "The file to write."),
    name: Options.text("name").pipe(
      Options.optional,
      Options.withDescription("The friendly name that keychains show. Default: the subject of the certificate.")
    ),
    passphraseFile,
    keyPassphraseFile,
    force,
    json
  },
  ({ ca, cert, force, json, key, keyPassphraseFile, name, out, passphraseFile }) =>
    Effect.gen(function* () {
      const keyPassphrase = Option.isSome(keyPassphraseFile) ? yield* readPassphrase(keyPassphraseFile) : Option.none()
      const material = yield* loaded(cert, key, Option.getOrUndefined(keyPassphrase), ca)
      const given = yield* readPassphrase(passphraseFile)
      const passphrase = Option.isSome(given)
        ? given.value
        : isInteractive()
          ? yield* newPassphrase
          : yield* new Failure({
              message: "a PKCS#12 needs a passphrase, and nobody can be asked",
              hint: "give it with --passphrase-file or TRANSPORT_KEY_PASSPHRASE",
              exitCode: exitCodes.usage
            })
      const data = yield* Effect.promise(() =>
        Pkcs12.write({
          chain: material.pair.chain,
          key: material.pair.key,
          ca: Option.isSome(ca) ? material.ca : [],
          friendlyName: Option.getOrElse(name, () => material.pair.identity.subject),
          passphrase
        })
      )
      yield* Files.write({ path: out, data, mode: Files.modes.secret }, force)
      const value = { p12: out, subject: material.pair.identity.subject, ca: Option.isSome(ca) }
      yield* result(json, value, ({ p12, subject }) =>
        [
          `wrote ${p12}: ${subject}, encrypted (AES-256, HMAC-SHA256)`,
          `use it: --p12 ${p12} --passphrase-file FILE`
        ].join("\n")
      )
    })
).pipe(Command.withDescription("Writes a key, its certificate chain and CAs as one encrypted PKCS#12."))

const loaded = (cert: string, key: string, passphrase: Redacted.Redacted | undefined, ca: Option.Option<string>) =>
  Effect.gen(function* () {
    const layer = Credentials.layerPem({
      cert: { file: cert },
      key: { file: key },
      passphrase,
      // Something has to be trusted; whether that is the CA does not matter here.
      ca: { file: Option.getOrElse(ca, () => cert) }
    })
    const material = yield* Effect.scoped(
      Effect.flatMap(Layer.build(layer), (context) =>
        Effect.flatMap(Credentials.Credentials, ({ current }) => current).pipe(Effect.provide(context))
      )
    )
    const pair = material._tag === "Tls" ? material.certificate : Option.none()
    return Option.isSome(pair) && material._tag === "Tls"
      ? { pair: pair.value, ca: material.ca }
      : yield* new Failure({ message: `${cert} holds no certificate` })
  })
