import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Metric from "effect/Metric"
import * as MetricBoundaries from "effect/MetricBoundaries"
import * as Option from "effect/Option"
import { Metadata } from "effect-transport"
import { handlerMicros } from "./EchoNode.js"
import { type Failure, fromError } from "./Failure.js"
import type { EchoInput } from "./inputs.js"
import { Nodes } from "./Nodes.js"
import type { TransportName } from "./transports.js"

/** How long a call may take that says nothing else, in milliseconds. */
const defaultTimeout = 5000

const echoes = Metric.counter("verify_echoes", {
  description: "Echoes that were asked for over HTTP, by transport and outcome",
  incremental: true
})

const seconds = Metric.histogram(
  "verify_echo_call_seconds",
  MetricBoundaries.exponential({ start: 0.0005, factor: 2, count: 14 }),
  "How long the calls of echoes took, by transport"
)

/** A function from now on: the milliseconds that have passed, to a thousandth. */
export const stopwatch = Effect.map(Clock.currentTimeNanos, (start) =>
  Effect.map(Clock.currentTimeNanos, (now) => millisBetween(start, now))
)

export const millisBetween = (start: bigint, end: bigint): number => Number((end - start) / 1000n) / 1000

interface Called {
  readonly echo: string
  readonly callMillis: number
  readonly handlerMillis: number
}

/** One call to the node of a transport, with how long it took here and there. */
export const call = (transport: TransportName, input: EchoInput): Effect.Effect<Called, Failure, Nodes> =>
  Effect.gen(function* () {
    const { client } = yield* Effect.flatMap(Nodes, (nodes) => nodes.get(transport))
    const elapsed = yield* stopwatch
    let trailers = Metadata.empty
    const { message } = yield* client
      .echo(
        { message: input.msg, delayMillis: input.delayMillis ?? 0 },
        {
          timeout: input.timeoutMillis ?? defaultTimeout,
          onTrailers: (received) => {
            trailers = received
          }
        }
      )
      .pipe(Effect.mapError(fromError(transport)))
    const callMillis = yield* elapsed
    yield* Metric.update(Metric.tagged(seconds, "transport", transport), callMillis / 1000)
    const handlerMillis = Option.match(Metadata.get(trailers, handlerMicros), {
      onNone: () => 0,
      onSome: (micros) => Number(micros) / 1000
    })
    return { echo: message, callMillis, handlerMillis }
  }).pipe(
    Effect.tapBoth({
      onFailure: ({ _tag }) => count(transport, _tag),
      onSuccess: () => count(transport, "Success")
    })
  )

const count = (transport: TransportName, outcome: string) =>
  Metric.increment(Metric.tagged(Metric.tagged(echoes, "transport", transport), "outcome", outcome))
