/** `certs revoke`: puts certificates on the list of the CA, and makes the list anew. */
import { X509Certificate } from "node:crypto"
import * as Args from "@effect/cli/Args"
import * as Command from "@effect/cli/Command"
import * as Effect from "effect/Effect"
import { Failure } from "../../shared/failure.js"
import * as Files from "../../shared/files.js"
import { json } from "../../shared/options.js"
import { result } from "../../shared/output.js"
import * as Authority from "./authority.js"
import { caDir } from "./common.js"

const which = Args.text({ name: "certificate" }).pipe(
  Args.repeated,
  Args.withDescription(
    "Files of certificates, or serial numbers. With none the list is made anew, which it must be before it expires."
  )
)

const isSerial = (text: string): boolean => /^[0-9a-f]+$/.test(text)

/** What is meant: a serial number, with or without colons, or the first certificate in a file. */
const serialOf = (text: string, issued: ReadonlySet<string>): Effect.Effect<string, Failure> => {
  const plain = text.replaceAll(":", "").toLowerCase()
  return isSerial(plain) && issued.has(plain)
    ? Effect.succeed(plain)
    : Effect.flatMap(Files.readBytes(text), (bytes) =>
        Effect.try({
          try: () => new X509Certificate(bytes).serialNumber.toLowerCase(),
          catch: () =>
            new Failure({
              message: `${text} holds no certificate`,
              hint: "give the file of a certificate, or a serial number of the CA"
            })
        })
      )
}

export const revoke = Command.make("revoke", { which, caDir, json }, ({ caDir, json, which }) =>
  Effect.gen(function* () {
    const authority = yield* Authority.openLocked(caDir)
    const { index } = authority
    const known = new Set(index.issued.map(({ serial }) => serial))
    const serials = yield* Effect.forEach(which, (text) =>
      Effect.flatMap(serialOf(text, known), (serial) =>
        known.has(serial)
          ? Effect.succeed(serial)
          : new Failure({
              message: `the CA in ${caDir} has not issued ${serial} (${text})`,
              hint: "give the folder of the CA that has, with --ca-dir"
            })
      )
    )
    const now = new Date().toISOString()
    const issued = index.issued.map((entry) =>
      serials.includes(entry.serial) ? { ...entry, revokedAt: entry.revokedAt ?? now } : entry
    )
    yield* Authority.writeIndex(authority, { ...index, issued })
    const revoked = issued.filter(({ revokedAt }) => revokedAt !== undefined)
    const { crl } = Authority.paths(caDir)
    const nextUpdate = new Date(Date.now() + 86_400_000 * 90).toISOString()
    yield* result(json, { crl, nextUpdate, revoked }, () =>
      [
        ...revoked
          .filter(({ serial }) => serials.includes(serial))
          .map(({ serial, subject }) => `revoked ${subject} (${serial})`),
        `wrote ${crl}: ${revoked.length} revoked, current until ${nextUpdate.slice(0, 10)}`,
        "give it to every node (--crl, TRANSPORT_CRL); those that have it refuse what is on it, open connections included"
      ].join("\n")
    )
  }).pipe(Effect.scoped)
).pipe(Command.withDescription("Revokes certificates: they go on the list of the CA. Without any, renews the list."))
