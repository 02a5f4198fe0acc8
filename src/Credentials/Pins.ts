/**
 * Pins: the certificates or keys that a peer must have, in addition to a chain that leads to a trusted CA or instead of
 * one.
 *
 * @since 0.1.0
 */
import { createHash, createPublicKey, X509Certificate } from "node:crypto"
import { isIP, SocketAddress } from "node:net"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Peer from "../Transport/Peer.js"
import type { CredentialsError } from "../Transport/TransportError.js"
import { blocks, failure, type PemSource, read } from "./Pem.js"
import * as ServerName from "./ServerName.js"

/**
 * One certificate, or one key in whatever certificate.
 *
 * @since 0.1.0
 * @category models
 */
export interface Pin {
  /** What is pinned: the leaf certificate, or its SubjectPublicKeyInfo, which survives a renewal with the same key. */
  readonly kind: "certificate" | "publicKey"
  /** SHA-256 of its DER, lower case hex without colons. */
  readonly sha256: string
}

/**
 * What the layers of `Credentials` take: pins, as such or as text that `parse` reads. A peer has to match one pin of the
 * set that is for it, so that a set of the old and the new one spans a rotation.
 *
 * @since 0.1.0
 * @category models
 */
export interface PinsOptions {
  /**
   * - `additional`, the default: the chain and the name are verified as ever, and the pins then.
   * - `instead`: a pin is the only trust. Neither chain nor name nor purpose of the certificate are looked at; its
   *   validity still is. What a certificate says of its holder's names is believed only where the certificate itself is
   *   pinned: who is known by the key alone can write any name into a certificate of his own.
   */
  readonly mode?: "additional" | "instead" | undefined
  /** For every peer that has no set of its own. */
  readonly all?: ReadonlyArray<Pin | string> | undefined
  /**
   * For single peers. A client looks for the name that it wants and for the target as `"host:port"`; a listener for
   * each name in the certificate that it is shown: DNS names, IP addresses and URIs.
   */
  readonly byName?: { readonly [name: string]: ReadonlyArray<Pin | string> } | undefined
}

/**
 * Pins that have been read.
 *
 * @since 0.1.0
 * @category models
 */
export interface Pins {
  readonly mode: "additional" | "instead"
  readonly all: ReadonlyArray<Pin>
  /** By name in lower case, and addresses in their shortest form. */
  readonly byName: ReadonlyMap<string, ReadonlyArray<Pin>>
}

const text = /^(certificate|publicKey):([0-9a-fA-F]{64}|(?:[0-9a-fA-F]{2}:){31}[0-9a-fA-F]{2})$/

/**
 * Reads `"certificate:<hex>"` or `"publicKey:<hex>"`, with or without colons in the hex. The left side says what is
 * wrong.
 *
 * @since 0.1.0
 * @category parsing
 */
export const parse = (pin: string): Either.Either<Pin, string> => {
  const [, kind, hex = ""] = text.exec(pin.trim()) ?? []
  return kind === "certificate" || kind === "publicKey"
    ? Either.right({ kind, sha256: hex.replaceAll(":", "").toLowerCase() })
    : Either.left(`${JSON.stringify(pin.slice(0, 100))} is not "certificate:" or "publicKey:" and 64 hex digits`)
}

/**
 * The pin as text that `parse` reads.
 *
 * @since 0.1.0
 * @category formatting
 */
export const format = (pin: Pin): string => `${pin.kind}:${pin.sha256}`

const sha256 = (der: Uint8Array): string => createHash("sha256").update(der).digest("hex")

/** @internal */
export const ofCertificate = (certificate: X509Certificate, kind: Pin["kind"]): Pin => ({
  kind,
  sha256: sha256(
    kind === "certificate" ? certificate.raw : certificate.publicKey.export({ type: "spki", format: "der" })
  )
})

const compute = (source: PemSource, kind: Pin["kind"]): Effect.Effect<Pin, CredentialsError> =>
  Effect.flatMap(read("pins", source), (source) => {
    const block = blocks(source.text)?.find(
      ({ label }) => label === "CERTIFICATE" || (label === "PUBLIC KEY" && kind === "publicKey")
    )
    return block === undefined
      ? Effect.fail(failure(source, "Malformed", "holds nothing in PEM that can be pinned"))
      : Effect.try({
          try: (): Pin =>
            block.label === "PUBLIC KEY"
              ? { kind, sha256: sha256(createPublicKey(block.text).export({ type: "spki", format: "der" })) }
              : ofCertificate(new X509Certificate(block.text), kind),
          catch: () => failure(source, "Malformed", `the ${block.label.toLowerCase()} in it can't be read`)
        })
  })

/**
 * The pin of the first certificate in a PEM text or file.
 *
 * @since 0.1.0
 * @category constructors
 */
export const certificate = (source: PemSource): Effect.Effect<Pin, CredentialsError> => compute(source, "certificate")

/**
 * The pin of the key of the first certificate, or of the first public key, in a PEM text or file.
 *
 * @since 0.1.0
 * @category constructors
 */
export const publicKey = (source: PemSource): Effect.Effect<Pin, CredentialsError> => compute(source, "publicKey")

const malformed = (problem: string): CredentialsError => failure({ part: "pins" }, "Malformed", problem)

const toPin = (pin: Pin | string): Effect.Effect<Pin, CredentialsError> =>
  Effect.mapError(Either.mapLeft(parse(typeof pin === "string" ? pin : format(pin)), malformed), (error) => error)

/**
 * Checks pins. A set without a pin is refused: it would shut out everybody, or nobody.
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = (options: PinsOptions): Effect.Effect<Pins, CredentialsError> =>
  Effect.gen(function* () {
    const sets = Object.entries(options.byName ?? {})
    const all = yield* Effect.forEach(options.all ?? [], toPin)
    const byName = yield* Effect.forEach(sets, ([name, pins]) =>
      Effect.map(Effect.forEach(pins, toPin), (pins) => [normalName(name), pins] as const)
    )
    const empty = byName.find(([, pins]) => pins.length === 0)
    if (empty !== undefined || (all.length === 0 && byName.length === 0)) {
      const whose = empty === undefined ? "" : ` for ${JSON.stringify(empty[0])}`
      return yield* failure({ part: "pins" }, "NotFound", `no pin is given${whose}`)
    }
    return { mode: options.mode ?? "additional", all, byName: new Map(byName) }
  })

/** @internal */
export const normalName = (name: string): string => {
  const target = Peer.parseTarget(name)
  const plain =
    Either.isRight(target) && target.right._tag === "Tcp"
      ? Peer.formatTarget(target.right).toLowerCase()
      : ServerName.canonical(name)
  const family = isIP(plain)
  return family === 0 ? plain : new SocketAddress({ address: plain, family: family === 6 ? "ipv6" : "ipv4" }).address
}
