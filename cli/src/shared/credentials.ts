/** Who this side is and whom it trusts, from options. */
import * as Options from "@effect/cli/Options"
import * as Prompt from "@effect/cli/Prompt"
import * as FileSystem from "@effect/platform/FileSystem"
import * as Config from "effect/Config"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Redacted from "effect/Redacted"
import { Credentials, type Pins, type TransportError } from "effect-transport"
import { exitCodes, Failure } from "./failure.js"

const file = (name: string, variable: string, description: string) =>
  Options.text(name).pipe(
    Options.withPseudoName("file"),
    Options.withFallbackConfig(Config.string(variable)),
    Options.optional,
    Options.withDescription(`${description} Default: $${variable}.`)
  )

/** The options of all commands that need credentials. */
export const options = {
  cert: file("cert", "TRANSPORT_CERT", "Your certificate chain, PEM, leaf first."),
  key: file("key", "TRANSPORT_KEY", "Your private key, PEM."),
  ca: file("ca", "TRANSPORT_CA", "The CAs whose certificates you accept, PEM. Nobody else is trusted."),
  crl: file("crl", "TRANSPORT_CRL", "Revocation lists, PEM or DER."),
  p12: Options.text("p12").pipe(
    Options.withPseudoName("file"),
    Options.optional,
    Options.withDescription("Key, chain and CAs as PKCS#12, instead of --cert and --key.")
  ),
  passphraseFile: Options.text("passphrase-file").pipe(
    Options.withPseudoName("file"),
    Options.optional,
    Options.withDescription(
      "A file whose first line is the passphrase of --key or --p12. Default: $TRANSPORT_KEY_PASSPHRASE, or you are asked."
    )
  ),
  pin: Options.text("pin").pipe(
    Options.withPseudoName("certificate:hex|publicKey:hex"),
    Options.repeated,
    Options.withDescription("What the peer must be, instead of a CA, or beside --ca. As often as needed.")
  ),
  insecure: Options.boolean("insecure").pipe(
    Options.withDescription("No TLS at all: anyone on the path reads and changes everything. Only --wire grpc.")
  )
}

/** What the options above parse to. */
export interface CredentialsConfig {
  readonly cert: Option.Option<string>
  readonly key: Option.Option<string>
  readonly ca: Option.Option<string>
  readonly crl: Option.Option<string>
  readonly p12: Option.Option<string>
  readonly passphraseFile: Option.Option<string>
  readonly pin: ReadonlyArray<string>
  readonly insecure: boolean
}

/** The passphrase of a file or the environment; none where neither is given. */
export const readPassphrase = (
  path: Option.Option<string>
): Effect.Effect<Option.Option<Redacted.Redacted>, Failure, FileSystem.FileSystem> =>
  Option.match(path, {
    onNone: () =>
      Effect.sync(() => Option.map(Option.fromNullable(process.env.TRANSPORT_KEY_PASSPHRASE), Redacted.make)),
    onSome: (path) =>
      Effect.flatMap(FileSystem.FileSystem, (fs) => fs.readFileString(path)).pipe(
        Effect.mapBoth({
          onSuccess: (text) => Option.some(Redacted.make(text.split(/\r?\n/, 1)[0] ?? "")),
          onFailure: (cause) =>
            new Failure({
              message: `can't read the passphrase from ${path}: ${cause.message}`,
              hint: "give --passphrase-file a file that you may read",
              cause
            })
        })
      )
  })

/** Whether somebody can be asked. */
export const isInteractive = (): boolean => process.stdin.isTTY === true && process.stderr.isTTY === true

const ask = (what: string): Effect.Effect<Redacted.Redacted, Failure, Prompt.Prompt.Environment> =>
  Effect.mapError(
    Prompt.run(Prompt.password({ message: `Passphrase of ${what}` })),
    () => new Failure({ message: "no passphrase was given", exitCode: exitCodes.interrupted })
  )

type Load = (
  passphrase: Option.Option<Redacted.Redacted>
) => Layer.Layer<Credentials.Credentials, TransportError.CredentialsError>

/** Loads; where a passphrase is missing, and somebody there to be asked, loads again with the answer. */
const withPassphrase = (what: string, path: Option.Option<string>, load: Load) =>
  Layer.unwrapEffect(
    Effect.map(readPassphrase(path), (given) => {
      const loaded = load(given)
      return Option.isSome(given)
        ? loaded
        : Layer.catchAll(loaded, (error) =>
            error.reason === "WrongPassphrase" && isInteractive()
              ? Layer.unwrapEffect(Effect.map(ask(what), (answer) => load(Option.some(answer))))
              : Layer.fail(error)
          )
    })
  )

const usage = (message: string, hint: string) => new Failure({ message, hint, exitCode: exitCodes.usage })

const pinsOf = ({ ca, p12, pin }: CredentialsConfig): Pins.PinsOptions | undefined =>
  pin.length === 0 ? undefined : { all: pin, mode: Option.isNone(ca) && Option.isNone(p12) ? "instead" : "additional" }

const fileOf = (path: Option.Option<string>) => Option.getOrUndefined(Option.map(path, (file) => ({ file })))

/** What is wrong with the options as they are given together. */
const conflict = (config: CredentialsConfig): Failure | undefined => {
  const { ca, cert, insecure, key, p12, pin } = config
  if (insecure) {
    return undefined
  }
  if (Option.isSome(p12) && (Option.isSome(cert) || Option.isSome(key))) {
    return usage("--p12 is there beside --cert or --key", "give one or the other")
  }
  if (Option.isSome(cert) !== Option.isSome(key)) {
    return usage(
      Option.isSome(cert) ? "--cert is there without --key" : "--key is there without --cert",
      "give both, or neither"
    )
  }
  return Option.isNone(ca) && Option.isNone(p12) && pin.length === 0
    ? usage("whom to trust is not said", "give --ca, --pin or --p12; --insecure is plaintext")
    : undefined
}

/** The credentials that the options name, for the layers of wires. */
export const layer = (
  config: CredentialsConfig
): Layer.Layer<Credentials.Credentials, TransportError.CredentialsError | Failure, Prompt.Prompt.Environment> => {
  const wrong = conflict(config)
  if (wrong !== undefined) {
    return Layer.fail(wrong)
  }
  if (config.insecure) {
    return Credentials.insecure
  }
  const { ca, cert, crl, key, p12, passphraseFile } = config
  const common = { ca: fileOf(ca), crl: fileOf(crl), pins: pinsOf(config) }
  return Option.match(p12, {
    onSome: (path) =>
      withPassphrase(path, passphraseFile, (passphrase) =>
        Credentials.layerPkcs12({ ...common, pfx: { file: path }, passphrase: Option.getOrUndefined(passphrase) })
      ),
    onNone: () =>
      withPassphrase(
        Option.getOrElse(key, () => "the key"),
        passphraseFile,
        (passphrase) =>
          Credentials.layerPem({
            ...common,
            cert: fileOf(cert),
            key: fileOf(key),
            passphrase: Option.getOrUndefined(passphrase)
          })
      )
  })
}
