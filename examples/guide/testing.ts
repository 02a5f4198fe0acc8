import { Context, Effect, Fiber, Layer, Stream, TestClock, TestContext } from "effect"
import { Memory, MemoryLive, Transport, Unavailable } from "effect-transport"
import { PohService } from "../gen/poh/v1/poh_pb.js"

class Poh extends Context.Tag("app/Poh")<Poh, Transport.Client<typeof PohService>>() {}

const verdict = (slot: bigint) =>
  Effect.gen(function* () {
    const poh = yield* Poh
    const { valid } = yield* poh.prove({ slot, iterations: 1 }, { timeout: "2 seconds" })
    return valid ? "valid" : "invalid"
  }).pipe(
    Effect.catchTag("DeadlineExceeded", () => Effect.succeed("too slow")),
    Effect.catchTag("Unavailable", ({ processed }) => Effect.succeed(processed === "no" ? "try again" : "who knows"))
  )

const ack = { $typeName: "poh.v1.PohAck", slot: 7n, valid: true, verifier: "test", message: "" } as const

const Fake = Layer.succeed(Poh, {
  prove: ({ slot }) =>
    slot === 0n ? Effect.fail(new Unavailable({ message: "down", processed: "no" })) : Effect.succeed(ack),
  proveBatch: () => Effect.fail(new Unavailable({ message: "down" }))
})

const byValue = Effect.all([verdict(0n), verdict(7n)]).pipe(Effect.provide(Fake))

const handlers = Transport.handlers(PohService, {
  prove: ({ iterations, slot }) =>
    slot === 9n ? Effect.never : Effect.succeed({ slot, valid: iterations > 0, verifier: "node-a" }),
  proveBatch: (requests) => Effect.map(Stream.runCount(requests), (valid) => ({ valid }))
})

const NodeLive = Transport.serve([handlers])

/** A client of the node above. */
const PohLive = Layer.unwrapScoped(
  Effect.map(Transport.Listener, ({ target }) => Transport.layerClient(Poh, PohService, target))
)

const inMemory = verdict(7n).pipe(Effect.provide(PohLive.pipe(Layer.provide(NodeLive), Layer.provide(MemoryLive))))

const isolated = verdict(7n).pipe(
  Effect.provide(PohLive.pipe(Layer.provide(NodeLive), Layer.provide(Memory.layer({ network: Memory.makeNetwork() }))))
)

const inNoTime = Effect.gen(function* () {
  const waiting = yield* Effect.fork(verdict(9n))
  yield* Effect.repeatN(Effect.yieldNow(), 100)
  yield* TestClock.adjust("2 seconds")
  return yield* Fiber.join(waiting)
}).pipe(
  Effect.provide(PohLive.pipe(Layer.provide(NodeLive), Layer.provide(MemoryLive))),
  Effect.provide(TestContext.TestContext)
)

export const program = Effect.scoped(Effect.all([byValue, inMemory, isolated, inNoTime]))
