/**
 * Who is at the other end: addresses, targets and identities.
 *
 * @since 0.1.0
 */
import * as Context from "effect/Context"
import * as Either from "effect/Either"
import type * as Option from "effect/Option"

/**
 * The other end of a call.
 *
 * @since 0.1.0
 * @category models
 */
export interface Peer {
  /** Where the peer is, as text for logs: `"10.0.0.7:40312"`, `"[::1]:40312"`, `"unix:/run/node.sock"`. */
  readonly address: string
  /** Who the peer has proved to be; none on plaintext and in-memory connections. */
  readonly identity: Option.Option<Identity>
}

/**
 * The peer whose request is being handled, for handlers that are not given a `Call`.
 *
 * @since 0.1.0
 * @category tags
 */
export class CurrentPeer extends Context.Tag("effect-transport/Peer/CurrentPeer")<CurrentPeer, Peer>() {}

/**
 * What a verified certificate says of the peer.
 *
 * @since 0.1.0
 * @category models
 */
export interface Identity {
  /** SHA-256 of the leaf certificate's DER, lower case hex without colons. */
  readonly fingerprint: string
  /** The subject's distinguished name, as `CN=node-a`. */
  readonly subject: string
  /** Subject alternative names with their kind: `"DNS:node-a"`, `"IP Address:127.0.0.1"`, `"URI:spiffe://mesh/node-a"`. */
  readonly subjectAltNames: ReadonlyArray<string>
  /** The SPIFFE id: the only URI name, when it has the `spiffe` scheme (X.509-SVID, section 2). */
  readonly spiffeId: Option.Option<string>
  /** When the leaf certificate expires. */
  readonly notAfter: Date
  /**
   * SHA-256 of the DER of the CA that the certificate was verified to, lower case hex without colons. None where no chain
   * is verified: with pins of the mode `instead`, and for the certificate of this side.
   */
  readonly trustAnchor: Option.Option<string>
}

/**
 * Where a listener can be reached.
 *
 * @since 0.1.0
 * @category models
 */
export interface Address {
  /** The host as bound; empty for a unix socket. */
  readonly host: string
  /** The port that the system chose, or that was asked for; 0 for a unix socket. */
  readonly port: number
  /** The path of a unix socket. */
  readonly path?: string | undefined
}

/**
 * What a client connects to.
 *
 * @since 0.1.0
 * @category models
 */
export type Target =
  | { readonly _tag: "Tcp"; readonly host: string; readonly port: number }
  | { readonly _tag: "Unix"; readonly path: string }

const scheme = /^[a-z][a-z0-9+.-]*:\/\//i
const hostPort = /^(.*):([0-9]+)$/
/** `sun_path` of Linux, without the byte that ends it (unix(7)). What is longer would be cut, and name another socket. */
const maxPathBytes = 107
/** RFC 4007, section 11.2. */
const bracketed = /^\[([0-9a-f:.]+)(?:%[\w.~-]+)?\]$/i
const isUnspaced = /^[^\s\p{Cc}]*$/u

/**
 * A name as resolvers and certificates know it: in lower case, with Punycode for what is not ASCII, and an IPv4 address
 * in the four decimal numbers of its short and octal forms. As browsers and curl read it (URL Standard, section 3.5).
 */
const hostOf = (text: string): string | undefined => {
  if (/[%\\/?#@:[\]]/.test(text)) {
    return undefined
  }
  try {
    return new URL(`http://${text}`).hostname
  } catch {
    // Names that are none to a URL may be known to a resolver all the same: `node.1`.
    return /^[\w.-]+$/.test(text) ? text.toLowerCase() : undefined
  }
}

/** What is wrong with a text that is no target. */
const complaint = (target: string): string =>
  !isUnspaced.test(target)
    ? "has white space in it"
    : scheme.test(target)
      ? 'begins with a scheme, where "host:port", "[v6]:port" or "unix:path" is wanted'
      : target.includes("@")
        ? "names a user; who calls is in the credentials"
        : /^[0-9a-f:.]*:[0-9a-f.]*[:%]/i.test(target)
          ? 'has no brackets around its IPv6 address: "[v6]:port"'
          : target.startsWith(":")
            ? "names no host"
            : 'is not "host:port", "[v6]:port" or "unix:path"'

/**
 * Reads `"host:port"`, `"[v6]:port"`, `"[v6%zone]:port"`, `"unix:path"` or `"unix:///absolute/path"`. A host is read as
 * browsers and curl do: `"LOCALHOST"`, `"bücher.example"` and `"127.1"` are `"localhost"`, `"xn--bcher-kva.example"` and
 * `"127.0.0.1"`. A path is taken as it is, with its blanks and percent signs. The left side says what is wrong.
 *
 * Source: gRPC's naming.md; RFC 4007 for zones.
 *
 * @since 0.1.0
 * @category parsing
 */
export const parseTarget = (target: string): Either.Either<Target, string> => {
  if (target.startsWith("unix:")) {
    const path = target.slice("unix:".length).replace(/^\/{3,}/, "/")
    // After two slashes a URI names an authority, and a socket has none.
    return path === "" || path.startsWith("//") || path.includes("\0")
      ? Either.left(`${JSON.stringify(target)} names no socket path`)
      : new TextEncoder().encode(path).length > maxPathBytes
        ? Either.left(`${JSON.stringify(target)} names a path of more than ${maxPathBytes} bytes, which no socket has`)
        : Either.right({ _tag: "Unix", path })
  }
  const wrong = (why = complaint(target)) => Either.left(`${JSON.stringify(target)} ${why}`)
  const match = isUnspaced.test(target) && !scheme.test(target) ? hostPort.exec(target) : null
  const [, text = "", digits = ""] = match ?? []
  const address = bracketed.exec(text)?.[1]
  const host =
    address === undefined ? hostOf(text) : URL.canParse(`http://[${address}]`) ? text.slice(1, -1) : undefined
  if (host === undefined || host === "") {
    return wrong(text.startsWith("[") && text.endsWith("]") ? `has no IPv6 address in ${text}` : undefined)
  }
  const port = Number(digits)
  return port === 0 || port > 65535
    ? Either.left(`port ${digits} of ${JSON.stringify(target)} is not between 1 and 65535`)
    : Either.right({ _tag: "Tcp", host, port })
}

/**
 * The address as a target that `parseTarget` reads.
 *
 * @since 0.1.0
 * @category formatting
 */
export const formatAddress = (address: Address): string =>
  address.path !== undefined
    ? `unix:${address.path}`
    : address.host.includes(":")
      ? `[${address.host}]:${address.port}`
      : `${address.host}:${address.port}`

/**
 * The target as text that `parseTarget` reads.
 *
 * @since 0.1.0
 * @category formatting
 */
export const formatTarget = (target: Target): string =>
  formatAddress(target._tag === "Unix" ? { host: "", port: 0, path: target.path } : target)
