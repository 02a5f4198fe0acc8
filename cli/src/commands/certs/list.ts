/** Reads what `show` tells of a certificate revocation list (RFC 5280, section 5.1). Signatures are for `check`. */
import forge from "node-forge"

/** A revocation list. */
export interface List {
  readonly issuer: string
  readonly thisUpdate: Date
  readonly nextUpdate: Date | undefined
  readonly serials: ReadonlyArray<string>
}

const { asn1 } = forge

const isTime = (node: forge.asn1.Asn1 | undefined): node is forge.asn1.Asn1 =>
  node?.type === asn1.Type.UTCTIME || node?.type === asn1.Type.GENERALIZEDTIME

const children = (node: forge.asn1.Asn1 | undefined): ReadonlyArray<forge.asn1.Asn1> =>
  node !== undefined && typeof node.value !== "string" ? node.value : []

const bytesOf = (node: forge.asn1.Asn1 | undefined): string => (typeof node?.value === "string" ? node.value : "")

const dateOf = (node: forge.asn1.Asn1): Date =>
  node.type === asn1.Type.UTCTIME ? asn1.utcTimeToDate(bytesOf(node)) : asn1.generalizedTimeToDate(bytesOf(node))

const shortNames: { readonly [oid: string]: string } = {
  "2.5.4.3": "CN",
  "2.5.4.6": "C",
  "2.5.4.7": "L",
  "2.5.4.8": "ST",
  "2.5.4.10": "O",
  "2.5.4.11": "OU"
}

const nameOf = (node: forge.asn1.Asn1 | undefined): string =>
  children(node)
    .flatMap(children)
    .map((attribute) => {
      const [type, value] = children(attribute)
      const oid = asn1.derToOid(bytesOf(type))
      return `${shortNames[oid] ?? oid}=${Buffer.from(bytesOf(value), "latin1").toString("utf8")}`
    })
    .join(", ")

/** As Node and OpenSSL write serial numbers: hex without the byte that keeps it positive. */
const serialOf = (node: forge.asn1.Asn1 | undefined): string =>
  Buffer.from(bytesOf(node), "latin1")
    .toString("hex")
    .replace(/^(?:00)+(?=..)/, "")

/** Reads DER. Throws where it is no revocation list. */
export const readList = (der: Uint8Array): List => {
  const [tbs] = children(asn1.fromDer(Buffer.from(der).toString("latin1")))
  const parts = children(tbs)
  const [first] = parts
  // The version may be left out.
  const [, issuer, thisUpdate, next, ...rest] = first?.type === asn1.Type.INTEGER ? parts.slice(1) : parts
  if (!isTime(thisUpdate)) {
    throw new Error("no revocation list")
  }
  const hasNext = isTime(next)
  const [revoked] = hasNext ? rest : [next]
  const entries =
    revoked?.type === asn1.Type.SEQUENCE && revoked.tagClass === asn1.Class.UNIVERSAL ? children(revoked) : []
  return {
    issuer: nameOf(issuer),
    thisUpdate: dateOf(thisUpdate),
    nextUpdate: hasNext ? dateOf(next) : undefined,
    serials: entries.map((entry) => serialOf(children(entry)[0]))
  }
}
