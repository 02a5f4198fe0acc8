import type * as Duration from "effect/Duration"
import * as Option from "effect/Option"
import * as TransportOptions from "../Connections/TransportOptions.js"

/**
 * The options of the QUIC transport.
 *
 * @since 0.1.0
 * @category models
 */
export interface QuicOptions extends TransportOptions.TransportOptions, TransportOptions.HandshakeOptions {
  /** How long a client may take to connect: name, handshake, and the peer's first frame. Default 5 seconds. */
  readonly connectTimeout?: Duration.DurationInput | undefined
  /** The same for a listener, which gives up on who takes longer. Default 5 seconds. */
  readonly handshakeTimeout?: Duration.DurationInput | undefined
  /**
   * How long a connection may be silent before it is asked whether it lives, by both ends. Default 25 seconds: NATs forget
   * a flow of UDP after 30 (RFC 4787, section 4.3, has two minutes; RFC 9308, section 3.2, has what is seen).
   */
  readonly keepaliveTime?: Duration.DurationInput | undefined
  /** How long the answer to that may take before the connection is given up. Default 10 seconds. */
  readonly keepaliveTimeout?: Duration.DurationInput | undefined
  /** Unread bytes of one stream that a peer may send before it has to wait. Default 1 MiB. */
  readonly streamWindow?: number | undefined
  /**
   * Unread messages of all calls together, in bytes with 128 more for each; above it the latest calls that nobody reads are
   * broken off with `ResourceExhausted`. Once more the same is for messages that are not finished: the call that exceeds it
   * ends with `ResourceExhausted`, unless its message is the only one. Default 8 MiB. Peers of this library take it for no
   * less: they begin messages of 32 KiB and more while those they have begun have no more than 4 MiB. What is still in
   * packets counts too where this is given. By default there may be as much of that as `maxConcurrentStreams` (100) calls
   * can have in their windows, 100 MiB: their senders are held up, whatever else there is, and calls whose readers are slow
   * are not broken off.
   */
  readonly connectionWindow?: number | undefined
  /**
   * How long a message that has begun to come may take to end, not counting the time in which it has to wait for this end's
   * reader. Its call fails with `DeadlineExceeded` then. Default 60 seconds.
   */
  readonly messageTimeout?: Duration.DurationInput | undefined
  /**
   * The largest UDP payload that is sent, in bytes. Default 1350, which fits through tunnels on paths of 1500; loopback and
   * networks with jumbo frames take up to 16,383 and are several times as fast with it. There is no discovery.
   */
  readonly maxUdpPayload?: number | undefined
  /** Datagrams that wait on a connection, in each direction, before further ones are dropped. Default 1,024. */
  readonly maxDatagrams?: number | undefined
  /**
   * Bytes of datagrams that came on a connection and wait to be read, each with 128 more for what it costs, before further
   * ones are dropped. Nothing is kept where the program has not asked for the channel. Default 1 MiB.
   */
  readonly maxDatagramBytes?: number | undefined
  /** Connections of a listener at a time whose peers have proved who they are; further ones are refused. Default 10,000. */
  readonly maxConnections?: number | undefined
  /**
   * Handshakes that a listener is in at a time. Default 200: each has cost a signature. A further one takes the place of the
   * oldest whose client has sent but one packet, or else of the oldest of the source that has the most.
   */
  readonly maxHandshakes?: number | undefined
  /**
   * Bytes that a peer may send before its handshake is over, in packets of 512 bytes or more on average. Default 128 KiB: a
   * chain of many large certificates fits, and it bounds what the engine keeps of CRYPTO frames (RFC 9000, section 7.5).
   */
  readonly maxHandshakeBytes?: number | undefined
  /** The same for all handshakes of a listener. Above it, the one that has sent the most is refused. Default 4 MiB. */
  readonly maxTotalHandshakeBytes?: number | undefined
  /**
   * How long a connection of a listener lives before its client is asked to make another, give or take a tenth; calls on it
   * have `gracePeriod` to end then. Default 24 hours: what a connection makes quiche keep goes with it. `Infinity` is
   * unlimited.
   */
  readonly maxConnectionAge?: Duration.DurationInput | undefined
  /** Packets that a peer may send in a second before it is cut off. Default 500,000. */
  readonly maxPacketRate?: number | undefined
  /**
   * Packets without content (PING, ACK, CRYPTO, path and connection id frames, ...) that a peer may send in a second, beyond
   * what reads and writes of this end account for, before it is cut off. Default 10,000.
   */
  readonly maxIdlePacketRate?: number | undefined
  /**
   * Bytes of such packets, less what reads and writes account for, above which a connection is replaced by a new one, as at
   * `maxConnectionAge`. A peer that sends four times as many is cut off. Default 4 MiB: quiche keeps CRYPTO frames for ever,
   * at up to 20 times their size. More than a path has under way at a time, for what follows a lost packet counts until
   * that has come.
   */
  readonly maxIdleBytes?: number | undefined
  /** Calls that a peer may open in a second before it is cut off. Default 200,000. */
  readonly maxCallRate?: number | undefined
  /** Calls that a peer may cancel in a second before it is cut off. Default 10,000. Compare CVE-2023-44487. */
  readonly maxCancelRate?: number | undefined
  /**
   * Whether a listener asks clients for a certificate. Default `require`. With `none` whoever comes is let in without an
   * identity, as browsers and ordinary HTTP/3 clients are; authorizers see nobody in them.
   */
  readonly clientCertificate?: "require" | "none" | undefined
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

export const withDefaults = (options: QuicOptions) => ({
  ...TransportOptions.withDefaults(options),
  ...TransportOptions.handshakeDefaults(options),
  connectTimeout: TransportOptions.duration("connectTimeout", options.connectTimeout ?? "5 seconds"),
  handshakeTimeout: TransportOptions.duration("handshakeTimeout", options.handshakeTimeout ?? "5 seconds"),
  keepaliveTime: TransportOptions.duration("keepaliveTime", options.keepaliveTime ?? "25 seconds"),
  keepaliveTimeout: TransportOptions.duration("keepaliveTimeout", options.keepaliveTimeout ?? "10 seconds"),
  messageTimeout: TransportOptions.duration("messageTimeout", options.messageTimeout ?? "60 seconds"),
  streamWindow: options.streamWindow ?? 1024 * 1024,
  connectionWindow: options.connectionWindow ?? 8 * 1024 * 1024,
  /** What may be unread in packets. */
  unreadWindow:
    options.connectionWindow ??
    TransportOptions.withDefaults(options).maxConcurrentStreams * (options.streamWindow ?? 1024 * 1024),
  maxUdpPayload: options.maxUdpPayload ?? 1350,
  maxDatagrams: options.maxDatagrams ?? 1024,
  maxDatagramBytes: options.maxDatagramBytes ?? 1024 * 1024,
  maxConnections: options.maxConnections ?? 10_000,
  maxHandshakes: options.maxHandshakes ?? 200,
  maxHandshakeBytes: options.maxHandshakeBytes ?? 128 * 1024,
  maxTotalHandshakeBytes: options.maxTotalHandshakeBytes ?? 4 * 1024 * 1024,
  maxConnectionAge: TransportOptions.duration("maxConnectionAge", options.maxConnectionAge ?? "24 hours"),
  maxPacketRate: options.maxPacketRate ?? 500_000,
  maxIdlePacketRate: options.maxIdlePacketRate ?? 10_000,
  maxIdleBytes: options.maxIdleBytes ?? 4 * 1024 * 1024,
  maxCallRate: options.maxCallRate ?? 200_000,
  maxCancelRate: options.maxCancelRate ?? 10_000,
  clientCertificate: options.clientCertificate ?? "require",
  initialReconnectBackoff: TransportOptions.duration(
    "initialReconnectBackoff",
    options.initialReconnectBackoff ?? "1 second"
  ),
  maxReconnectBackoff: TransportOptions.duration("maxReconnectBackoff", options.maxReconnectBackoff ?? "120 seconds"),
  rehandshakeWithin: Option.map(Option.fromNullable(options.rehandshakeWithin), (input) =>
    TransportOptions.duration("rehandshakeWithin", input)
  ),
  serverName: options.serverName
})

export type Settings = ReturnType<typeof withDefaults>
