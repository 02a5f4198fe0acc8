/**
 * The options that transports share: those of all transports, and those of all that have a wire.
 *
 * @since 0.1.0
 */
import * as Duration from "effect/Duration"
import * as Option from "effect/Option"
import type { Compression } from "../Transport/Connection.js"
import * as Metadata from "../Transport/Metadata.js"

/**
 * The options of every transport. A duration may be `Infinity`; one that is negative or no number is a defect of the
 * layer.
 *
 * @since 0.1.0
 * @category models
 */
export interface TransportOptions {
  /** The timeout of calls without one of their own. Default 30 seconds: a call without a timeout can wait for ever. */
  readonly defaultTimeout?: Duration.DurationInput | undefined
  /**
   * How long a call may take at a listener, whatever its caller's deadline: after that its handler is interrupted and
   * the caller gets `DeadlineExceeded`. The deadline that a handler sees, and that its own calls inherit, is the
   * earlier of both. Default 5 minutes for unary calls and no limit for streaming ones; a value is the limit of both.
   * Without it calls without a deadline could use up the streams of a connection (`maxConcurrentStreams`) for ever.
   */
  readonly maxCallDuration?: Duration.DurationInput | undefined
  /** How long calls in flight may go on when a listener closes. Default 5 seconds. */
  readonly gracePeriod?: Duration.DurationInput | undefined
  /** The largest message to send, in bytes. Default 4 MiB, as gRPC receives by default. */
  readonly maxSendMessageSize?: number | undefined
  /**
   * The largest message to receive, in bytes. Default 4 MiB, as in gRPC: it bounds the memory that one message costs.
   * At most 4 GiB - 1 over TLS.
   */
  readonly maxReceiveMessageSize?: number | undefined
  /**
   * The most elements that a received message may hold: fields (known or not), numbers of packed lists and entries of
   * maps, at any depth; `bytes` and `string` are one each, whatever their size. A call with more ends with
   * `ResourceExhausted` before the message is decoded. Default 65,536: an element of two bytes costs up to 400 bytes of
   * memory and half a microsecond or more, and this bounds the cost of a message beyond its size. Raise it for a
   * contract with longer lists.
   */
  readonly maxMessageElements?: number | undefined
  /**
   * The largest metadata of a call, in bytes as RFC 9113 section 6.5.2 counts them. Default 16 KiB. At most 1 MiB,
   * 32 KiB over TLS, where it is one frame, and 60 KiB with `Grpc.layerGrpcJs`, because node:http2 takes 64 KiB of header
   * fields.
   */
  readonly maxMetadataSize?: number | undefined
  /**
   * Bytes of responses that the peer of one connection has not read. Above it further responses wait, and their
   * handlers with them. Default 8 MiB.
   */
  readonly maxUnsentBytes?: number | undefined
  /**
   * Bytes that all connections of one listener keep in memory: messages that are unread, unfinished or unsent. Above it
   * the connection that keeps most is closed. Default 512 MiB.
   */
  readonly maxBufferedBytes?: number | undefined
  /**
   * Useless work that a peer may cause in a second on one connection before the connection is closed: calls that are
   * denied, refused or cancelled, or whose deadline passes within 10 ms, and with TlsLive frames without effect too.
   * Default 2,000: one costs a listener up to half a millisecond, and honest callers come to some hundreds.
   */
  readonly maxUselessRate?: number | undefined
  /**
   * Calls that a peer may have in flight on one connection; further ones wait, with QUIC some of them at the listener.
   * Default 100. At most 2^29 - 1 over QUIC and 2^32 - 1 over gRPC and TLS.
   */
  readonly maxConcurrentStreams?: number | undefined
  /**
   * Whether calls are measured: their durations by method and status, their messages and bytes, and how long they wait for
   * their peer. Default true, which costs a quarter of a microsecond a call. See docs/guide/observability.md.
   */
  readonly metrics?: boolean | undefined
}

/**
 * The limits of listeners on peers that have not proved who they are. A source is an IPv4 address or the /64 of an IPv6
 * address; peers of unix sockets have none, and only the number of handshakes limits them.
 *
 * @since 0.1.0
 * @category models
 */
export interface HandshakeOptions {
  /**
   * How long a handshake with a listener may take, from the first byte or packet to the peer's first frame of HTTP/2,
   * HTTP/3 or TlsLive. The connection of a slower peer is closed. Default 5 seconds, at most 24.8 days.
   */
  readonly handshakeTimeout?: Duration.DurationInput | undefined
  /**
   * Connections of a listener at a time whose peers have not proved who they are. A further one takes the place of the
   * oldest that has sent nothing (with QuicLive only one packet), or else of the oldest of the source that has the
   * most. Default 1,024, twice the system's backlog; with QuicLive 200, because each has cost a signature.
   */
  readonly maxHandshakes?: number | undefined
  /**
   * Bytes that a client may send before its handshake is over. Default 128 KiB: a chain of many large certificates
   * fits. With TLS over TCP they are counted ten times a second, because OpenSSL limits certificates to 100 KB but not
   * padding (RFC 8446, section 5.4). QuicLive counts each packet as at least 512 bytes, which bounds the CRYPTO frames
   * that the engine keeps (RFC 9000, section 7.5).
   */
  readonly maxHandshakeBytes?: number | undefined
  /**
   * Handshakes that a source may begin in a second. Default 100: each costs a signature. Those of a second may come at
   * once. With `GrpcLive` and `TlsLive` further ones wait as long as `handshakeTimeout` allows; `QuicLive` does not
   * answer them, and their clients try again by themselves.
   */
  readonly maxHandshakeRate?: number | undefined
  /**
   * The same for all sources of a listener. Default 500: more than half of what one core can do would leave no time for
   * calls.
   */
  readonly maxTotalHandshakeRate?: number | undefined
  /**
   * Handshakes of a source that are refused here within 10 seconds (an untrusted certificate, no authorization, no TLS)
   * before it is put into the penalty box, where its connections are closed at once. Default 100, so that some tens of
   * misconfigured peers behind one NAT don't keep out the others. Beyond 4 KiB each 512 bytes of a handshake count as
   * another refusal. One handshake of more than `maxHandshakeBytes` is enough. A successful one clears the count.
   */
  readonly maxRefusals?: number | undefined
  /**
   * How long a source stays in the penalty box. If it comes back soon it stays twice as long as the last time, up to 32
   * times as long as the first. Default 10 seconds, at most 24.8 days.
   */
  readonly refusalPenalty?: Duration.DurationInput | undefined
}

/**
 * The options of the transports that compress messages: GrpcLive and QuicLive. What was compressed with gzip is read in any
 * case, within `maxReceiveMessageSize`.
 *
 * @since 0.1.0
 * @category models
 */
export interface CompressionOptions {
  /**
   * How to compress messages of 1 KiB and more that are sent, in requests and, if the caller understands it, in answers.
   * Default "identity", not at all: to compress costs more than to send on most networks, and the size of messages that mix
   * secrets with what somebody else chose tells of the secrets. A call's own `compression` goes first.
   *
   * Source: "compression.md" of gRPC.
   */
  readonly compression?: Compression | undefined
}

/**
 * The options of every transport that has a wire: GrpcLive, QuicLive and TlsLive.
 *
 * @since 0.1.0
 * @category models
 */
export interface WireOptions extends TransportOptions, HandshakeOptions {
  /**
   * How long a client may take to connect: name lookup, TCP, TLS (or QUIC), and the peer's first frame. Default 5
   * seconds: without it a client would wait for ever for a peer that accepts and then says nothing.
   */
  readonly connectTimeout?: Duration.DurationInput | undefined
  /**
   * How long a connection may be silent before each side pings the other. Default 30 seconds with TlsLive, 25 with
   * QuicLive: NATs forget a UDP flow after 30 (RFC 4787, section 4.3, demands two minutes; RFC 9308, section 3.2, tells
   * what is seen).
   *
   * With GrpcLive the interval of HTTP/2 PINGs, 5 minutes by default (at most 24.8 days with `Grpc.layerGrpcJs`): servers that
   * follow gRPC take more frequent ones for abuse, unless they are configured to allow them. A dead peer is noticed sooner, after
   * 40 seconds, by TCP keep-alive (30 seconds of silence, then a probe a second), by one PING when a call reaches its
   * deadline, and by calls that only time out. A listener lets its clients ping every 10 seconds, or as often as it
   * does itself; those that ping more often lose the connection (`too_many_pings`).
   *
   * Source: gRFC A8 (client), A9 (server).
   */
  readonly keepaliveTime?: Duration.DurationInput | undefined
  /**
   * How long the answer to a ping may take before the connection is closed. Default 10 seconds; at most 24.8 days with
   * `Grpc.layerGrpcJs`.
   */
  readonly keepaliveTimeout?: Duration.DurationInput | undefined
  /**
   * How long a message may take from its first to its last byte, not counting the time in which it waits for the reader
   * on this side. After that its call fails with `DeadlineExceeded`. With GrpcLive the message of a unary call ends when
   * its sender has ended the stream. Default 60 seconds.
   */
  readonly messageTimeout?: Duration.DurationInput | undefined
  /**
   * Bytes of unread messages of all calls of a connection together, plus 128 for each message, and the same again for
   * unfinished messages: whatever its peer does, a connection costs no more than twice this and one message. Default 8
   * MiB.
   *
   * - TlsLive: senders have to wait. At most 4 GiB - 1.
   * - GrpcLive: of unfinished messages only one goes on above it, until others have ended. A stream whose reader is slow
   *   holds up its own sender alone; only above twice this all senders of the connection wait. As much again is what the
   *   windows of streams may grow beyond `streamWindow` together. At most 2 GiB - 1.
   * - QuicLive: above it the latest calls that nobody reads are cancelled with `ResourceExhausted`, and so is the call
   *   whose unfinished message exceeds it, unless that is the only one. Peers of this library assume at least 8 MiB:
   * they
   *   begin messages of 32 KiB and more as long as those they have begun amount to 4 MiB at most. If the option is
   * given,
   *   bytes that are still in packets count too. By default there may be as many of those as fit into the windows of
   *   `maxConcurrentStreams` (100) calls, 100 MiB: their senders have to wait, and slow readers cost no calls.
   */
  readonly connectionWindow?: number | undefined
  /**
   * Connections of a listener at a time whose peers have proved who they are; further ones are closed at once. Default
   * 10,000.
   */
  readonly maxConnections?: number | undefined
  /**
   * How long a connection of a listener lives before its client is asked to make another, give or take a tenth; calls
   * on it then have `gracePeriod` to end. `Infinity` is unlimited and the default, except for QuicLive: 24 hours there,
   * because quiche frees some memory of a connection only at its end.
   *
   * With `Grpc.layerGrpcJs`, node:http2 accepts no call once it has asked a client to leave: a call that is on its way at
   * that moment fails with `Unavailable`, `processed: "no"`, and has not run, as with `rehandshakeWithin`. `RetryPolicy`
   * retries it.
   *
   * Source: gRFC A9.
   */
  readonly maxConnectionAge?: Duration.DurationInput | undefined
  /**
   * The delay before the second attempt to connect; it grows by a factor of 1.6 with a jitter of 0.2. Default 1 second.
   * While a call waits, attempts are no further apart than this, or than 1 second if this is more (10 milliseconds at
   * least).
   */
  readonly initialReconnectBackoff?: Duration.DurationInput | undefined
  /** The longest delay between attempts to connect. Default 120 seconds, as in gRPC's connection backoff. */
  readonly maxReconnectBackoff?: Duration.DurationInput | undefined
  /**
   * Replaces connections after a rotation of the credentials: clients make new ones, and listeners ask their clients
   * to, each at a random moment in the first half of this time, and within an hour. Calls on the old connections have
   * this long to end. Off by default: connections keep the certificates that they began with.
   *
   * With `Grpc.layerGrpcJs` a call that is on its way when a listener asks fails with `Unavailable`, `processed: "no"`, because
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
  /** Calls that a peer may open in a second before its connection is closed. Default 200,000. */
  readonly maxCallRate?: number | undefined
  /**
   * Calls that a peer may cancel in a second before its connection is closed. Default 10,000. Compare CVE-2023-44487.
   */
  readonly maxCancelRate?: number | undefined
}

/**
 * The duration of an option, which may be infinite. Throws `RangeError` if it is negative or not a number: that is a
 * mistake in the program.
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
 * How long calls may take at a listener, in milliseconds.
 *
 * @since 0.1.0
 * @category models
 */
export interface CallDurations {
  readonly unary: number
  readonly streaming: number
}

/** Without the option, streams have no limit. */
const callDurations = (option: Duration.DurationInput | undefined): CallDurations => {
  if (option === undefined) {
    return { unary: 5 * 60_000, streaming: Number.POSITIVE_INFINITY }
  }
  const millis = Duration.toMillis(duration("maxCallDuration", option))
  return { unary: millis, streaming: millis }
}

/**
 * The options with their defaults filled in. Throws `RangeError` as `duration` does.
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
  maxConcurrentStreams: options.maxConcurrentStreams ?? 100,
  metrics: options.metrics ?? true
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
 * The options of a wire with their defaults filled in. Throws `RangeError` as `duration` does.
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
