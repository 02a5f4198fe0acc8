/**
 * What this library would say to a certificate, without a connection: the rules by which every wire verifies its peers, for
 * tools and tests.
 *
 * @since 0.1.0
 */
import * as Either from "effect/Either"
import type { Tls } from "../Credentials/internal/material.js"
import type { Authorizer } from "../Transport/Authorizer.js"
import type { Identity } from "../Transport/Peer.js"
import type { HandshakeFailed } from "../Transport/TransportError.js"
import * as PeerVerification from "./PeerVerification.js"

interface Common {
  /** DER, the leaf first; empty for a peer that presents no certificate. What comes after the eighth is not looked at. */
  readonly chain: ReadonlyArray<Uint8Array>
  /** The credentials of the side that verifies: its CAs, trust domains, revocation lists and pins. */
  readonly material: Tls
  /** Who presents the chain, for errors. Default: `the peer`. */
  readonly peer?: string | undefined
  /** The time of verification. Default: now. */
  readonly at?: Date | undefined
}

/**
 * A chain that a server presents to a client.
 *
 * @since 0.1.0
 * @category models
 */
export interface Server extends Common {
  readonly peerIs: "server"
  /** The DNS name or IP address that the certificate must carry. */
  readonly nameWanted: string
}

/**
 * A chain that a client presents to a listener.
 *
 * @since 0.1.0
 * @category models
 */
export interface Client extends Common {
  readonly peerIs: "client"
  /** Who may connect among those who have proved who they are. Default: all. */
  readonly authorize?: Authorizer | undefined
}

/**
 * A peer that would be let in.
 *
 * @since 0.1.0
 * @category models
 */
export interface Accepted {
  readonly identity: Identity
  /** Until when that holds if nothing else changes: the first of the certificates and lists on the way expires. */
  readonly validUntil: Date
}

/**
 * Whether the peer would be let in, as every wire decides it: signatures, dates, purpose, name, revocation, pins and
 * authorizer, in this library's own code (RFC 5280, section 6.1, without policies), as for an open connection that is
 * verified again. The left is the error that the side which verifies would raise; of several reasons it has the first. What
 * OpenSSL and BoringSSL refuse beyond that in a handshake, as keys that are too short, is not asked.
 *
 * @since 0.1.0
 * @category verification
 */
export const verify = (presented: Server | Client): Either.Either<Accepted, HandshakeFailed> => {
  const { at, chain, material, peer = "the peer" } = presented
  const policy: PeerVerification.Policy =
    presented.peerIs === "server"
      ? { peerIs: "server", material, nameWanted: presented.nameWanted, target: peer }
      : { peerIs: "client", material, authorize: presented.authorize }
  return Either.mapBoth(PeerVerification.verify({ chain, engine: "NotAsked" }, policy, (at ?? new Date()).getTime()), {
    onLeft: (rejection) =>
      PeerVerification.rejected(
        { chain, material, peer },
        rejection,
        presented.peerIs === "server" ? presented.nameWanted : undefined
      ),
    onRight: ({ identity, validUntil }) => ({ identity, validUntil: new Date(validUntil) })
  })
}
