/**
 * The public surface of effect-transport.
 *
 * @since 0.1.0
 */

export * as TransportOptions from "./Connections/TransportOptions.js"
export * as Credentials from "./Credentials/Credentials.js"
export * as DevCa from "./Credentials/DevCa.js"
export * as Pins from "./Credentials/Pins.js"
export * as Grpc from "./Grpc/GrpcLive.js"
export { GrpcLive } from "./Grpc/GrpcLive.js"
export * as Memory from "./Memory/MemoryLive.js"
export { MemoryLive } from "./Memory/MemoryLive.js"
export * as Datagrams from "./Quic/Datagrams.js"
export * as Http3 from "./Quic/Http3.js"
export * as Quic from "./Quic/QuicLive.js"
export { QuicLive, QuicUnavailable } from "./Quic/QuicLive.js"
export * as RpcTransport from "./Rpc/RpcTransport.js"
export * as RetryPolicy from "./Schedule/RetryPolicy.js"
export * as Tls from "./Tls/TlsLive.js"
export { TlsLive } from "./Tls/TlsLive.js"
export * as Authorizer from "./Transport/Authorizer.js"
export * as Deadline from "./Transport/Deadline.js"
export * as ErrorDetails from "./Transport/ErrorDetails.js"
export * as Health from "./Transport/Health.js"
export * as Metadata from "./Transport/Metadata.js"
export * as Method from "./Transport/Method.js"
export * as Peer from "./Transport/Peer.js"
export * as Service from "./Transport/Service.js"
export * from "./Transport/TransportError.js"
export * as TransportError from "./Transport/TransportError.js"
export * as TransportMetrics from "./Transport/TransportMetrics.js"
export * as Transport from "./Transport.js"
