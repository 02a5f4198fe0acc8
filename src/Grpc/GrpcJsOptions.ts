/** The options of the gRPC transport on `@grpc/grpc-js`, and their defaults. */
import * as TransportOptions from "../Connections/TransportOptions.js"

/**
 * The options of the gRPC transport on `@grpc/grpc-js`.
 *
 * @since 0.1.0
 * @category models
 */
export interface GrpcJsOptions extends TransportOptions.WireOptions {
  /**
   * Whether a client pings connections without calls too, so that a lost peer is noticed before the next call. Default
   * false: servers that follow gRPC take such pings for abuse (gRFC A8).
   */
  readonly keepaliveWithoutCalls?: boolean | undefined
  /** The memory, in MiB, that one HTTP/2 session may use in Node before new streams are refused. Default 64. */
  readonly maxSessionMemory?: number | undefined
}

/** The largest metadata in HTTP/2 header fields: Node takes 64 KiB of them, of which HTTP and gRPC need some. */
export const maxMetadataSize = 60 * 1024

export const withDefaults = (options: GrpcJsOptions) => {
  const wire = TransportOptions.wireDefaults(options, {
    keepaliveTime: "5 minutes",
    maxConnectionAge: Number.POSITIVE_INFINITY,
    maxHandshakes: 1024,
    maxMetadataSize
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
