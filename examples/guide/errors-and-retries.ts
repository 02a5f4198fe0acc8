import { Effect, Layer, Option, Ref } from "effect"
import {
  Credentials,
  ErrorDetails,
  NotFound,
  ResourceExhausted,
  RetryPolicy,
  TlsLive,
  Transport,
  Unavailable
} from "effect-transport"
import { PohService } from "../gen/poh/v1/poh_pb.js"

const handlers = (attempts: Ref.Ref<number>) =>
  Transport.handlers(PohService, {
    prove: ({ slot }) =>
      Effect.gen(function* () {
        if (slot === 0n) {
          return yield* new NotFound({ message: "slots begin with 1" })
        }
        if (slot === 1n) {
          return yield* new ResourceExhausted({
            message: "too many proofs",
            details: [ErrorDetails.pack(ErrorDetails.QuotaFailure, { violations: [{ subject: "node-b" }] })]
          })
        }
        const attempt = yield* Ref.updateAndGet(attempts, (n) => n + 1)
        if (attempt < 3) {
          return yield* new Unavailable({ message: "still starting" })
        }
        return { slot, valid: true, message: `at attempt ${attempt}` }
      }),
    proveBatch: () => Effect.dieMessage("a bug")
  })

const caught = Effect.gen(function* () {
  const { target } = yield* Transport.Listener
  const poh = yield* Transport.client(PohService, target)
  const missing = yield* poh.prove({ slot: 0n }).pipe(
    Effect.map(({ message }) => message),
    Effect.catchTag("NotFound", ({ message }) => Effect.succeed(`not found: ${message}`))
  )
  const quota = yield* poh.prove({ slot: 1n }).pipe(
    Effect.map(() => "nobody"),
    Effect.catchTag("ResourceExhausted", (error) =>
      Effect.succeed(
        Option.match(ErrorDetails.get(error, ErrorDetails.QuotaFailure), {
          onNone: () => "nobody",
          onSome: ({ violations }) => violations.map(({ subject }) => subject).join(", ")
        })
      )
    )
  )
  return [missing, `over its quota: ${quota}`]
})

const retried = Effect.gen(function* () {
  const { target } = yield* Transport.Listener
  const poh = yield* Transport.client(PohService, target)
  const { message } = yield* poh
    .prove({ slot: 7n })
    .pipe(Effect.retry(RetryPolicy.exponential({ initial: "10 millis", times: 5, on: ["Unavailable"] })))
  return message
})

const MainLive = Layer.unwrapEffect(Effect.map(Ref.make(0), (attempts) => Transport.serve([handlers(attempts)]))).pipe(
  Layer.provideMerge(TlsLive),
  Layer.provide(Credentials.layerDev())
)

export const program = Effect.all([caught, retried]).pipe(Effect.scoped, Effect.provide(MainLive))
