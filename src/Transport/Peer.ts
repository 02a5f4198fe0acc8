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

const hostPort = /^(?:\[([0-9a-fA-F:.%a-z]+)\]|([^\s:[\]/]+)):(\d{1,5})$/

/**
 * Reads `"host:port"`, `"[v6]:port"`, `"unix:path"` or `"unix:///absolute/path"`. The left side says what is wrong.
 *
 * Source: gRPC's naming.md.
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
      : Either.right({ _tag: "Unix", path })
  }
  const match = hostPort.exec(target)
  if (match === null) {
    return Either.left(`${JSON.stringify(target)} is not "host:port", "[v6]:port" or "unix:path"`)
  }
  const port = Number(match[3])
  return port === 0 || port > 65535
    ? Either.left(`port ${port} of ${JSON.stringify(target)} is not between 1 and 65535`)
    : Either.right({ _tag: "Tcp", host: match[1] ?? match[2] ?? "", port })
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
