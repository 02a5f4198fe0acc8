/**
 * The options that transports share: those of all, and those of all that have a wire.
 *
 * @since 0.1.0
 */
import * as Duration from "effect/Duration"
import * as Option from "effect/Option"
import * as Metadata from "../Transport/Metadata.js"

/**
 * The options of every transport. A duration may be `Infinity`; one that is negative or no number is a defect of the layer.
 *
 * @since 0.1.0
 * @category models
 */
export interface TransportOptions {
  /** The timeout of calls that name none. Default 30 seconds: a call without one can wait for ever. */
  readonly defaultTimeout?: Duration.DurationInput | undefined
  /**
   * How long a call may take at a listener, whatever deadline its caller named: its handler is interrupted then, and the caller
   * gets `DeadlineExceeded`. The deadline that a handler sees, and that its own calls inherit, is the earlier of both. Default
   * 5 minutes for unary calls and no limit for streaming ones; a value is the limit of both. Without it calls that name no
   * deadline could hold all places of a connection (`maxConcurrentStreams`) for ever.
   */
  readonly maxCallDuration?: Duration.DurationInput | undefined
  /** How long calls in flight may go on when a listener closes. Default 5 seconds. */
  readonly gracePeriod?: Duration.DurationInput | undefined
  /** The largest message to send, in bytes. Default 4 MiB, as gRPC receives by default. */
  readonly maxSendMessageSize?: number | undefined
  /**
   * The largest message to receive, in bytes. Default 4 MiB, as in gRPC: what one message may cost in memory. At most
   * 4 GiB - 1 over TLS.
   */
  readonly maxReceiveMessageSize?: number | undefined
  /**
   * The most elements that a received message may hold: fields (known or not), numbers of packed lists and entries of maps,
   * at any depth; `bytes` and `string` are one each, whatever their size. A call with more ends with `ResourceExhausted`
   * before the message is decoded. Default 65,536: an element of two bytes costs up to 400 in memory and half a microsecond
   * or more, so that this is what a message of 4 MiB may cost beyond its size. Raise it for a contract with longer lists.
   */
  readonly maxMessageElements?: number | undefined
  /**
   * The largest metadata of a call, in bytes as RFC 9113 section 6.5.2 counts them. Default 16 KiB. At most 1 MiB in memory
   * and over QUIC, 60 KiB over gRPC, whose HTTP/2 takes 64 KiB of header fields, and 32 KiB over TLS, where it is in a frame.
   */
  readonly maxMetadataSize?: number | undefined
  /**
   * Answers of one connection that its peer has not read, in bytes, above which a listener lets further ones wait with their
   * handlers. Default 8 MiB.
   */
  readonly maxUnsentBytes?: number | undefined
  /**
   * Bytes that all connections of one listener make this process keep: messages that are unread, unfinished or unsent.
   * Above it the connection that holds most is closed. Default 512 MiB.
   */
  readonly maxBufferedBytes?: number | undefined
  /**
   * What a peer may send in a second on one connection that costs work and brings nothing, before it is cut off: calls that are
   * denied, refused or cancelled, or whose deadline passes within 10 ms, and with TlsLive frames that say nothing too. Default
   * 2,000: one costs a listener up to half a millisecond, and honest callers come to some hundreds.
   */
  readonly maxUselessRate?: number | undefined
  /**
   * Calls that a peer may have in flight on one connection; more wait, with QUIC some of them at the listener. Default 100.
   * At most 2^29 - 1 over QUIC and 2^32 - 1 over gRPC and TLS.
   */
  readonly maxConcurrentStreams?: number | undefined
}

/**
 * What listeners allow peers that have not proved who they are. A source is an IPv4 address or the /64 of an IPv6 address;
 * unix sockets have none, and only the number of handshakes limits them.
 *
 * @since 0.1.0
 * @category models
 */
export interface HandshakeOptions {
  /**
   * How long a handshake with a listener may take, from the first byte or packet to the peer's first frame of HTTP/2,
   * HTTP/3 or TlsLive. A peer that says nothing, or too slowly, is closed. Default 5 seconds, at most 24.8 days.
   */
  readonly handshakeTimeout?: Duration.DurationInput | undefined
  /**
   * Connections of a listener at a time whose peers have not proved who they are. A further one takes the place of the
   * oldest that has sent nothing (with QuicLive but one packet), or else of the oldest of the source that has the most.
   * Default 1,024, twice what the system lets come at once; with QuicLive 200, because each has cost a signature.
   */
  readonly maxHandshakes?: number | undefined
  /**
   * Bytes that a client may send before its handshake is over. Default 128 KiB: a chain of many large certificates fits.
   * TLS over TCP looks ten times a second, because OpenSSL takes no more than 100 KB of certificates but any padding
   * (RFC 8446, section 5.4). QuicLive counts packets as 512 bytes at least, and so bounds what the engine keeps of CRYPTO
   * frames (RFC 9000, section 7.5).
   */
  readonly maxHandshakeBytes?: number | undefined
  /**
   * Handshakes that a source may begin in a second. Default 100: each costs a signature. What is allowed in a second may
   * come at once. `GrpcLive` and `TlsLive` let further ones wait as long as `handshakeTimeout` allows, `QuicLive` does not
   * answer them and their clients try again by themselves.
   */
  readonly maxHandshakeRate?: number | undefined
  /** The same for all sources of a listener. Default 500: more than half of what one core can do would leave no time for calls. */
  readonly maxTotalHandshakeRate?: number | undefined
  /**
   * Handshakes of a source that are refused here within 10 seconds (an untrusted certificate, no authorization, no TLS)
   * before it has to wait in the penalty box, where its connections are closed at once. Default 100, so that some tens of
   * misconfigured peers behind one NAT don't keep out the others. A handshake counts for more the more bytes it took beyond
   * 4 KiB: each 512 of them as another one. One that took more than `maxHandshakeBytes` is enough. A success clears the count.
   */
  readonly maxRefusals?: number | undefined
  /**
   * How long a source waits in the penalty box; each time soon after another is twice as long, up to 32 times. Default
   * 10 seconds, at most 24.8 days.
   */
  readonly refusalPenalty?: Duration.DurationInput | undefined
}

/**
 * The options of every transport that has a wire: GrpcLive, QuicLive and TlsLive.
 *
 * @since 0.1.0
 * @category models
 */
export interface WireOptions extends TransportOptions, HandshakeOptions {
  /**
   * How long a client may take to connect: name, TCP, TLS (or QUIC), and the peer's first frame. Default 5 seconds: a peer
   * that accepts and then says nothing would hold a client for ever.
   */
  readonly connectTimeout?: Duration.DurationInput | undefined
  /**
   * How long a connection may be silent before it is asked whether it lives, by both ends. Default 30 seconds with TlsLive,
   * 25 with QuicLive: NATs forget a flow of UDP after 30 (RFC 4787, section 4.3, has two minutes; RFC 9308, section 3.2,
   * has what is seen).
   *
   * With GrpcLive the pause between HTTP/2 PINGs, 5 minutes by default and at most 24.8 days: servers that follow gRPC take
   * what comes more often for abuse, unless they are set to allow it. A dead peer is noticed sooner, after 40 seconds, by
   * TCP keep-alive (30 seconds of silence, then a probe a second), by one PING when a call runs into its deadline, and by
   * calls that only time out. A listener lets its clients ping every 10 seconds, or as often as it does itself; those that
   * ping more often lose the connection (`too_many_pings`).
   *
   * Source: gRFC A8 (client), A9 (server).
   */
  readonly keepaliveTime?: Duration.DurationInput | undefined
  /**
   * How long the answer to that may take before the connection is given up. Default 10 seconds; at most 24.8 days with
   * GrpcLive.
   */
  readonly keepaliveTimeout?: Duration.DurationInput | undefined
  /**
   * How long a message that has begun to come may take to end, not counting the time in which it has to wait for this end's
   * reader. Its call fails with `DeadlineExceeded` then. GrpcLive has it at listeners alone, for messages of requests, and
   * with a unary call for the request itself. Default 60 seconds.
   */
  readonly messageTimeout?: Duration.DurationInput | undefined
  /**
   * Unread messages of all calls of a connection together, in bytes with 128 more for each, and once more the same for
   * messages that are not finished: a connection costs no more than twice this and one message, whatever its peer does.
   * Default 8 MiB.
   *
   * - TlsLive: senders are held up. At most 4 GiB - 1.
   * - GrpcLive: unread and unfinished messages count together, at listeners. Above it streams are read no further, but for
   *   the oldest message, until others have ended. HTTP/2's own windows (64 KiB a call) come on top.
   * - QuicLive: above it the latest calls that nobody reads are broken off with `ResourceExhausted`, and so is the call whose
   *   unfinished message exceeds it, unless that is the only one. Peers of this library take it for no less than 8 MiB: they
   *   begin messages of 32 KiB and more while those they have begun have no more than 4 MiB. What is still in packets counts
   *   too where this is given. By default there may be as much of that as `maxConcurrentStreams` (100) calls can have in their
   *   windows, 100 MiB: their senders are held up, whatever else there is, and calls whose readers are slow are not broken off.
   */
  readonly connectionWindow?: number | undefined
  /**
   * Connections of a listener at a time whose peers have proved who they are; further ones are closed at once. Default
   * 10,000.
   */
  readonly maxConnections?: number | undefined
  /**
   * How long a connection of a listener lives before its client is asked to make another, give or take a tenth; calls on it
   * have `gracePeriod` to end then. `Infinity` is unlimited, which is the default but for QuicLive: 24 hours there, because
   * what a connection makes quiche keep goes with it.
   *
   * With GrpcLive, node:http2 takes no call once it has asked a client to leave: one that is on its way just then fails with
   * `Unavailable`, `processed: "no"`, and has not run, as with `rehandshakeWithin`. `RetryPolicy` retries it.
   *
   * Source: gRFC A9.
   */
  readonly maxConnectionAge?: Duration.DurationInput | undefined
  /**
   * The pause before the second attempt to connect; it grows by 1.6 with a jitter of 0.2. Default 1 second. While a call
   * waits, attempts are no further apart than this, taken as 10 milliseconds at least and 1 second at most.
   */
  readonly initialReconnectBackoff?: Duration.DurationInput | undefined
  /** The longest pause between attempts to connect. Default 120 seconds, as in gRPC's connection backoff. */
  readonly maxReconnectBackoff?: Duration.DurationInput | undefined
  /**
   * Replaces connections after a rotation of the credentials: a client makes a new one, a listener asks its clients for
   * that, within the first half of this time, and within an hour at most, at a moment of its own. Calls that run on the old
   * ones have this long to end. Off by default: connections live on with the certificates that they began with.
   *
   * With GrpcLive a call that is on its way just when a listener asks fails with `Unavailable`, `processed: "no"`, because
   * Node's HTTP/2 refuses it; it has not run.
   */
  readonly rehandshakeWithin?: Duration.DurationInput | undefined
  /** The name that the peer's certificate must carry, where it is not the host of the target. */
  readonly serverName?: string | undefined
}

/**
 * The options of wires whose streams are this library's own: QuicLive and TlsLive.
 *
 * @since 0.1.0
 * @category models
 */
export interface StreamOptions {
  /**
   * Unread bytes of one call that a peer may send before it has to wait. Default 1 MiB. At most 1 GiB - 1 over QUIC and
   * 4 GiB - 1 over TLS.
   */
  readonly streamWindow?: number | undefined
  /** Calls that a peer may open in a second before it is cut off. Default 200,000. */
  readonly maxCallRate?: number | undefined
  /** Calls that a peer may cancel in a second before it is cut off. Default 10,000. Compare CVE-2023-44487. */
  readonly maxCancelRate?: number | undefined
}

/**
 * The duration of an option, which may be infinite. One that is negative or no number is a mistake in the program.
 *
 * @since 0.1.0
 * @category constructors
 */
export const duration = (name: string, input: Duration.DurationInput): Duration.Duration => {
  const isNegative =
    typeof input === "string"
      ? input.startsWith("-")
      : (typeof input === "number" || typeof input === "bigint") && !(input >= 0)
  if (isNegative) {
    throw new RangeError(`${name} is no duration: ${input}`)
  }
  return Duration.decode(input)
}

/**
 * The longest that calls may take at a listener, in milliseconds.
 *
 * @since 0.1.0
 * @category models
 */
export interface CallDurations {
  readonly unary: number
  readonly streaming: number
}

/** Where the option is not set, streams have no limit. */
const callDurations = (option: Duration.DurationInput | undefined): CallDurations => {
  if (option === undefined) {
    return { unary: 5 * 60_000, streaming: Number.POSITIVE_INFINITY }
  }
  const millis = Duration.toMillis(duration("maxCallDuration", option))
  return { unary: millis, streaming: millis }
}

/**
 * The options with their defaults filled in.
 *
 * @since 0.1.0
 * @category constructors
 */
export const withDefaults = (options: TransportOptions) => ({
  defaultTimeout: duration("defaultTimeout", options.defaultTimeout ?? Duration.seconds(30)),
  maxCallDuration: callDurations(options.maxCallDuration),
  gracePeriod: duration("gracePeriod", options.gracePeriod ?? Duration.seconds(5)),
  maxSendMessageSize: options.maxSendMessageSize ?? 4 * 1024 * 1024,
  maxReceiveMessageSize: options.maxReceiveMessageSize ?? 4 * 1024 * 1024,
  maxMessageElements: options.maxMessageElements ?? 65_536,
  maxMetadataSize: Math.min(options.maxMetadataSize ?? 16 * 1024, Metadata.maxSize),
  maxUnsentBytes: options.maxUnsentBytes ?? 8 * 1024 * 1024,
  maxBufferedBytes: options.maxBufferedBytes ?? 512 * 1024 * 1024,
  maxUselessRate: options.maxUselessRate ?? 2000,
  maxConcurrentStreams: options.maxConcurrentStreams ?? 100
})

const handshakeDefaults = (options: HandshakeOptions, { maxHandshakes }: WireDefaults) => ({
  handshakeTimeout: duration("handshakeTimeout", options.handshakeTimeout ?? "5 seconds"),
  maxHandshakes: options.maxHandshakes ?? maxHandshakes,
  maxHandshakeBytes: options.maxHandshakeBytes ?? 128 * 1024,
  maxHandshakeRate: options.maxHandshakeRate ?? 100,
  maxTotalHandshakeRate: options.maxTotalHandshakeRate ?? 500,
  maxRefusals: options.maxRefusals ?? 100,
  refusalPenalty: duration("refusalPenalty", options.refusalPenalty ?? "10 seconds")
})

/**
 * The defaults and limits in which wires differ.
 *
 * @since 0.1.0
 * @category models
 */
export interface WireDefaults {
  readonly keepaliveTime: Duration.DurationInput
  readonly maxConnectionAge: Duration.DurationInput
  readonly maxHandshakes: number
  /** The largest metadata that the wire carries, in bytes. */
  readonly maxMetadataSize: number
}

/**
 * The options of a wire with their defaults filled in.
 *
 * @since 0.1.0
 * @category constructors
 */
export const wireDefaults = (options: WireOptions, defaults: WireDefaults) => {
  const common = withDefaults(options)
  return {
    ...common,
    ...handshakeDefaults(options, defaults),
    maxMetadataSize: Math.min(common.maxMetadataSize, defaults.maxMetadataSize),
    connectTimeout: duration("connectTimeout", options.connectTimeout ?? "5 seconds"),
    keepaliveTime: duration("keepaliveTime", options.keepaliveTime ?? defaults.keepaliveTime),
    keepaliveTimeout: duration("keepaliveTimeout", options.keepaliveTimeout ?? "10 seconds"),
    messageTimeout: duration("messageTimeout", options.messageTimeout ?? "60 seconds"),
    connectionWindow: options.connectionWindow ?? 8 * 1024 * 1024,
    maxConnections: options.maxConnections ?? 10_000,
    maxConnectionAge: duration("maxConnectionAge", options.maxConnectionAge ?? defaults.maxConnectionAge),
    initialReconnectBackoff: duration("initialReconnectBackoff", options.initialReconnectBackoff ?? "1 second"),
    maxReconnectBackoff: duration("maxReconnectBackoff", options.maxReconnectBackoff ?? "120 seconds"),
    rehandshakeWithin: Option.map(Option.fromNullable(options.rehandshakeWithin), (input) =>
      duration("rehandshakeWithin", input)
    ),
    serverName: options.serverName
  }
}

/**
 * The options of streams with their defaults filled in.
 *
 * @since 0.1.0
 * @category constructors
 */
export const streamDefaults = (options: StreamOptions) => ({
  streamWindow: options.streamWindow ?? 1024 * 1024,
  maxCallRate: options.maxCallRate ?? 200_000,
  maxCancelRate: options.maxCancelRate ?? 10_000
})
