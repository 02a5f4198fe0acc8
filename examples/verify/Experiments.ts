/** Many calls to a node at once, over a good network and a bad one, and what became of them. */
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import { Transport } from "effect-transport"
import { EchoService } from "../gen/echo/v1/echo_pb.js"
import { millisBetween } from "./Echo.js"
import { type Failure, fromError } from "./Failure.js"
import type { LoadInput, NetworkInput } from "./inputs.js"
import type { Measured } from "./model.js"
import { Nodes } from "./Nodes.js"
import * as Relay from "./Relay.js"
import type { TransportName } from "./transports.js"

type Echo = Transport.Client<typeof EchoService>["echo"]

/** The value below which the given part of all values is; zero of none. */
export const percentile = (sorted: ReadonlyArray<number>, part: number): number =>
  sorted[Math.min(Math.floor(part * sorted.length), sorted.length - 1)] ?? 0

/** Calls one after another until the end, as often at a time as it says, and counts. */
const measure = (
  transport: TransportName,
  echo: Echo,
  { concurrency, goesOn, timeout }: { concurrency: number; goesOn: (begun: number) => boolean; timeout: number }
): Effect.Effect<Measured> =>
  Effect.gen(function* () {
    const latencies: Array<number> = []
    const failures: Record<string, number> = {}
    let begun = 0
    const one = Effect.gen(function* () {
      const start = yield* Clock.currentTimeNanos
      const failed = yield* echo({ message: "as fast as it goes" }, { timeout }).pipe(
        Effect.match({ onFailure: ({ _tag }) => _tag, onSuccess: () => undefined })
      )
      if (failed === undefined) {
        latencies.push(millisBetween(start, yield* Clock.currentTimeNanos))
      } else {
        failures[failed] = (failures[failed] ?? 0) + 1
      }
    })
    const worker = Effect.whileLoop({
      while: () => {
        begun += 1
        return goesOn(begun)
      },
      body: () => one,
      step: () => {}
    })
    const start = yield* Clock.currentTimeNanos
    yield* Effect.replicateEffect(worker, concurrency, { concurrency: "unbounded", discard: true })
    const millis = millisBetween(start, yield* Clock.currentTimeNanos)
    const sorted = latencies.toSorted((a, b) => a - b)
    return {
      transport,
      calls: sorted.length,
      failures,
      perSecond: Math.round((1000 * sorted.length) / Math.max(millis, 1)),
      p50Millis: percentile(sorted, 0.5),
      p99Millis: percentile(sorted, 0.99)
    }
  })

/** As many calls as there is time for. */
export const load = (
  transport: TransportName,
  { concurrency, millis }: LoadInput
): Effect.Effect<Measured, Failure, Nodes> =>
  Effect.gen(function* () {
    const { client } = yield* Effect.flatMap(Nodes, ({ get }) => get(transport))
    const end = performance.now() + millis
    return yield* measure(transport, client.echo, {
      concurrency,
      goesOn: () => performance.now() < end,
      timeout: 2_000
    })
  })

/** Calls over a connection of their own, on which all that passes is late and some of it is lost. */
export const network = (
  transport: TransportName,
  { calls, latencyMillis, lossPercent }: NetworkInput
): Effect.Effect<Measured, Failure, Nodes> =>
  Effect.gen(function* () {
    const { choice, identities, target } = yield* Effect.flatMap(Nodes, ({ get }) => get(transport))
    if (Option.isNone(choice.protocol)) {
      return yield* Effect.fail<Failure>({
        _tag: "FailedPrecondition",
        message: `there is no network below ${transport}`,
        transport
      })
    }
    const relay = yield* Relay.make(choice.protocol.value, target, { latencyMillis, lossPercent })
    const built = yield* Effect.orDie(Layer.build(Layer.provide(choice.layer, identities.app)))
    const client = yield* Effect.provide(
      Effect.mapError(Transport.client(EchoService, relay), fromError(transport)),
      built
    )
    return yield* measure(transport, client.echo, {
      concurrency: 4,
      goesOn: (begun) => begun <= calls,
      timeout: 5_000
    })
  }).pipe(Effect.scoped)
