/** The names that a certificate may carry. */
import { isIP } from "node:net"
import { domainToASCII } from "node:url"
import * as Either from "effect/Either"

const label = /^(?!-)[a-z0-9_-]{1,63}(?<!-)$/

/** A DNS name (the first label may be `*`), in lower case and Punycode, or an IP address. The left says what is wrong. */
export const parseName = (text: string): Either.Either<string, string> => {
  if (isIP(text) !== 0) {
    return Either.right(text)
  }
  const ascii = domainToASCII(text.replace(/\.$/, "")) || text.toLowerCase()
  const labels = ascii.split(".")
  const isName =
    ascii.length <= 253 &&
    labels.every((each, index) => (index === 0 && labels.length > 2 && each === "*") || label.test(each))
  return isName && !/^\d+$/.test(labels.at(-1) ?? "")
    ? Either.right(ascii)
    : Either.left(`${JSON.stringify(text)} is no DNS name and no IP address`)
}

const trustDomain = /^[a-z0-9._-]{1,255}$/
const path = /^(?:\/[A-Za-z0-9._-]+)+$/

/** A SPIFFE trust domain, as `mesh.example`. Source: SPIFFE-ID.md, section 2.1. */
export const parseTrustDomain = (text: string): Either.Either<string, string> => {
  const domain = text.replace(/^spiffe:\/\//, "")
  return trustDomain.test(domain)
    ? Either.right(domain)
    : Either.left(`${JSON.stringify(text)} is no trust domain: write mesh.example, in lower case`)
}

/** A SPIFFE id, or the path of one in the trust domain of the CA. Source: SPIFFE-ID.md, section 2. */
export const parseSpiffeId = (text: string, domain: string | undefined): Either.Either<string, string> => {
  if (text.startsWith("/") && domain === undefined) {
    return Either.left(`${JSON.stringify(text)} needs a CA with a trust domain: write spiffe://mesh.example${text}`)
  }
  const [, found = "", rest = ""] =
    /^spiffe:\/\/([^/]*)(\/.*)?$/.exec(text.startsWith("/") ? `spiffe://${domain}${text}` : text) ?? []
  const dots = rest.split("/").some((segment) => segment === "." || segment === "..")
  return trustDomain.test(found) && path.test(rest) && !dots && found.length + rest.length <= 2000
    ? Either.right(`spiffe://${found}${rest}`)
    : Either.left(`${JSON.stringify(text)} is no SPIFFE id: write spiffe://mesh.example/node-a`)
}
