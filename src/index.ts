/**
 * The public surface of effect-transport.
 *
 * @since 0.1.0
 */

export * as Grpc from "./Grpc/GrpcLive.js"
export { GrpcLive } from "./Grpc/GrpcLive.js"
export * as Quic from "./Quic/QuicLive.js"
export { QuicLive, QuicUnavailable } from "./Quic/QuicLive.js"
export * as ClusterTransport from "./Rpc/ClusterTransport.js"
export * as RpcTransport from "./Rpc/RpcTransport.js"
export * as RetryPolicy from "./Schedule/RetryPolicy.js"
export * as Credentials from "./Tls/Credentials.js"
export * as DevCa from "./Tls/DevCa.js"
export * as Pins from "./Tls/Pins.js"
export * as Tls from "./Tls/TlsLive.js"
export { TlsLive } from "./Tls/TlsLive.js"
export * as Authorizer from "./Transport/Authorizer.js"
export * as Deadline from "./Transport/Deadline.js"
export * as ErrorDetails from "./Transport/ErrorDetails.js"
export * as Health from "./Transport/Health.js"
export * as Memory from "./Transport/MemoryLive.js"
export { MemoryLive } from "./Transport/MemoryLive.js"
export * as Metadata from "./Transport/Metadata.js"
export * as Method from "./Transport/Method.js"
export * as Peer from "./Transport/Peer.js"
export * as Service from "./Transport/Service.js"
export * from "./Transport/TransportError.js"
export * as TransportError from "./Transport/TransportError.js"
export * as TransportMetrics from "./Transport/TransportMetrics.js"
export * as TransportOptions from "./Transport/TransportOptions.js"
export * as Transport from "./Transport.js"
