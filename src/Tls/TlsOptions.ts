/** The options of the TLS transport, and their defaults. */
import type * as Duration from "effect/Duration"
import * as TransportOptions from "../Connections/TransportOptions.js"
import * as Wire from "../protocol/wire/Wire.js"

/**
 * The options of the TLS transport.
 *
 * @since 0.1.0
 * @category models
 */
export interface TlsOptions extends TransportOptions.WireOptions, TransportOptions.StreamOptions {
  /** How long a frame that has begun may take to end. Default 10 seconds. */
  readonly frameTimeout?: Duration.DurationInput | undefined
  /**
   * The old name of `streamWindow`, which wins where both are given.
   *
   * @deprecated Use `streamWindow`.
   */
  readonly callWindow?: number | undefined
  /** Pings that a peer may send in a second before it is cut off. Default 10. */
  readonly maxPingRate?: number | undefined
}

/** What the SETTINGS of the wire have 32 bits for. */
const uint32 = (value: number): number => Math.min(value, Wire.maxUint32)

export const withDefaults = (options: TlsOptions) => {
  const wire = TransportOptions.wireDefaults(options, {
    keepaliveTime: "30 seconds",
    maxConnectionAge: Number.POSITIVE_INFINITY,
    maxHandshakes: 1024,
    maxMetadataSize: Wire.maxMetadata
  })
  const stream = TransportOptions.streamDefaults({
    ...options,
    streamWindow: options.streamWindow ?? options.callWindow
  })
  return {
    ...wire,
    ...stream,
    maxReceiveMessageSize: uint32(wire.maxReceiveMessageSize),
    maxConcurrentStreams: uint32(wire.maxConcurrentStreams),
    connectionWindow: uint32(wire.connectionWindow),
    streamWindow: uint32(stream.streamWindow),
    frameTimeout: TransportOptions.duration("frameTimeout", options.frameTimeout ?? "10 seconds"),
    maxPingRate: options.maxPingRate ?? 10
  }
}

export type Settings = ReturnType<typeof withDefaults>
