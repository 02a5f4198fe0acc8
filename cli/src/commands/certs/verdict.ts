/** What peers would say to a chain of certificates, by the library's own rules. */
import type { X509Certificate } from "node:crypto"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import { Credentials, DevCa, type TransportError, Verification } from "effect-transport"
import { materialOf } from "./contents.js"
import type { Description } from "./describe.js"

/** Whether one kind of peer lets the holder in. */
export interface Verdict {
  /** What the holder would be. */
  readonly as: "client" | "server"
  /** Who would verify it. */
  readonly by: string
  readonly accepted: boolean
  /** Why not: a reason of `HandshakeFailed`. */
  readonly reason?: TransportError.HandshakeFailed["reason"]
  readonly message: string
  /** What to do about it. */
  readonly hint?: string
  /** ISO 8601: until when it is accepted. */
  readonly validUntil?: string
}

/** What was checked, and what came of it. */
export interface Checked {
  readonly checked: string
  readonly wire?: string
  /** The TLS version and cipher, where the wire tells. */
  readonly protocol?: string
  readonly chain: ReadonlyArray<Description>
  readonly verdicts: ReadonlyArray<Verdict>
}

const hints: { readonly [reason in TransportError.HandshakeFailed["reason"]]: string } = {
  UntrustedIssuer: "give peers the CA that has issued it, and put intermediates into the chain",
  Expired: "issue a new one: effect-transport certs issue",
  NotYetValid: "wait, or set the clock right",
  NameMismatch: "issue one with the name by which it is called",
  PinMismatch: "have its pin added: effect-transport certs pin",
  Revoked: "issue a new one: effect-transport certs issue",
  InvalidPurpose: "issue one for this side of TLS: effect-transport certs issue --usage both",
  BadCertificate: "issue a new one; where lists are checked, renew them: effect-transport certs revoke",
  CertificateRequired: "present a certificate",
  NotAuthorized: "have it issued by the CA of its trust domain",
  NoCommonProtocol: "check the wire and the port",
  Refused: "look at the peer's log"
}

/** The words of the library's message that say why. */
const why = ({ message }: TransportError.HandshakeFailed): string => message.replace(/^.*refused by [a-z ]+: /, "")

/** The error of a refusal as a verdict. */
export const refused = (
  as: Verdict["as"],
  by: string,
  error: TransportError.HandshakeFailed,
  more: ReadonlyArray<string> = []
): Verdict => ({
  as,
  by,
  accepted: false,
  reason: error.reason,
  message: [`${error.reason}: ${why(error)}`, ...more].join("; and then "),
  hint: hints[error.reason]
})

/** Names that the certificate carries, for servers. */
export const namesOf = (leaf: X509Certificate): ReadonlyArray<string> =>
  [...(leaf.subjectAltName ?? "").matchAll(/(?:DNS|IP Address):([^,"]+)/g)].map(([, name = ""]) => name)

/** A name that it surely carries: for a wildcard one below it. */
const someName = (leaf: X509Certificate): string => (namesOf(leaf)[0] ?? "").replace(/^\*/, "node")

/** Whom a chain is presented to. */
export interface Verifier {
  readonly material: Credentials.Tls
  /** How the verifier is called: `whoever trusts ca.crt`. */
  readonly name: string
  /** The name that clients want; default one of the certificate's. */
  readonly nameWanted?: string | undefined
  readonly as: ReadonlyArray<Verdict["as"]>
}

type Question = Pick<Verifier, "material"> & { readonly chain: ReadonlyArray<Uint8Array>; readonly at?: Date }

const ask = (as: Verdict["as"], question: Question, nameWanted: string) =>
  Verification.verify(
    as === "server" ? { ...question, peerIs: "server", nameWanted } : { ...question, peerIs: "client" }
  )

/** What else is wrong with a certificate whose dates are, as it would be found at a time when they were not. */
const further = (as: Verdict["as"], question: Question, nameWanted: string, leaf: X509Certificate) => {
  const at = new Date((Date.parse(leaf.validFrom) + Date.parse(leaf.validTo)) / 2)
  return Either.match(ask(as, { ...question, at }, nameWanted), {
    onLeft: (error) =>
      error.reason === "UntrustedIssuer" || error.reason === "BadCertificate" ? [] : [`${error.reason}: ${why(error)}`],
    onRight: () => []
  })
}

/** The verdicts on a chain, the leaf first. */
export const verdictsOn = (chain: ReadonlyArray<X509Certificate>, verifier: Verifier): ReadonlyArray<Verdict> => {
  const [leaf] = chain
  if (leaf === undefined) {
    return []
  }
  const nameWanted = verifier.nameWanted ?? someName(leaf)
  const question = { material: verifier.material, chain: chain.map(({ raw }) => raw) }
  return verifier.as.map((as) => {
    const by = as === "server" ? `clients that call it ${nameWanted === "" ? "by any name" : nameWanted}` : "listeners"
    return Either.match(ask(as, question, nameWanted), {
      onLeft: (error) =>
        refused(
          as,
          `${by} (${verifier.name})`,
          error,
          error.reason === "Expired" || error.reason === "NotYetValid" ? further(as, question, nameWanted, leaf) : []
        ),
      onRight: ({ validUntil }) => ({
        as,
        by: `${by} (${verifier.name})`,
        accepted: true,
        message: `accepted until ${validUntil.toISOString().slice(0, 10)}`,
        validUntil: validUntil.toISOString()
      })
    })
  })
}

/**
 * The verdicts without knowing whom peers trust: a stranger's CA is the last thing that the library looks at, so that who is
 * refused for nothing else is accepted by whoever trusts the issuer.
 */
export const verdictsAlone = (chain: ReadonlyArray<X509Certificate>): Effect.Effect<ReadonlyArray<Verdict>> =>
  Effect.gen(function* () {
    const last = chain.at(-1)
    const stranger = yield* DevCa.make({ commonName: "effect-transport stranger" })
    const material = yield* materialOf(Credentials.layerPem({ ca: stranger.ca }))
    const name = `whoever trusts ${(last?.issuer ?? "").replaceAll("\n", ", ")}`
    return verdictsOn(chain, { material, name, as: ["server", "client"] }).map((verdict) =>
      verdict.reason === "UntrustedIssuer"
        ? { as: verdict.as, by: verdict.by, accepted: true, message: "accepted" }
        : verdict
    )
  }).pipe(Effect.orDie)

/** The material of a verifier that trusts what is in the file. */
export const trusting = (
  ca: string,
  crl: string | undefined
): Effect.Effect<Credentials.Tls, TransportError.CredentialsError> =>
  materialOf(Credentials.layerPem({ ca: { file: ca }, ...(crl === undefined ? {} : { crl: { file: crl } }) })).pipe(
    Effect.catchTag("Failure", Effect.die)
  )
