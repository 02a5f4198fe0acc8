/** The options of the gRPC transport, and their defaults. */
import * as TransportOptions from "../Connections/TransportOptions.js"
import * as GrpcMetadata from "./internal/grpcJs/GrpcMetadata.js"

/**
 * The options of the gRPC transport.
 *
 * @since 0.1.0
 * @category models
 */
export interface GrpcOptions extends TransportOptions.WireOptions {
  /**
   * Whether a client pings connections without calls too, so that a lost peer is noticed before the next call. Default
   * false: servers that follow gRPC take such pings for abuse (gRFC A8).
   */
  readonly keepaliveWithoutCalls?: boolean | undefined
  /** The memory, in MiB, that one HTTP/2 session may use in Node before new streams are refused. Default 64. */
  readonly maxSessionMemory?: number | undefined
}

export const withDefaults = (options: GrpcOptions) => {
  const wire = TransportOptions.wireDefaults(options, {
    keepaliveTime: "5 minutes",
    maxConnectionAge: Number.POSITIVE_INFINITY,
    maxHandshakes: 1024,
    maxMetadataSize: GrpcMetadata.maxSize
  })
  return {
    ...wire,
    // SETTINGS_MAX_CONCURRENT_STREAMS has 32 bits.
    maxConcurrentStreams: Math.min(wire.maxConcurrentStreams, 2 ** 32 - 1),
    keepaliveWithoutCalls: options.keepaliveWithoutCalls ?? false,
    maxSessionMemory: options.maxSessionMemory ?? 64
  }
}

export type Settings = ReturnType<typeof withDefaults>
