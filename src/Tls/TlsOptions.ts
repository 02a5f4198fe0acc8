import type * as Duration from "effect/Duration"
import * as Option from "effect/Option"
import * as TransportOptions from "../Connections/TransportOptions.js"
import * as Wire from "../protocol/wire/Wire.js"

/**
 * The options of the TLS transport.
 *
 * @since 0.1.0
 * @category models
 */
export interface TlsOptions extends TransportOptions.TransportOptions, TransportOptions.HandshakeOptions {
  /** How long a client may take to connect: name, TCP, TLS, and the peer's first frame. Default 5 seconds. */
  readonly connectTimeout?: Duration.DurationInput | undefined
  /**
   * The same for a listener, from accept to the peer's first frame. It closes a peer that says nothing, or too slowly.
   * Default 5 seconds.
   */
  readonly handshakeTimeout?: Duration.DurationInput | undefined
  /** How long a frame that has begun may take to end. Default 10 seconds. */
  readonly frameTimeout?: Duration.DurationInput | undefined
  /**
   * How long a message that comes in pieces may take to end, not counting the time in which it has to wait for this end's
   * reader. Its call fails with `DeadlineExceeded` then. Default 60 seconds.
   */
  readonly messageTimeout?: Duration.DurationInput | undefined
  /** How long a connection may be silent before it is asked whether it lives, by both ends. Default 30 seconds. */
  readonly keepaliveTime?: Duration.DurationInput | undefined
  /** How long the answer to that may take before the connection is given up. Default 10 seconds. */
  readonly keepaliveTimeout?: Duration.DurationInput | undefined
  /** Unread bytes of one call that a peer may send before it has to wait. Default 1 MiB. */
  readonly callWindow?: number | undefined
  /**
   * Unread messages of all calls together, in bytes, and once more the same for messages that are not finished. Default
   * 8 MiB, so that a connection costs no more than 16 MiB and one message, whatever its peer does.
   */
  readonly connectionWindow?: number | undefined
  /** Calls that a peer may open in a second before it is cut off. Default 200,000. */
  readonly maxCallRate?: number | undefined
  /** Calls that a peer may cancel in a second before it is cut off. Default 10,000. Compare CVE-2023-44487. */
  readonly maxCancelRate?: number | undefined
  /** Pings that a peer may send in a second before it is cut off. Default 10. */
  readonly maxPingRate?: number | undefined
  /**
   * Connections of a listener at a time whose peers have proved who they are; further ones are closed at once. Default
   * 10,000.
   */
  readonly maxConnections?: number | undefined
  /**
   * Connections of a listener at a time whose peers have not proved who they are. Default 1,024, twice what the system lets
   * come at once. A further one takes the place of the oldest that has sent nothing, or else of the oldest of the source
   * that has the most.
   */
  readonly maxHandshakes?: number | undefined
  /**
   * Bytes that a client may send before its handshake is over, looked at ten times a second. Default 128 KiB: a chain of
   * many large certificates fits. OpenSSL takes no more than 100 KB of certificates, but any padding (RFC 8446, section 5.4).
   */
  readonly maxHandshakeBytes?: number | undefined
  /**
   * How long a connection of a listener lives before its client is asked to make another, give or take a tenth; calls on it
   * have `gracePeriod` to end then. Default: unlimited. `Infinity` is unlimited too.
   *
   * Source: gRFC A9.
   */
  readonly maxConnectionAge?: Duration.DurationInput | undefined
  /** The pause before the second attempt to connect; it grows by 1.6 with a jitter of 0.2. Default 1 second. */
  readonly initialReconnectBackoff?: Duration.DurationInput | undefined
  /** The longest pause between attempts to connect. Default 120 seconds. */
  readonly maxReconnectBackoff?: Duration.DurationInput | undefined
  /**
   * Replaces connections after a rotation of the credentials: a client makes a new one, a listener asks its clients for
   * that, within the first half of this time at a moment of its own. Calls that run on the old ones have this long to end.
   * Off by default: connections live on with the certificates that they began with.
   */
  readonly rehandshakeWithin?: Duration.DurationInput | undefined
  /** The name that the peer's certificate must carry, where it is not the host of the target. */
  readonly serverName?: string | undefined
}

export const withDefaults = (options: TlsOptions) => {
  const common = TransportOptions.withDefaults(options)
  return {
    ...common,
    ...TransportOptions.handshakeDefaults(options),
    maxMetadataSize: Math.min(common.maxMetadataSize, Wire.maxMetadata),
    connectTimeout: TransportOptions.duration("connectTimeout", options.connectTimeout ?? "5 seconds"),
    handshakeTimeout: TransportOptions.duration("handshakeTimeout", options.handshakeTimeout ?? "5 seconds"),
    frameTimeout: TransportOptions.duration("frameTimeout", options.frameTimeout ?? "10 seconds"),
    messageTimeout: TransportOptions.duration("messageTimeout", options.messageTimeout ?? "60 seconds"),
    keepaliveTime: TransportOptions.duration("keepaliveTime", options.keepaliveTime ?? "30 seconds"),
    keepaliveTimeout: TransportOptions.duration("keepaliveTimeout", options.keepaliveTimeout ?? "10 seconds"),
    callWindow: options.callWindow ?? 1024 * 1024,
    connectionWindow: options.connectionWindow ?? 8 * 1024 * 1024,
    maxCallRate: options.maxCallRate ?? 200_000,
    maxCancelRate: options.maxCancelRate ?? 10_000,
    maxPingRate: options.maxPingRate ?? 10,
    maxConnections: options.maxConnections ?? 10_000,
    maxHandshakes: options.maxHandshakes ?? 1024,
    maxHandshakeBytes: options.maxHandshakeBytes ?? 128 * 1024,
    maxConnectionAge: TransportOptions.duration(
      "maxConnectionAge",
      options.maxConnectionAge ?? Number.POSITIVE_INFINITY
    ),
    initialReconnectBackoff: TransportOptions.duration(
      "initialReconnectBackoff",
      options.initialReconnectBackoff ?? "1 second"
    ),
    maxReconnectBackoff: TransportOptions.duration("maxReconnectBackoff", options.maxReconnectBackoff ?? "120 seconds"),
    rehandshakeWithin: Option.map(Option.fromNullable(options.rehandshakeWithin), (input) =>
      TransportOptions.duration("rehandshakeWithin", input)
    ),
    serverName: options.serverName
  }
}

export type Settings = ReturnType<typeof withDefaults>
