/** Loads revocation lists. */
import type { X509Certificate } from "node:crypto"
import * as Effect from "effect/Effect"
import type { CredentialsError } from "../../Transport/TransportError.js"
import { derOf, failure, type PemSource, placeOf, type Read, read } from "../Pem.js"
import * as Crl from "./crl.js"
import { blocksOf, many } from "./pemBlocks.js"
import * as Steps from "./steps.js"

/** A revocation list, and its place among the sources, for messages. */
export interface List {
  readonly place: string
  readonly pem: string
  readonly read: Crl.Crl
}

/** Reads all lists. Fails with `NotFound` if there is none, and with `Malformed` if one can't be read or used. */
export const loadCrl = (
  sources: PemSource | ReadonlyArray<PemSource>
): Effect.Effect<ReadonlyArray<List>, CredentialsError> =>
  Effect.gen(function* () {
    const lists = yield* Effect.forEach(many(sources), (source) => Effect.flatMap(read("crl", source), revocationLists))
    // Without a list nothing would be revoked.
    return lists.length === 0
      ? yield* failure({ part: "crl" }, "NotFound", "no revocation list is given")
      : lists.flat()
  })

const revocationLists = (source: Read): Effect.Effect<ReadonlyArray<List>, CredentialsError> =>
  Effect.gen(function* () {
    const found = (yield* blocksOf(source, "X509 CRL"))
      .filter(({ label }) => label === "X509 CRL")
      .map(({ text }) => text)
    if (found.length === 0) {
      return yield* failure(source, "Malformed", "holds no revocation list")
    }
    return yield* Effect.forEach(found, (pem, index) =>
      Effect.tryPromise({
        try: async () => {
          const place = `revocation list ${index + 1} of ${found.length} of ${placeOf(source)}`
          return { place, pem, read: await Steps.run(Crl.read(derOf(pem))) }
        },
        catch: (error) => {
          const problem = error instanceof Crl.Unsupported ? error.message : "can't be read"
          return failure(source, "Malformed", `revocation list ${index + 1} of ${found.length} ${problem}`)
        }
      })
    )
  })

/** Warns of a list that none of the CAs of its name has signed. A list of a CA that only peers know may be meant. */
export const warnIfForeign =
  (issuers: ReadonlyArray<X509Certificate>) =>
  ({ place, read }: List) => {
    const named = issuers.filter(read.isNamed)
    return named.length === 0 || named.some(read.isSignedBy)
      ? Effect.void
      : Effect.logWarning(`credentials: ignoring ${place}: the CA of its name has not signed it, or may sign no lists`)
  }
