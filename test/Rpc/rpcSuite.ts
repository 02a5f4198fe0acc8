import * as RpcClient from "@effect/rpc/RpcClient"
import { describe, expect } from "@effect/vitest"
import * as Cause from "effect/Cause"
import * as Chunk from "effect/Chunk"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import type * as Layer from "effect/Layer"
import * as Stream from "effect/Stream"
import { Transport } from "effect-transport"
import { EchoService } from "../suite/fixtures/echo.js"
import { eventually, soon } from "../suite/fixtures/expect.js"
import { both, connect, Forbidden, formats, serve, TooLong, testOn } from "./rpcSupport.js"

const isDeath = (exit: Exit.Exit<unknown, unknown>) => Exit.isFailure(exit) && Cause.isDie(exit.cause)

/** What requests and streams do, with any serialization. */
export const rpcSuite = <E>(
  name: string,
  transport: Layer.Layer<Transport.Transport, E>,
  { provesIdentity = true } = {}
): void => {
  const test = testOn(transport)

  describe(`${name}, @effect/rpc`, () => {
    for (const [title, format] of Object.entries(formats)) {
      test(
        `values, typed errors, defects and streams in ${title}`,
        Effect.gen(function* () {
          const { client } = yield* both({ format })
          expect(yield* client.Shout({ text: "hello" })).toBe("HELLO")
          expect(yield* Effect.flip(client.Shout({ text: "x".repeat(101) }))).toEqual(new TooLong({ most: 100 }))
          expect(Chunk.toReadonlyArray(yield* Stream.runCollect(client.Count({ to: 30 })))).toEqual(
            Array.from({ length: 30 }, (_, i) => i + 1)
          )
          const seen: Array<number> = []
          const failing = Stream.runForEach(client.Count({ to: -1 }), (n) => Effect.sync(() => seen.push(n)))
          expect(yield* Effect.flip(failing)).toEqual(new TooLong({ most: 0 }))
          expect(seen).toEqual([1, 2])
          expect(isDeath(yield* Effect.exit(client.Broken()))).toBe(true)
          expect(yield* client.Ping()).toBe("pong")
        })
      )
    }

    test(
      "many at a time, and next to services of other contracts",
      Effect.gen(function* () {
        const { client, target } = yield* both()
        const texts = Array.from({ length: 500 }, (_, i) => `a${i}`)
        const all = Effect.forEach(texts, (text) => client.Shout({ text }), { concurrency: "unbounded" })
        expect(yield* all).toEqual(texts.map((text) => text.toUpperCase()))
        expect(yield* client.Ping()).toBe("pong")
        const other = yield* Transport.client(EchoService, target)
        expect((yield* other.echo({ message: "protobuf" })).message).toBe("protobuf")
      })
    )

    test(
      "what wants to be more than the server takes waits for its turn",
      Effect.gen(function* () {
        const { client, started } = yield* both({ maxConcurrentRequests: 2 })
        const never = yield* Effect.fork(client.Never())
        const [, , second] = yield* Effect.all([started.take, Effect.yieldNow(), Effect.fork(client.Never())])
        yield* started.take
        const waiting = yield* Effect.fork(client.Ping())
        const givesUp = yield* Effect.fork(client.Never())
        yield* Effect.yieldNow()
        yield* soon(Fiber.interrupt(givesUp))
        expect(waiting.unsafePoll()).toBe(null)
        yield* Fiber.interrupt(never)
        expect(yield* soon(Fiber.join(waiting))).toBe("pong")
        yield* Fiber.interrupt(second)
        expect(
          yield* Effect.forEach(Array.from({ length: 50 }), () => client.Ping(), { concurrency: "unbounded" })
        ).toHaveLength(50)
      })
    )

    test(
      "a defect that is fatal fails all requests of its client and ends their handlers; the next one works",
      Effect.gen(function* () {
        const { client, log, started } = yield* both()
        const never = yield* Effect.fork(Effect.exit(client.Never()))
        yield* started.take
        const exit = yield* Effect.exit(client.Broken())
        expect(Exit.isFailure(exit) && Cause.squash(exit.cause)).toMatchObject({ message: "broken" })
        expect(isDeath(yield* soon(Fiber.join(never)))).toBe(true)
        expect(yield* soon(client.Ping())).toBe("pong")
        yield* eventually(Effect.sync(() => expect(log).toEqual(["Never interrupted"])))
      })
    )

    test(
      "other failures of a request are its own: a defect that is not fatal, a response that can't be encoded, an unknown tag",
      Effect.gen(function* () {
        const { client, started } = yield* both({ disableFatalDefects: true })
        const never = yield* Effect.fork(client.Never())
        yield* started.take
        expect(isDeath(yield* Effect.exit(client.Broken()))).toBe(true)
        expect(isDeath(yield* Effect.exit(client.Lies()))).toBe(true)
        expect(isDeath(yield* soon(Effect.exit(client.Ghost())))).toBe(true)
        expect(yield* client.Ping()).toBe("pong")
        expect(never.unsafePoll()).toBe(null)
      })
    )

    test(
      "responses larger than a message",
      Effect.gen(function* () {
        const { client } = yield* both()
        expect((yield* client.Blob({ size: 6_000_000 })).length).toBe(6_000_000)
      })
    )

    for (const [title, format] of Object.entries(formats)) {
      test(
        `a response of more elements than are allowed fails its own request, unless both ends allow it: ${title}`,
        Effect.gen(function* () {
          const { client, started } = yield* both({ format })
          const slow = yield* Effect.fork(client.Slow())
          yield* started.take
          expect(yield* client.Numbers({ size: 65_000 })).toHaveLength(65_000)
          expect(isDeath(yield* Effect.exit(Effect.asVoid(client.Numbers({ size: 70_000 }))))).toBe(true)
          expect(slow.unsafePoll()).toBe(null)

          const { target } = yield* serve({ format, maxFrameElements: 200_000 })
          const wide = yield* connect(target, format, { maxFrameElements: 200_000 })
          expect(yield* wide.Numbers({ size: 100_000 })).toHaveLength(100_000)
        })
      )
    }

    test(
      "interrupts go both ways",
      Effect.gen(function* () {
        const { client, log, started } = yield* both()
        const fiber = yield* Effect.fork(client.Never())
        yield* started.take
        yield* Fiber.interrupt(fiber)
        yield* eventually(Effect.sync(() => expect(log).toEqual(["Never interrupted"])))
        const exit = yield* soon(Effect.exit(client.GiveUp()))
        expect(Exit.isFailure(exit) && Cause.isInterruptedOnly(exit.cause)).toBe(true)
      })
    )

    test(
      "a consumer that stops reading stops the producer, and ends it when it leaves",
      Effect.gen(function* () {
        const { client, log } = yield* both()
        const first = yield* Deferred.make<void>()
        const consumer = yield* Stream.runForEach(client.Count({ to: 100_000 }, { streamBufferSize: 4 }), () =>
          Effect.zipRight(Deferred.succeed(first, undefined), Effect.never)
        ).pipe(Effect.fork)
        yield* Deferred.await(first)
        // Each takes a turn of both ends, in which the producer could go on.
        yield* Effect.repeatN(client.Ping(), 100)
        // One is with the consumer, four wait for it, one waits for room, and one waits for that one's ack.
        expect(log.length).toBeLessThanOrEqual(7)
        yield* Fiber.interrupt(consumer)
        yield* eventually(Effect.sync(() => expect(log.at(-1)).toBe("Count ended")))
        expect(log.length).toBeLessThanOrEqual(8)
      })
    )

    test(
      "a stream that nobody reads from holds up nothing else, also when its consumer has left",
      Effect.gen(function* () {
        const { client } = yield* both()
        // Chunks that do not fit what waits for the consumer.
        const unread = yield* client.Burst({ size: 1000 }, { asMailbox: true })
        expect(yield* unread.take).toBe(1)
        expect(yield* soon(client.Ping())).toBe("pong")
        const some = Stream.take(client.Burst({ size: 1000 }), 5)
        expect(Chunk.toReadonlyArray(yield* soon(Stream.runCollect(some)))).toEqual([1, 2, 3, 4, 5])
        expect(yield* soon(client.Ping())).toBe("pong")
        const all = yield* soon(Stream.runCount(client.Burst({ size: 1000 })))
        expect(all).toBe(1000)
      })
    )

    test(
      "headers reach a middleware, whose refusal is typed",
      Effect.gen(function* () {
        const { client } = yield* both()
        expect(yield* Effect.flip(client.Please())).toEqual(new Forbidden())
        expect(yield* client.Please(undefined, { headers: { please: "yes" } })).toBe("here you are")
        expect(yield* RpcClient.withHeaders(client.Please(), { please: "yes" })).toBe("here you are")
      })
    )

    test(
      "a handler's span continues the caller's trace",
      Effect.gen(function* () {
        const { client } = yield* both()
        const [mine, theirs] = yield* Effect.withSpan(
          Effect.all([Effect.orDie(Effect.currentSpan), client.Span()]),
          "caller"
        )
        expect(theirs.traceId).toBe(mine.traceId)
        // The client's own span of the request is between the two.
        expect(theirs.parentId).not.toBe("")
        expect(theirs.parentId).not.toBe(mine.spanId)
      })
    )

    test(
      "handlers know who asks",
      Effect.gen(function* () {
        const { client } = yield* both()
        expect(yield* client.WhoAmI()).toBe(provesIdentity)
      })
    )
  })
}
