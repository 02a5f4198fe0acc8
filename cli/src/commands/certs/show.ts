/** `certs show`: what is in files, and what would be refused of it. */
import * as Args from "@effect/cli/Args"
import * as Command from "@effect/cli/Command"
import * as Options from "@effect/cli/Options"
import * as Prompt from "@effect/cli/Prompt"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import { options as credentials, isInteractive, readPassphrase } from "../../shared/credentials.js"
import { exitCodes, Failure } from "../../shared/failure.js"
import { json } from "../../shared/options.js"
import { paint, result } from "../../shared/output.js"
import { printable } from "../../shared/text.js"
import { type Contents, type Key, read } from "./contents.js"
import { type Description, describe, lines, listLines } from "./describe.js"
import type { List } from "./list.js"
import { trusting, type Verdict, verdictsAlone, verdictsOn } from "./verdict.js"

interface Shown {
  readonly file: string
  readonly format: Contents["format"]
  readonly certificates: ReadonlyArray<Description>
  readonly keys: ReadonlyArray<{ readonly kind: string; readonly encrypted: boolean; readonly belongsTo?: string }>
  readonly lists: ReadonlyArray<List>
  /** Of the first certificate, if it is not that of a CA. */
  readonly verdicts: ReadonlyArray<Verdict>
  readonly warnings: ReadonlyArray<string>
}

/** A verdict as a line of text. */
export const verdictLine = ({ accepted, as, by, hint, message }: Verdict): string =>
  accepted
    ? `  ${paint("green", "ok")}       as a ${as}, by ${printable(by)}: ${printable(message)}`
    : `  ${paint("red", "refused")}  as a ${as}, by ${printable(by)}: ${printable(message)}${hint === undefined ? "" : `; ${hint}`}`

const keyOf = ({ certificates }: Contents, { isEncrypted, key, kind }: Key) => {
  const owner = key === undefined ? undefined : certificates.find((each) => each.checkPrivateKey(key))
  return {
    kind,
    encrypted: isEncrypted,
    ...(owner === undefined ? {} : { belongsTo: owner.subject.replaceAll("\n", ", ") })
  }
}

const warningsOf = ({ lists }: Contents, now: number): ReadonlyArray<string> =>
  lists.flatMap(({ issuer, nextUpdate }) =>
    nextUpdate === undefined || nextUpdate.getTime() < now
      ? [
          `the list of ${issuer} is not current: whoever uses it refuses every certificate of that CA (BadCertificate); renew it: effect-transport certs revoke`
        ]
      : []
  )

const shownOf = (
  contents: Contents,
  ca: Option.Option<string>,
  crl: Option.Option<string>,
  name: Option.Option<string>
) =>
  Effect.gen(function* () {
    const { certificates, file, format, keys, lists } = contents
    const [leaf] = certificates
    const isLeaf = leaf !== undefined && !leaf.ca
    const verdicts = !isLeaf
      ? []
      : Option.isNone(ca)
        ? yield* verdictsAlone(certificates)
        : verdictsOn(certificates, {
            material: yield* trusting(ca.value, Option.getOrUndefined(crl)),
            name: `whoever trusts ${ca.value}`,
            nameWanted: Option.getOrUndefined(name),
            as: ["server", "client"]
          })
    const shown: Shown = {
      file,
      format,
      certificates: yield* Effect.forEach(certificates, describe),
      keys: keys.map((key) => keyOf(contents, key)),
      lists,
      verdicts,
      warnings: warningsOf(contents, Date.now())
    }
    return shown
  })

const textOf = ({ certificates, file, format, keys, lists, verdicts, warnings }: Shown): string =>
  [
    `${printable(file)} (${format})`,
    ...certificates.flatMap(lines),
    ...keys.map(
      ({ belongsTo, encrypted, kind }) =>
        `private key ${kind}${encrypted && kind !== "encrypted" ? ", encrypted" : ""}${belongsTo === undefined ? "" : ` of ${printable(belongsTo)}`}`
    ),
    ...lists.flatMap(listLines),
    ...warnings.map((warning) => `  ${paint("yellow", "warning")}  ${printable(warning)}`),
    ...verdicts.map(verdictLine)
  ].join("\n")

/** Reads a file; asks for its passphrase where one is missing, and somebody there. */
const readAsking = (file: string, given: Option.Option<string>) =>
  Effect.flatMap(readPassphrase(given), (passphrase) =>
    Effect.catchIf(
      read(file, passphrase),
      (error) =>
        error._tag === "CredentialsError" &&
        error.reason === "WrongPassphrase" &&
        Option.isNone(passphrase) &&
        isInteractive(),
      () =>
        Prompt.run(Prompt.password({ message: `Passphrase of ${file}` })).pipe(
          Effect.mapError(() => new Failure({ message: "no passphrase was given", exitCode: exitCodes.interrupted })),
          Effect.flatMap((answer) => read(file, Option.some(answer)))
        )
    )
  )

const files = Args.text({ name: "file" }).pipe(
  Args.atLeast(1),
  Args.withDescription("Certificates, keys, chains, revocation lists, PKCS#12: PEM or DER.")
)

const name = Options.text("server-name").pipe(
  Options.withPseudoName("name"),
  Options.optional,
  Options.withDescription("The name by which clients call it. Default: the first in the certificate.")
)

export const show = Command.make(
  "show",
  { files, ca: credentials.ca, crl: credentials.crl, name, passphraseFile: credentials.passphraseFile, json },
  ({ ca, crl, files, json, name, passphraseFile }) =>
    Effect.gen(function* () {
      const all = yield* Effect.forEach(files, (file) =>
        Effect.flatMap(readAsking(file, passphraseFile), (contents) => shownOf(contents, ca, crl, name))
      )
      yield* result(json, all, (all) => all.map(textOf).join("\n\n"))
    })
).pipe(
  Command.withDescription(
    "Shows what is in files, and whether peers would refuse it; with --ca those that trust that CA."
  )
)
