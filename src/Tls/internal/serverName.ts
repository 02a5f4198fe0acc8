import { X509Certificate } from "node:crypto"
import * as net from "node:net"
import * as tls from "node:tls"

/**
 * What speaks against a server's certificate for this name. Addresses are OpenSSL's to compare: `tls.checkServerIdentity`
 * of Node 22.23 takes no IPv6 address for one (test: "by address or name").
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
