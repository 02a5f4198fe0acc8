/**
 * The options that every transport has.
 *
 * @since 0.1.0
 */
import * as Duration from "effect/Duration"
import * as Metadata from "../Transport/Metadata.js"

/**
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
  /** The largest message to receive, in bytes. Default 4 MiB, as in gRPC: what one message may cost in memory. */
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
  /** Calls that a peer may have in flight on one connection; more wait, with QUIC some of them at the listener. Default 100. */
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
  /** How long a source waits in the penalty box. Default 10 seconds; each time soon after another is twice as long, up to 32 times. */
  readonly refusalPenalty?: Duration.DurationInput | undefined
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

/**
 * The options with their defaults filled in.
 *
 * @since 0.1.0
 * @category constructors
 */
export const handshakeDefaults = (options: HandshakeOptions) => ({
  maxHandshakeRate: options.maxHandshakeRate ?? 100,
  maxTotalHandshakeRate: options.maxTotalHandshakeRate ?? 500,
  maxRefusals: options.maxRefusals ?? 100,
  refusalPenalty: duration("refusalPenalty", options.refusalPenalty ?? "10 seconds")
})
