/** Checks a certificate against pins. */
import type { X509Certificate } from "node:crypto"
import { isIP } from "node:net"
import * as Option from "effect/Option"
import type { Identity } from "../../Transport/Peer.js"
import * as Pins from "../Pins.js"
import * as Certificate from "./certificate.js"

const matches = (pin: Pins.Pin, certificate: X509Certificate): boolean => {
  try {
    return Pins.ofCertificate(certificate, pin.kind).sha256 === pin.sha256
  } catch {
    // OpenSSL doesn't know the kind of the key.
    return false
  }
}

/** Whether the certificate claims the name. In doubt yes: who claims a name with pins must have one of them. */
const claims = (certificate: X509Certificate, identity: Identity, name: string): boolean => {
  try {
    return name.includes("://")
      ? identity.subjectAltNames.some((each) => each.toLowerCase() === `uri:${name}`)
      : isIP(name) !== 0
        ? certificate.checkIP(name) !== undefined
        : certificate.checkHost(name) !== undefined
  } catch {
    return false
  }
}

/** The sets of pins of which each must have one that matches. */
const setsFor = (
  { all, byName, mode }: Pins.Pins,
  certificate: X509Certificate,
  wanted: ReadonlyArray<string> | undefined
): ReadonlyArray<ReadonlyArray<Pins.Pin>> => {
  if (wanted !== undefined) {
    const own = wanted.flatMap((name) => {
      const set = byName.get(Pins.normalName(name))
      return set === undefined ? [] : [set]
    })
    return own.length === 0 && (all.length > 0 || mode === "instead") ? [all] : own
  }
  const identity = Certificate.identityOf(certificate)
  const claimed = [...byName].filter(([name]) => claims(certificate, identity, name)).map(([, set]) => set)
  if (mode === "instead") {
    return [...claimed, [...all, ...[...byName.values()].flat()]]
  }
  return claimed.length === 0 && all.length > 0 ? [all] : claimed
}

/** The identity of a peer that is known by its key alone: it could have written any name into its certificate. */
const unnamed = (identity: Identity): Identity => ({ ...identity, subjectAltNames: [], spiffeId: Option.none() })

/**
 * The identity in a certificate that matches the pins; none if it doesn't match. `wanted` are the names that a client
 * looks for; a listener has none.
 */
export const check = (
  pins: Pins.Pins,
  certificate: X509Certificate,
  wanted: ReadonlyArray<string> | undefined
): Option.Option<Identity> => {
  const sets = setsFor(pins, certificate, wanted)
  const identity = Certificate.identityOf(certificate)
  if (!sets.every((set) => set.some((pin) => matches(pin, certificate)))) {
    return Option.none()
  }
  const isVouchedFor =
    pins.mode === "additional" ||
    sets.some((set) => set.some((pin) => pin.kind === "certificate" && matches(pin, certificate)))
  return Option.some(isVouchedFor ? identity : unnamed(identity))
}

/** The same if there may be no pins, which every certificate matches. */
export const identityOf = (
  pins: Pins.Pins | undefined,
  certificate: X509Certificate,
  wanted: ReadonlyArray<string> | undefined
): Option.Option<Identity> =>
  pins === undefined ? Option.some(Certificate.identityOf(certificate)) : check(pins, certificate, wanted)

/** Both pins of a certificate that was rejected, for the message: they tell what to pin. */
export const seen = (certificate: X509Certificate): string => {
  try {
    return `${Pins.format(Pins.ofCertificate(certificate, "certificate"))}, ${Pins.format(Pins.ofCertificate(certificate, "publicKey"))}`
  } catch {
    return Pins.format(Pins.ofCertificate(certificate, "certificate"))
  }
}
