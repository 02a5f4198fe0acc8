/** The name that a server's certificate must carry, and the check for it. */
import { X509Certificate } from "node:crypto"
import * as net from "node:net"
import * as tls from "node:tls"
import { domainToASCII } from "node:url"
import type { Target } from "../Transport/Peer.js"
import type { TargetNames } from "../Transport/TransportService.js"

const mapped = /^::ffff:(\d+\.\d+\.\d+\.\d+)$/i

/**
 * A name or an address as SNI and certificates have it: without the dot that ends a name which is complete (RFC 6066,
 * section 3), in lower case and Punycode; an address without its zone, which only this machine knows.
 */
export const canonical = (name: string): string => {
  if (net.isIP(name) !== 0) {
    const address = name.replace(/%.*$/, "")
    return mapped.exec(address)?.[1] ?? address
  }
  const bare = name.replace(/\.$/, "")
  return /^[^/:@%]+$/.test(bare) ? domainToASCII(bare) || bare.toLowerCase() : bare.toLowerCase()
}

/**
 * The name that a server's certificate must carry: that of the endpoint, else that of the transport's options, else the
 * name that the address was found by, else the host of the target.
 */
export const wanted = (serverName: string | undefined, target: Target, names: TargetNames = {}): string =>
  canonical(names.serverName ?? serverName ?? names.hostName ?? (target._tag === "Unix" ? "localhost" : target.host))

/**
 * The error of a certificate (DER) that does not carry the name; undefined if it does. OpenSSL compares addresses:
 * `tls.checkServerIdentity` of Node 22.23 takes no IPv6 address for one (test: "by address or name").
 */
export const check = (nameWanted: string, der: Buffer): Error | undefined => {
  try {
    const certificate = new X509Certificate(der)
    if (net.isIP(nameWanted) === 0) {
      return tls.checkServerIdentity(nameWanted, certificate.toLegacyObject())
    }
    if (certificate.checkIP(nameWanted) !== undefined) {
      return undefined
    }
  } catch {
    // Names that can't be read don't match.
  }
  return Object.assign(new Error("wrong name"), { code: "ERR_TLS_CERT_ALTNAME_INVALID" })
}
