import { Duration, Effect, Either, Layer, Stream } from "effect"
import {
  CircuitBreaker,
  Credentials,
  Deadline,
  Hedge,
  RetryBudget,
  RetryPolicy,
  TlsLive,
  Transport,
  TransportError
} from "effect-transport"
import { PohService } from "../gen/poh/v1/poh_pb.js"

const resilient = (target: string, breaker: CircuitBreaker.CircuitBreaker) =>
  Effect.gen(function* () {
    const budget = yield* RetryBudget.make()
    return yield* Transport.client(PohService, target, {
      timeout: "2 seconds",
      middleware: [
        RetryPolicy.client({ initial: "50 millis", times: 3, budget }),
        yield* Hedge.client({ after: "p95", budget }),
        CircuitBreaker.client(breaker),
        RetryBudget.client(budget)
      ]
    })
  })

const watch = (breaker: CircuitBreaker.CircuitBreaker) =>
  Stream.runForEach(breaker.state.changes, (state) => Effect.logDebug(`peer-node is ${state._tag}`))

const patient = CircuitBreaker.make({
  name: "peer-node",
  isFailure: (error, took) =>
    error instanceof TransportError.DeadlineExceeded
      ? Duration.greaterThan(took, "500 millis")
      : error instanceof TransportError.Unavailable
})

/** What replicas say, eight at a time, with 20 ms kept for the answer: one that hangs costs the others no time. */
const majority = (asked: ReadonlyArray<Effect.Effect<boolean, TransportError.CallError>>) =>
  Effect.gen(function* () {
    const { deadline } = yield* Transport.CurrentCall
    const [first, second] = yield* Deadline.split(deadline, [1, 3])
    // A quarter of the time, and all that is left.
    const own = yield* Effect.either(Deadline.within(Effect.never, first))
    const answers = yield* Deadline.fanOut(asked, { deadline: second, concurrency: 8, reserve: "20 millis" })
    return { isLate: Either.isLeft(own), valid: 2 * answers.filter(Either.isRight).length > answers.length }
  })

const PohHandlers = Transport.handlers(PohService, {
  prove: ({ slot }) =>
    Effect.map(majority([Effect.succeed(true), Effect.succeed(true), Effect.never]), ({ isLate, valid }) => ({
      slot,
      valid,
      message: isLate ? "without its own" : ""
    })),
  proveBatch: (requests) => Effect.map(Stream.runCount(requests), (valid) => ({ valid }))
})

const MainLive = Layer.provide(TlsLive, Credentials.layerDev())

export const program = Effect.gen(function* () {
  const { target } = yield* Transport.listen([PohHandlers])
  const breaker = yield* patient
  yield* Effect.forkScoped(watch(breaker))
  const poh = yield* resilient(target, breaker)
  const { message, valid } = yield* poh.prove({ slot: 7n }, { timeout: "1 second" })
  return { message, valid, breaker: (yield* breaker.state)._tag }
}).pipe(Effect.scoped, Effect.provide(MainLive))
