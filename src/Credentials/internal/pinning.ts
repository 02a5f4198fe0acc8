/** Whether a certificate is among those pinned. */
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
    // A key of a kind that OpenSSL does not know.
    return false
  }
}

/** Whether the certificate is for the name; on the safe side, for a name that it claims brings a duty along. */
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

/** The sets of which each must have a pin that matches. */
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

/** Who is known by a key alone. */
const unnamed = (identity: Identity): Identity => ({ ...identity, subjectAltNames: [], spiffeId: Option.none() })

/**
 * The identity of a certificate that the pins let pass, nothing where they don't. `wanted` are the names that a client
 * looks for; a listener wants none.
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

/** The same where there may be no pins. */
export const identityOf = (
  pins: Pins.Pins | undefined,
  certificate: X509Certificate,
  wanted: ReadonlyArray<string> | undefined
): Option.Option<Identity> =>
  pins === undefined ? Option.some(Certificate.identityOf(certificate)) : check(pins, certificate, wanted)

/** Both pins of a certificate that was refused, for whoever has to find out why. */
export const seen = (certificate: X509Certificate): string => {
  try {
    return `${Pins.format(Pins.ofCertificate(certificate, "certificate"))}, ${Pins.format(Pins.ofCertificate(certificate, "publicKey"))}`
  } catch {
    return Pins.format(Pins.ofCertificate(certificate, "certificate"))
  }
}
