/**
 * Three nodes in a row, over two wires: the edge asks the verifier over gRPC, which asks the prover over TLS. Each has
 * telemetry of its own, as three processes would.
 */
import { Context, Effect, Layer, Stream } from "effect"
import { Credentials, DevCa, GrpcLive, RetryPolicy, TlsLive, Transport, Unavailable } from "effect-transport"
import { PohService } from "../gen/poh/v1/poh_pb.js"

/** A node's own tracer, by its name. */
export type TelemetryOf = (node: string) => Layer.Layer<never>

class Prover extends Context.Tag("observability/Prover")<Prover, Transport.Client<typeof PohService>>() {}

/** Every tenth claim finds the prover busy. */
const ProverHandlers = Effect.gen(function* () {
  let calls = 0
  return Transport.handlers(PohService, {
    prove: ({ iterations, slot }) => {
      calls += 1
      return calls % 10 === 5
        ? new Unavailable({ message: "busy", processed: "no" })
        : Effect.succeed({ slot, valid: iterations > 0, verifier: "prover" })
    },
    proveBatch: (requests) => Effect.map(Stream.runCount(requests), (valid) => ({ valid, verifier: "prover" }))
  })
})

const policy = RetryPolicy.exponential({ initial: "10 millis", times: 3, on: ["Unavailable"] })

const VerifierHandlers = Transport.handlers(PohService, {
  prove: (claim) =>
    Effect.flatMap(Prover, (prover) => Effect.withSpan(Effect.retry(prover.prove(claim), policy), "ask the prover")),
  proveBatch: (claims) => Effect.flatMap(Prover, (prover) => prover.proveBatch(claims))
})

/** A node's listener in its own scope of telemetry. Logs go nowhere: what they say stands in the metrics. */
const listen = <E, R>(node: string, telemetry: TelemetryOf, layer: Layer.Layer<Transport.Listener, E, R>) =>
  Effect.map(Layer.build(Layer.provide(Layer.fresh(layer), telemetry(node))), Context.get(Transport.Listener))

/** Starts the three nodes, and gives the edge's client of the verifier, with the edge's telemetry. */
export const start = (telemetry: TelemetryOf) =>
  Effect.gen(function* () {
    const ca = yield* DevCa.make()
    const certificates = Credentials.layerPem({ ...(yield* ca.issue({ names: ["127.0.0.1"] })), ca: ca.ca })
    const handlers = yield* ProverHandlers
    const prover = yield* listen(
      "prover",
      telemetry,
      Transport.serve([handlers]).pipe(Layer.provide(TlsLive), Layer.provide(certificates))
    )
    const verifier = yield* listen(
      "verifier",
      telemetry,
      Transport.serve([VerifierHandlers]).pipe(
        Layer.provide(GrpcLive),
        Layer.provide(
          Layer.provide(
            Layer.scoped(Prover, Transport.client(PohService, prover.target, { timeout: "5 seconds" })),
            TlsLive
          )
        ),
        Layer.provide(certificates)
      )
    )
    const edge = yield* Layer.build(Layer.provide(GrpcLive, certificates))
    const client = yield* Effect.provide(Transport.client(PohService, verifier.target), edge)
    const tracer = yield* Layer.build(telemetry("edge"))
    return {
      prover: prover.target,
      verifier: verifier.target,
      /** What the edge does with a claim, in a trace of its own. */
      claim: (slot: bigint) =>
        client.prove({ slot, iterations: 1000 }).pipe(Effect.withSpan("claim", { root: true }), Effect.provide(tracer)),
      batch: Stream.range(1, 10).pipe(
        Stream.map((slot) => ({ slot: BigInt(slot), iterations: 1000 })),
        (claims) => client.proveBatch(claims),
        Effect.withSpan("batch", { root: true }),
        Effect.provide(tracer)
      )
    }
  })
