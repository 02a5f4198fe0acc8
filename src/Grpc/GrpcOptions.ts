import type * as Duration from "effect/Duration"
import * as Option from "effect/Option"
import * as TransportOptions from "../Connections/TransportOptions.js"
import * as GrpcMetadata from "./internal/grpcJs/GrpcMetadata.js"

/**
 * The options of the gRPC transport.
 *
 * @since 0.1.0
 * @category models
 */
export interface GrpcOptions extends TransportOptions.TransportOptions, TransportOptions.HandshakeOptions {
  /**
   * How long a connection may take until HTTP/2 is spoken: name, TCP, TLS, SETTINGS. Default 5 seconds. A peer that
   * accepts and then says nothing would hold a client for ever.
   */
  readonly connectTimeout?: Duration.DurationInput | undefined
  /**
   * The same for the listener, from accept to the peer's SETTINGS. It closes a peer that says nothing, or too slowly.
   * Default 5 seconds.
   */
  readonly handshakeTimeout?: Duration.DurationInput | undefined
  /**
   * The pause between HTTP/2 PINGs, sent by both sides. Default 5 minutes: servers that follow gRPC take what comes more
   * often for abuse, unless they are set to allow it. A dead peer is noticed sooner, after 40 seconds, by TCP keep-alive
   * (30 seconds of silence, then a probe a second), by one PING when a call runs into its deadline, and by calls that only
   * time out. A listener lets its clients ping every 10 seconds, or as often as it does itself; those that ping more often
   * lose the connection (`too_many_pings`).
   *
   * Source: gRFC A8 (client), A9 (server).
   */
  readonly keepaliveTime?: Duration.DurationInput | undefined
  /** How long the answer to a PING may take before the connection is given up. Default 10 seconds. */
  readonly keepaliveTimeout?: Duration.DurationInput | undefined
  /**
   * Whether a client pings connections without calls too, so that a lost peer is noticed before the next call. Default
   * false: servers that follow gRPC take such pings for abuse (gRFC A8).
   */
  readonly keepaliveWithoutCalls?: boolean | undefined
  /** The memory, in MiB, that one HTTP/2 session may use in Node before new streams are refused. Default 64. */
  readonly maxSessionMemory?: number | undefined
  /**
   * Messages of all calls of a connection that a listener has not read, in bytes, and those that are unfinished: above it
   * streams are read no further, but for the oldest message, until others have ended. Default 8 MiB, so that a connection costs
   * no more than that, a message (`maxReceiveMessageSize`), and HTTP/2's own windows (64 KiB a call).
   */
  readonly connectionWindow?: number | undefined
  /**
   * How long a message of a request that has begun may take to end, not counting the time in which this listener does not read
   * it; with a unary call the request itself. Its call fails with `DeadlineExceeded` then. Default 60 seconds.
   */
  readonly messageTimeout?: Duration.DurationInput | undefined
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
   * node:http2 takes no call once it has asked a client to leave: one that is on its way just then fails with `Unavailable`,
   * `processed: "no"`, and has not run, as with `rehandshakeWithin`. `RetryPolicy` retries it.
   *
   * Source: gRFC A9.
   */
  readonly maxConnectionAge?: Duration.DurationInput | undefined
  /** The pause before the second attempt to connect; it grows by 1.6 with a jitter of 0.2. Default 1 second. */
  readonly initialReconnectBackoff?: Duration.DurationInput | undefined
  /** The longest pause between attempts to connect. Default 120 seconds, as in gRPC's connection backoff. */
  readonly maxReconnectBackoff?: Duration.DurationInput | undefined
  /**
   * Replaces connections after a rotation of the credentials: a client makes a new one, a listener asks its clients for
   * that, within the first half of this time at a moment of its own. Calls that run on the old ones have this long to end.
   * Off by default: connections live on with the certificates that they began with.
   *
   * A call that is on its way just when a listener asks fails with `Unavailable`, `processed: "no"`, because Node's HTTP/2
   * refuses it; it has not run.
   */
  readonly rehandshakeWithin?: Duration.DurationInput | undefined
  /** The name that the peer's certificate must carry, where it is not the host of the target. */
  readonly serverName?: string | undefined
}

const common = (options: GrpcOptions) => {
  const settings = TransportOptions.withDefaults(options)
  return { ...settings, maxMetadataSize: Math.min(settings.maxMetadataSize, GrpcMetadata.maxSize) }
}

export const withDefaults = (options: GrpcOptions) => ({
  ...common(options),
  ...TransportOptions.handshakeDefaults(options),
  connectTimeout: TransportOptions.duration("connectTimeout", options.connectTimeout ?? "5 seconds"),
  handshakeTimeout: TransportOptions.duration("handshakeTimeout", options.handshakeTimeout ?? "5 seconds"),
  keepaliveTime: TransportOptions.duration("keepaliveTime", options.keepaliveTime ?? "5 minutes"),
  keepaliveTimeout: TransportOptions.duration("keepaliveTimeout", options.keepaliveTimeout ?? "10 seconds"),
  keepaliveWithoutCalls: options.keepaliveWithoutCalls ?? false,
  maxSessionMemory: options.maxSessionMemory ?? 64,
  connectionWindow: options.connectionWindow ?? 8 * 1024 * 1024,
  messageTimeout: TransportOptions.duration("messageTimeout", options.messageTimeout ?? "60 seconds"),
  maxConnections: options.maxConnections ?? 10_000,
  maxHandshakes: options.maxHandshakes ?? 1024,
  maxHandshakeBytes: options.maxHandshakeBytes ?? 128 * 1024,
  maxConnectionAge: TransportOptions.duration("maxConnectionAge", options.maxConnectionAge ?? Number.POSITIVE_INFINITY),
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
