/** The metrics of calls by their names, which are OpenTelemetry's where its conventions have one. */
import * as MetricBoundaries from "effect/MetricBoundaries"
import * as MetricKey from "effect/MetricKey"

/**
 * Seconds. OpenTelemetry's from 5 ms on; a call on loopback takes a fraction of that.
 *
 * Source: semantic conventions for RPC metrics 1.40, `ExplicitBucketBoundaries`.
 */
const boundaries = MetricBoundaries.fromIterable([
  0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10
])

const counter = (name: string, description: string) => MetricKey.counter(name, { description, incremental: true })

export const clientCallDuration = MetricKey.histogram(
  "rpc.client.call.duration",
  boundaries,
  "The duration of calls that this process made"
)

export const serverCallDuration = MetricKey.histogram(
  "rpc.server.call.duration",
  boundaries,
  "The duration of calls that this process answered"
)

export const clientCallsInFlight = MetricKey.gauge("effect_transport_client_calls_in_flight", {
  description: "Calls that this process made and that have not ended"
})

export const queueTime = MetricKey.histogram(
  "effect_transport_queue_time",
  boundaries,
  "How long calls waited until their peer took one more"
)

export const messagesSent = counter("effect_transport_messages_sent", "Messages of calls that were sent")

export const messagesReceived = counter("effect_transport_messages_received", "Messages of calls that were received")

export const bytesSent = counter("effect_transport_bytes_sent", "Bytes of the messages sent, before compression")

export const bytesReceived = counter(
  "effect_transport_bytes_received",
  "Bytes of the messages received, after decompression"
)

export const admissionRefused = counter(
  "effect_transport_admission_refused",
  "Sources, connections and calls that an admission refused"
)

export const retries = counter("effect_transport_retries", "Retries that a RetryPolicy began")

const eventLoopDelay = (name: string, which: string) =>
  MetricKey.gauge(`nodejs.eventloop.delay.${name}`, {
    description: `How late timers of the event loop were in the last 10 seconds, in seconds: ${which}`
  })

export const eventLoopDelayP50 = eventLoopDelay("p50", "the median")

export const eventLoopDelayP90 = eventLoopDelay("p90", "one in ten was later")

export const eventLoopDelayP99 = eventLoopDelay("p99", "one in a hundred was later")

export const eventLoopDelayMax = eventLoopDelay("max", "the latest")
