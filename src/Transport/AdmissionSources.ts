/**
 * What an admission lets in by where it comes from, before a peer has proved who it is.
 *
 * @since 0.1.0
 */
import type * as Duration from "effect/Duration"
import type { HandshakeReason } from "./TransportError.js"

/** So many a second. A number is a rate whose burst is what comes in one second. */
type Rate = number | { readonly rate: number; readonly burst: number }

/**
 * What can put a source into the penalty box: why a handshake of it was refused here, or `TooMuch` (it sent more than
 * `maxHandshakeBytes`), `HandshakeTimeout` (it was not ready in time), `ConnectionRate` (a connection above
 * `connectionsPerSecond`).
 *
 * @since 0.1.0
 * @category models
 */
export type PenaltyReason = HandshakeReason | "TooMuch" | "HandshakeTimeout" | "ConnectionRate"

/**
 * When a source goes into the penalty box, where its connections are closed at once.
 *
 * @since 0.1.0
 * @category models
 */
export interface PenaltyOptions {
  /** Refused handshakes within 10 seconds. Default: `maxRefusals` of the transport, 100. */
  readonly refusals?: number | undefined
  /**
   * How long the first time; twice as long each time it comes back soon, up to 32 times. Default: `refusalPenalty` of the
   * transport, 10 seconds. At most 24.8 days.
   */
  readonly time?: Duration.DurationInput | undefined
  /**
   * What counts. `TooMuch` boxes at once where it does. Default: all refusals of a certificate, of an authorization and of
   * what is no TLS, and `TooMuch`.
   */
  readonly reasons?: ReadonlyArray<PenaltyReason> | undefined
}

/**
 * Proxies that say whose connection they pass on.
 *
 * Source: "The PROXY protocol, versions 1 & 2" of HAProxy: version 2 (`send-proxy-v2`).
 *
 * @since 0.1.0
 * @category models
 */
export interface ProxyProtocolOptions {
  /**
   * Networks of the proxies. Their connections have to begin with a header of version 2, of at most 536 bytes, and are closed
   * otherwise; what is in it is believed. Nobody else's is: it is no TLS, and refused as that.
   */
  readonly from: ReadonlyArray<string>
  /** How long the header may take. Default 2 seconds, at most 24.8 days. */
  readonly timeout?: Duration.DurationInput | undefined
}

/**
 * The sources of connections: addresses, of IPv6 by /64. Each listener asks before a handshake begins. Peers of unix sockets
 * have no source.
 *
 * An IPv4 address that is written within IPv6 (`::ffff:10.0.0.7`) is that of IPv4, and `::/0` is all of IPv6 and nothing of
 * IPv4. A network that is denied is so behind a translator (`64:ff9b::/96`) too.
 *
 * @since 0.1.0
 * @category models
 */
export interface SourceOptions {
  /** Networks that may connect (`"10.0.0.0/8"`, `"fd00::/8"`, or one address). Default: all. What is denied stays so. */
  readonly allow?: ReadonlyArray<string> | undefined
  /**
   * Networks that may not, closed before a byte of theirs is read. Default: none. Connections that are open when the list
   * changes are ended.
   */
  readonly deny?: ReadonlyArray<string> | undefined
  /**
   * Connections of a source at a time whose peers have proved who they are; further ones are closed. Default 2,000, a fifth of
   * what a listener takes (`maxConnections`). Raise it where many come from one address, as behind a load balancer.
   */
  readonly connections?: number | undefined
  /**
   * Connections that a source may begin in a second, whether or not a handshake follows; further ones are closed. Default
   * 1,000. With QuicLive those that have proved their address.
   */
  readonly connectionsPerSecond?: Rate | undefined
  /**
   * Handshakes of a source at a time, at least 1; with more of them, its oldest one that has sent nothing makes way, or else its oldest.
   * Default: as many as there is room for (`maxHandshakes` of the transport), where the source with the most makes way.
   */
  readonly handshakes?: number | undefined
  /** Handshakes that a source may begin in a second. Default: `maxHandshakeRate` of the transport, 100. */
  readonly handshakesPerSecond?: Rate | undefined
  /** When a source is boxed, and for how long. */
  readonly penalty?: PenaltyOptions | undefined
  /**
   * Proxies whose word on the source is taken, on wires over TCP; on others a listener fails with `BindError`
   * (`AdmissionRefused`). Default: none.
   */
  readonly proxyProtocol?: ProxyProtocolOptions | undefined
}
