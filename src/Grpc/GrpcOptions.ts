/** The options of the gRPC transport, and their defaults. */
import * as TransportOptions from "../Connections/TransportOptions.js"
import * as Metadata from "../Transport/Metadata.js"

/**
 * The options of the gRPC transport.
 *
 * @since 0.1.0
 * @category models
 */
export interface GrpcOptions
  extends TransportOptions.WireOptions,
    TransportOptions.StreamOptions,
    TransportOptions.CompressionOptions {
  /**
   * Unread bytes of one call that a peer may send before it has to wait, as HTTP/2 counts them. Default 65,535, with which
   * every HTTP/2 connection begins (RFC 9113, section 6.9.2). At most 2 GiB - 1.
   */
  readonly streamWindow?: number | undefined
  /** PING frames that a peer may send in a second before its connection is closed. Default 1,000. */
  readonly maxPingRate?: number | undefined
  /**
   * Whether a client pings connections without calls too, so that a lost peer is noticed before the next call. Default
   * false: servers that follow gRPC take such pings for abuse (gRFC A8).
   */
  readonly keepaliveWithoutCalls?: boolean | undefined
}

export const withDefaults = (options: GrpcOptions) => {
  const wire = TransportOptions.wireDefaults(options, {
    keepaliveTime: "5 minutes",
    maxConnectionAge: Number.POSITIVE_INFINITY,
    maxHandshakes: 1024,
    maxMetadataSize: Metadata.maxSize
  })
  const stream = TransportOptions.streamDefaults({ ...options, streamWindow: options.streamWindow ?? 65_535 })
  return {
    ...wire,
    ...stream,
    // SETTINGS_MAX_CONCURRENT_STREAMS has 32 bits, and a window 31.
    maxConcurrentStreams: Math.min(wire.maxConcurrentStreams, 2 ** 32 - 1),
    streamWindow: Math.min(stream.streamWindow, 2 ** 31 - 1),
    maxPingRate: options.maxPingRate ?? 1000,
    compression: options.compression ?? "identity",
    keepaliveWithoutCalls: options.keepaliveWithoutCalls ?? false
  }
}

export type Settings = ReturnType<typeof withDefaults>
