/** The dates of certificates, as this machine's clock has them. */
import { X509Certificate } from "node:crypto"
import * as FileSystem from "@effect/platform/FileSystem"
import * as Effect from "effect/Effect"
import { printable } from "../../shared/text.js"
import type { Check } from "./machine.js"

const dayMillis = 86_400_000

/** A certificate that lives longer than this is warned of when so little of its life is left. */
const lifeLeft = 1 / 3

const dateCheck = (file: string, certificate: X509Certificate, now: number): Check => {
  const name = `${file}: ${printable(certificate.subject.replaceAll("\n", ", "))}`
  const [from, to] = [Date.parse(certificate.validFrom), Date.parse(certificate.validTo)]
  const days = Math.floor(Math.abs(to - now) / dayMillis)
  if (now < from) {
    return {
      name,
      status: "failed",
      value: `not valid before ${new Date(from).toISOString()}`,
      advice: "set the clock right, or wait"
    }
  }
  if (now > to) {
    return { name, status: "failed", value: `expired ${days} days ago`, advice: "effect-transport certs issue" }
  }
  return to - now < (to - from) * lifeLeft
    ? {
        name,
        status: "warning",
        value: `expires in ${days} days`,
        advice: "issue a new one: effect-transport certs issue"
      }
    : { name, status: "ok", value: `expires in ${days} days` }
}

const pemCertificate = /-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----/g

const ofFile = (file: string): Effect.Effect<ReadonlyArray<Check>, never, FileSystem.FileSystem> =>
  Effect.flatMap(FileSystem.FileSystem, (fs) => fs.readFileString(file)).pipe(
    Effect.map((text): ReadonlyArray<Check> => {
      const found = text.match(pemCertificate) ?? []
      return found.length === 0
        ? [{ name: file, status: "failed", value: "holds no certificate in PEM", advice: "give another file" }]
        : found.map((pem) => dateCheck(file, new X509Certificate(pem), Date.now()))
    }),
    Effect.catchAllCause(() =>
      Effect.succeed<ReadonlyArray<Check>>([
        { name: file, status: "failed", value: "can't be read", advice: "effect-transport certs show says why" }
      ])
    )
  )

/** The dates of each certificate in the files. */
export const certificateChecks = (
  files: ReadonlyArray<string>
): Effect.Effect<ReadonlyArray<Check>, never, FileSystem.FileSystem> =>
  Effect.map(Effect.forEach(files, ofFile), (checks) => checks.flat())
