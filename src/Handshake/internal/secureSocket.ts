/** A TLS socket whose handshake is over, with what either side said after it. */
import type * as net from "node:net"
import type * as tls from "node:tls"
import * as Option from "effect/Option"
import type { Tls } from "../../Credentials/internal/material.js"
import { codeOf } from "../../Credentials/internal/nodeError.js"
import * as Boundary from "../../Transport/internal/boundary.js"
import type { Identity } from "../../Transport/Peer.js"
import type { HandshakeFailed, HandshakeReason, Unavailable } from "../../Transport/TransportError.js"
import type { Verified } from "../PeerVerification.js"
import * as TlsAlert from "../TlsAlert.js"
import { damaged, refusedByPeer } from "./refusals.js"

/** What a peer was verified by, to verify it again. */
export interface Evidence {
  readonly material: Tls
  /** DER, the leaf first. */
  readonly chain: ReadonlyArray<Uint8Array>
  /** Until when the verification holds if nothing else changes, in milliseconds since 1970. */
  readonly validUntil: number
}

/** A socket whose handshake is over and whose peer has been verified. */
export interface SecureSocket {
  /** The TLS socket: what is written to it goes out encrypted. It never emits an `error` that nobody listens to. */
  readonly socket: net.Socket
  /** Who the peer has proved to be; none only where a listener does not ask for a certificate. */
  readonly identity: Option.Option<Identity>
  /** What the peer was verified by; none only where a listener does not ask for a certificate. */
  readonly evidence: Option.Option<Evidence>
  /** The error of bytes that were changed on their way, if either side has found any. */
  readonly damage: () => Option.Option<Unavailable>
  /**
   * The refusal that came after the handshake. In TLS 1.3 a client is through before the server has looked at its
   * certificate: a server that does not accept it sends its alert then, just before it hangs up.
   */
  readonly refusal: () => Option.Option<HandshakeFailed>
  /** The error of a refusal that the peer has sent in the transport's own protocol: it is about our certificate. */
  readonly refusedWith: (reason: HandshakeReason) => HandshakeFailed
}

/** A verified peer and the chain that it presented. */
export interface VerifiedChain extends Verified {
  readonly chain: ReadonlyArray<Uint8Array>
}

/** Counts what was thrown during a handshake, and logs it where there is a boundary to do so. */
export const report = (
  boundary: Boundary.Boundary | undefined,
  door: Boundary.Door,
  peer: string,
  cause: unknown
): void => (boundary === undefined ? Boundary.count(door) : boundary.caught(door, peer, cause))

/** A property that Node's types don't have. */
export const get = (object: unknown, key: string): unknown =>
  typeof object === "object" && object !== null ? Reflect.get(object, key) : undefined

/** Whether the two sides agreed on one of the protocols. */
export const isAgreed = (alpnProtocols: ReadonlyArray<string>, socket: tls.TLSSocket): boolean =>
  typeof socket.alpnProtocol === "string" && alpnProtocols.includes(socket.alpnProtocol)

/** Wraps a TLS socket whose peer was verified, and listens to its errors from now on. */
export const make = (
  socket: tls.TLSSocket,
  material: Tls,
  peer: string,
  verified: Option.Option<VerifiedChain>,
  boundary: Boundary.Boundary | undefined
): SecureSocket => {
  let refusal = Option.none<HandshakeFailed>()
  let damage = Option.none<Unavailable>()
  socket.on("error", (error) => {
    if (TlsAlert.isDamage(codeOf(error), true)) {
      damage = Option.orElse(damage, () => Option.some(damaged(peer, error)))
      socket.destroy()
      return
    }
    try {
      const alert = Option.filter(TlsAlert.fromError(error), ({ refusedBy }) => refusedBy === "remote")
      refusal = Option.orElse(refusal, () =>
        Option.map(alert, ({ reason }) => refusedByPeer(material, peer, reason, error))
      )
    } catch (cause) {
      report(boundary, "socket", peer, cause)
    }
  })
  return {
    socket,
    identity: Option.map(verified, ({ identity }) => identity),
    evidence: Option.map(verified, ({ chain, validUntil }) => ({ material, chain, validUntil })),
    damage: () => damage,
    refusal: () => refusal,
    refusedWith: (reason) => refusedByPeer(material, peer, reason)
  }
}
