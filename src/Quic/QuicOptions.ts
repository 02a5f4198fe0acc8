/** The options of the QUIC transport, and their defaults. */
import * as TransportOptions from "../Connections/TransportOptions.js"
import * as Metadata from "../Transport/Metadata.js"

/**
 * The options of the QUIC transport.
 *
 * @since 0.1.0
 * @category models
 */
export interface QuicOptions
  extends TransportOptions.WireOptions,
    TransportOptions.StreamOptions,
    TransportOptions.CompressionOptions {
  /**
   * The largest UDP payload that is sent, in bytes. Default 1350, which fits through tunnels on paths of 1500; loopback and
   * networks with jumbo frames take up to 16,383 and are several times as fast with it. At least 1200, as QUIC wants it.
   * There is no discovery.
   */
  readonly maxUdpPayload?: number | undefined
  /** Datagrams that wait on a connection, in each direction, before further ones are dropped. Default 1,024. */
  readonly maxDatagrams?: number | undefined
  /**
   * Bytes of datagrams that came on a connection and wait to be read, each with 128 more for what it costs, before further
   * ones are dropped. Nothing is kept where the program has not asked for the channel. Default 1 MiB.
   */
  readonly maxDatagramBytes?: number | undefined
  /**
   * `maxHandshakeBytes` for all handshakes of a listener together. Above it, the one that has sent the most is refused.
   * Default 4 MiB.
   */
  readonly maxTotalHandshakeBytes?: number | undefined
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
  /**
   * Whether a listener asks clients for a certificate. Default `require`. With `none` whoever comes is let in without an
   * identity, as browsers and ordinary HTTP/3 clients are; authorizers see nobody in them.
   */
  readonly clientCertificate?: "require" | "none" | undefined
}

export const withDefaults = (options: QuicOptions) => {
  const wire = TransportOptions.wireDefaults(options, {
    keepaliveTime: "25 seconds",
    maxConnectionAge: "24 hours",
    maxHandshakes: 200,
    maxMetadataSize: Metadata.maxSize
  })
  const stream = TransportOptions.streamDefaults(options)
  return {
    ...wire,
    ...stream,
    /** What may be unread in packets. */
    unreadWindow: options.connectionWindow ?? wire.maxConcurrentStreams * stream.streamWindow,
    compression: options.compression ?? "identity",
    maxUdpPayload: options.maxUdpPayload ?? 1350,
    maxDatagrams: options.maxDatagrams ?? 1024,
    maxDatagramBytes: options.maxDatagramBytes ?? 1024 * 1024,
    maxTotalHandshakeBytes: options.maxTotalHandshakeBytes ?? 4 * 1024 * 1024,
    maxPacketRate: options.maxPacketRate ?? 500_000,
    maxIdlePacketRate: options.maxIdlePacketRate ?? 10_000,
    maxIdleBytes: options.maxIdleBytes ?? 4 * 1024 * 1024,
    clientCertificate: options.clientCertificate ?? "require"
  }
}

export type Settings = ReturnType<typeof withDefaults>
