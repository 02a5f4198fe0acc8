/** `certs issue`: a certificate and its key, in two files. */
import { X509Certificate } from "node:crypto"
import { join } from "node:path"
import * as Args from "@effect/cli/Args"
import * as Command from "@effect/cli/Command"
import * as HelpDoc from "@effect/cli/HelpDoc"
import * as Options from "@effect/cli/Options"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Redacted from "effect/Redacted"
import type { DevCa } from "effect-transport"
import { exitCodes, Failure } from "../../shared/failure.js"
import * as Files from "../../shared/files.js"
import { duration, json } from "../../shared/options.js"
import { result } from "../../shared/output.js"
import * as Authority from "./authority.js"
import { caDir, force, pinOf, validFor } from "./common.js"
import { parseName, parseSpiffeId } from "./names.js"

const names = Args.text({ name: "name" }).pipe(
  Args.mapEffect((text) => Effect.mapError(parseName(text), (problem) => HelpDoc.p(`name: ${problem}`))),
  Args.atLeast(1),
  Args.withDescription("The DNS names and IP addresses by which the node is called; the first names the files too.")
)

const spiffeId = Options.text("spiffe-id").pipe(
  Options.withPseudoName("spiffe://mesh.example/node-a"),
  Options.optional,
  Options.withDescription("A SPIFFE id, or its path alone where the CA has a trust domain.")
)

const usage = Options.choice("usage", ["both", "client", "server"]).pipe(
  Options.withDefault("both" as "both" | "client" | "server"),
  Options.withDescription("The sides of TLS that it is for. Default: both, as nodes that call each other need.")
)

const out = Options.text("out").pipe(
  Options.withPseudoName("folder"),
  Options.withDefault("."),
  Options.withDescription("The folder for the two files. Default: this one.")
)

const life = validFor(duration("valid-for"), Duration.days(90), "90 days")

/** No certificate outlives its CA: from that day on it would be worth nothing. */
const until = (authority: Authority.Authority, validFor: Duration.Duration): Effect.Effect<Date, Failure> => {
  const end = Date.parse(authority.certificate.validTo)
  return end <= Date.now()
    ? Effect.fail(
        new Failure({
          message: `the CA in ${authority.dir} has expired`,
          hint: "make another: effect-transport certs new-ca --force"
        })
      )
    : Effect.succeed(new Date(Math.min(end, Date.now() + Duration.toMillis(validFor))))
}

/** `*.example.com` is no good name of a file on every system. */
const fileName = (name: string): string => name.replace(/^\*/, "_").replaceAll(":", "-")

const entryOf = ({ cert }: DevCa.Issued, spiffe: string | undefined, names: ReadonlyArray<string>): Authority.Entry => {
  const leaf = new X509Certificate(cert)
  return {
    serial: leaf.serialNumber.toLowerCase(),
    subject: leaf.subject,
    names: [...names, ...(spiffe === undefined ? [] : [spiffe])],
    fingerprint: leaf.fingerprint256.replaceAll(":", "").toLowerCase(),
    issuedAt: new Date().toISOString(),
    notAfter: new Date(leaf.validTo).toISOString()
  }
}

export const issue = Command.make(
  "issue",
  { names, caDir, spiffeId, usage, validFor: life, out, force, json },
  ({ caDir, force, json, names, out, spiffeId, usage, validFor }) =>
    Effect.gen(function* () {
      const authority = yield* Authority.openLocked(caDir)
      const spiffe = yield* Effect.forEach(Option.toArray(spiffeId), (id) =>
        Effect.mapError(
          parseSpiffeId(id, authority.index.trustDomain),
          (message) => new Failure({ message, hint: "certs issue --help has examples", exitCode: exitCodes.usage })
        )
      )
      const [id] = spiffe
      const [first = "node"] = names
      const issued = yield* authority.ca.issue({
        names,
        ...(id === undefined ? {} : { spiffeId: id }),
        usages: usage === "both" ? ["client", "server"] : [usage],
        notAfter: yield* until(authority, validFor)
      })
      const entry = entryOf(issued, id, names)
      const files = { cert: join(out, `${fileName(first)}.crt`), key: join(out, `${fileName(first)}.key`) }
      yield* Files.makeFolder(out)
      yield* Files.writeAll(
        [
          { path: files.key, data: Redacted.value(issued.key), mode: Files.modes.secret },
          { path: files.cert, data: issued.cert, mode: Files.modes.public }
        ],
        force
      )
      const { issued: folder } = Authority.paths(caDir)
      yield* Files.write(
        { path: join(folder, `${entry.serial}.crt`), data: issued.cert, mode: Files.modes.public },
        false
      )
      yield* Authority.writeIndex(authority, { ...authority.index, issued: [...authority.index.issued, entry] })
      const ca = Authority.paths(caDir).cert
      yield* result(
        json,
        { ...files, ca, ...entry, usage, pin: yield* pinOf(issued.cert) },
        ({ cert, key, names, notAfter, pin, serial, subject }) =>
          [
            `issued ${subject} for ${names.join(", ")}, valid until ${notAfter.slice(0, 10)}`,
            `  ${cert}   certificate ${serial}`,
            `  ${key}   its key`,
            `  --pin ${pin}`,
            `use it: --cert ${cert} --key ${key} --ca ${ca}`
          ].join("\n")
      )
    }).pipe(Effect.scoped)
).pipe(Command.withDescription("Issues a certificate for names and a SPIFFE id, with a new key."))
