/**
 * What the transports count and measure, for `Metric.value` and for whatever exports Effect's metrics.
 * docs/guide/observability.md has a table of them, with their labels.
 *
 * @since 0.1.0
 */
import * as Metric from "effect/Metric"
import * as Keys from "./internal/metricKeys.js"

/**
 * Calls being handled by listeners of this process.
 *
 * @since 0.1.0
 * @category metrics
 */
export const callsInFlight = Metric.gauge("effect_transport_calls_in_flight", {
  description: "Calls being handled by listeners of this process"
})

/**
 * Calls that this process made and that have not ended.
 *
 * @since 0.1.0
 * @category metrics
 */
export const clientCallsInFlight: Metric.Metric.Gauge<number> = Metric.fromMetricKey(Keys.clientCallsInFlight)

/**
 * Seconds that calls took which this process made, tagged with `rpc.system.name`, `rpc.method`, `rpc.response.status_code`,
 * `server.address`, `server.port`, and `error.type` where it is an error: with any status but `OK`.
 *
 * Source: OpenTelemetry's semantic conventions for RPC, as is what follows.
 *
 * @since 0.1.0
 * @category metrics
 */
export const clientCallDuration: Metric.Metric.Histogram<number> = Metric.fromMetricKey(Keys.clientCallDuration)

/**
 * Seconds that calls took which this process answered, tagged with `rpc.system.name`, `rpc.method` (`unknown` for what no
 * listener serves), `rpc.response.status_code`, and `error.type` where it is an error of this side.
 *
 * @since 0.1.0
 * @category metrics
 */
export const serverCallDuration: Metric.Metric.Histogram<number> = Metric.fromMetricKey(Keys.serverCallDuration)

/**
 * Seconds that calls waited until their peer took one more (`maxConcurrentStreams`), of those that had to; tagged with
 * `rpc.system.name` and `rpc.method`.
 *
 * @since 0.1.0
 * @category metrics
 */
export const queueTime: Metric.Metric.Histogram<number> = Metric.fromMetricKey(Keys.queueTime)

/**
 * Messages of calls that were sent, tagged with `side` (`client`, `server`), `rpc.system.name` and `rpc.method`.
 *
 * @since 0.1.0
 * @category metrics
 */
export const messagesSent: Metric.Metric.Counter<number> = Metric.fromMetricKey(Keys.messagesSent)

/**
 * Messages of calls that were received, tagged like those sent.
 *
 * @since 0.1.0
 * @category metrics
 */
export const messagesReceived: Metric.Metric.Counter<number> = Metric.fromMetricKey(Keys.messagesReceived)

/**
 * Bytes of the messages that were sent, before compression and without framing, tagged like them.
 *
 * @since 0.1.0
 * @category metrics
 */
export const bytesSent: Metric.Metric.Counter<number> = Metric.fromMetricKey(Keys.bytesSent)

/**
 * Bytes of the messages that were received, after decompression, tagged like them.
 *
 * @since 0.1.0
 * @category metrics
 */
export const bytesReceived: Metric.Metric.Counter<number> = Metric.fromMetricKey(Keys.bytesReceived)

/**
 * Retries that a `RetryPolicy` began, tagged with `rpc.method` and `error.type`: the status that was retried, or `other`.
 *
 * @since 0.1.0
 * @category metrics
 */
export const retries: Metric.Metric.Counter<number> = Metric.fromMetricKey(Keys.retries)

/**
 * Connections that clients of this process hold, tagged with `state`: `connecting`, `connected` or `failed` (waiting to try
 * again). Those of MemoryLive have no state.
 *
 * @since 0.1.0
 * @category metrics
 */
export const clientConnections = Metric.gauge("effect_transport_client_connections", {
  description: "Connections that clients of this process hold, by state"
})

/**
 * Connections accepted by listeners of this process and open now.
 *
 * @since 0.1.0
 * @category metrics
 */
export const connectionsAccepted = Metric.gauge("effect_transport_connections_accepted", {
  description: "Connections accepted by listeners of this process and open now"
})

/**
 * Connections that clients of this process hold.
 *
 * @since 0.1.0
 * @category metrics
 */
export const connectionsOpened = Metric.gauge("effect_transport_connections_opened", {
  description: "Connections that clients of this process hold"
})

/**
 * Handshakes that listeners of this process refused, tagged with `reason`: that of a `HandshakeFailed`, or
 * `HandshakeTimeout`, `TooManyHandshakes`, `TooMuch`, `HandshakeRate`, `TotalHandshakeRate`, `PenaltyBox`,
 * `TooManyConnections`, `TooManyOfSource`, `ConnectionRate`, `Denied` (by a list of networks), `ProxyHeader` (a proxy did not
 * send one) or `Overloaded`.
 *
 * @since 0.1.0
 * @category metrics
 */
export const handshakesRefused = Metric.counter("effect_transport_handshakes_refused", {
  description: "Handshakes that listeners of this process refused",
  incremental: true
})

/**
 * Open connections that this process closed because their peer may not connect any more, or sends too much without content
 * (`TooMuch`, QuicLive), tagged with `reason`.
 *
 * @since 0.1.0
 * @category metrics
 */
export const connectionsRejected = Metric.counter("effect_transport_connections_rejected", {
  description: "Open connections that were closed because their peer may not connect any more",
  incremental: true
})

/**
 * What an admission refused, tagged with `rule` (its name, or `identities`, `listener` or `sources`), `what` (`source`,
 * `connection` or `call`) and `reason`. docs/guide/admission.md lists the reasons.
 *
 * @since 0.1.0
 * @category metrics
 */
export const admissionRefused: Metric.Metric.Counter<number> = Metric.fromMetricKey(Keys.admissionRefused)

/**
 * Calls that an authorizer denied to a peer of this process.
 *
 * @since 0.1.0
 * @category metrics
 */
export const callsDenied = Metric.counter("effect_transport_calls_denied", {
  description: "Calls that an authorizer denied to a peer of this process",
  incremental: true
})

/**
 * Seconds until the certificate that this process shows expires, below zero when it has; tagged with `subject`.
 *
 * @since 0.1.0
 * @category metrics
 */
export const credentialsSecondsToExpiry = Metric.gauge("effect_transport_credentials_seconds_to_expiry", {
  description: "Seconds until the certificate that this process shows expires"
})

/**
 * Credentials that were replaced by new ones from their files.
 *
 * @since 0.1.0
 * @category metrics
 */
export const credentialsRotations = Metric.counter("effect_transport_credentials_rotations", {
  description: "Credentials that were replaced by new ones from their files",
  incremental: true
})

/**
 * New credentials that could not be used, so that the last good ones stayed, tagged with `reason`.
 *
 * @since 0.1.0
 * @category metrics
 */
export const credentialsRotationFailures = Metric.counter("effect_transport_credentials_rotation_failures", {
  description: "New credentials that could not be used, so that the last good ones stayed",
  incremental: true
})

/**
 * Datagrams that this process dropped because a queue was full, by direction (`sending`, `receiving`).
 *
 * @since 0.1.0
 * @category metrics
 */
export const datagramsDropped = Metric.counter("effect_transport_datagrams_dropped", {
  description: "datagrams dropped for want of room in a queue",
  incremental: true
})

/**
 * What was thrown behind the boundary and ended a call or a connection instead of the process, tagged with `door`:
 * `socket`, `packet`, `timer`, `engine`, `handler` or `callback` (one that a user gave).
 *
 * @since 0.1.0
 * @category metrics
 */
export const boundaryCaught = Metric.counter("effect_transport_boundary_caught", {
  description: "Exceptions that were caught at the boundary",
  incremental: true
})

/**
 * Connections of `@effect/rpc` that this process has ended because of a frame that it does not take: malformed, or above
 * one of the limits of `RpcTransport`. Tagged with `side`: `client` or `server`.
 *
 * @since 0.1.0
 * @category metrics
 */
export const rpcFramesRefused = Metric.counter("effect_transport_rpc_frames_refused", {
  description: "Connections of @effect/rpc ended because of a frame",
  incremental: true
})
