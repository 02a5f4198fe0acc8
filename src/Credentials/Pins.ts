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
 * The pins option of the layers of `Credentials`, as pins or as text that `parse` reads. A peer has to match one pin of
 * the set that is for it, so that a set of the old and the new pin spans a rotation.
 *
 * @since 0.1.0
 * @category models
 */
export interface PinsOptions {
  /**
   * - `additional`, the default: the pins are checked after the chain and the name.
   * - `instead`: a pin is the only trust. Chain, name and purpose of the certificate are ignored; its validity is not. The
   *   names in a certificate count only if the certificate itself is pinned: a peer that is known by its key alone can
   * write
   *   any name into a certificate of its own.
   */
  readonly mode?: "additional" | "instead" | undefined
  /** The set for every peer that has none of its own. */
  readonly all?: ReadonlyArray<Pin | string> | undefined
  /**
   * Sets for single peers. A client looks up the name that it wants and the target as `"host:port"`; a listener looks
   * up each name in the certificate that is presented to it: DNS names, IP addresses and URIs.
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
 * Reads `"certificate:<hex>"` or `"publicKey:<hex>"`, with or without colons in the hex. The left says what is wrong.
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
 * The pin of the first certificate in a PEM text or file. Fails with `CredentialsError` if the file can't be read
 * (`NotFound`, `AccessDenied`) or holds no certificate (`Malformed`).
 *
 * @since 0.1.0
 * @category constructors
 */
export const certificate = (source: PemSource): Effect.Effect<Pin, CredentialsError> => compute(source, "certificate")

/**
 * The pin of the key of the first certificate, or of the first public key, in a PEM text or file. Fails as
 * `certificate` does.
 *
 * @since 0.1.0
 * @category constructors
 */
export const publicKey = (source: PemSource): Effect.Effect<Pin, CredentialsError> => compute(source, "publicKey")

const malformed = (problem: string): CredentialsError => failure({ part: "pins" }, "Malformed", problem)

const toPin = (pin: Pin | string): Effect.Effect<Pin, CredentialsError> =>
  Effect.mapError(Either.mapLeft(parse(typeof pin === "string" ? pin : format(pin)), malformed), (error) => error)

/**
 * Checks pins. Fails with `CredentialsError`: `Malformed` if one can't be read, `NotFound` if a set is empty, which
 * would shut out everybody or nobody.
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
