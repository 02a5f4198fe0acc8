/** Compression: callers may ask for it on any wire, and notice nothing of it but its speed. */
import { describe, expect } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Stream from "effect/Stream"
import { Transport } from "effect-transport"
import { EchoService, echo, goesOn, messages, payloadOf, serveEcho } from "./fixtures/echo.js"
import { soon } from "./fixtures/expect.js"
import { follow } from "./fixtures/observe.js"
import type { Suite } from "./harness.js"

const gzip = { compression: "gzip" } as const

/** Text of which compression leaves a hundredth. */
const textOf = (size: number) => "compressible ".repeat(Math.ceil(size / 13)).slice(0, size)

export const compression = ({ test, withOptions }: Suite): void => {
  describe("compression", () => {
    for (const size of [0, 1000, 30_000, 100_000, 2_000_000]) {
      test(`messages of ${size} bytes arrive as they were, compressible or not`, function* () {
        const { client } = yield* serveEcho(Transport.handlers(EchoService, echo))
        const sent = { message: textOf(size), payload: payloadOf(size) }
        const reply = yield* client.echo(sent, gzip)
        expect(reply.message === sent.message).toBe(true)
        expect(Buffer.compare(reply.payload, sent.payload)).toBe(0)
      })
    }

    test("small and large messages of a stream arrive in order, and the end behind them", function* () {
      const { client } = yield* serveEcho(Transport.handlers(EchoService, echo))
      const sizes = [10, 300_000, 20, 2000, 90_000, 0, 500_000, 30, 1500]
      const requests = Stream.map(Stream.fromIterable(sizes), (size) => ({ message: textOf(size) }))
      const replies = yield* messages(client.echoBidi(requests, gzip))
      expect(replies.map(({ length }) => length)).toEqual(sizes)
      const all = yield* client.echoClientStream(requests, gzip)
      expect([all.message.length, all.index]).toEqual([sizes.reduce((sum, size) => sum + size), sizes.length])
    })

    test("many calls at once, small and large", function* () {
      const { client } = yield* serveEcho(Transport.handlers(EchoService, echo), { client: gzip })
      const replies = yield* Effect.all(
        Array.from({ length: 60 }, (_, i) => client.echo({ message: textOf(i % 3 === 0 ? 200_000 : i * 100) })),
        { concurrency: "unbounded" }
      )
      expect(replies.map(({ message }) => message.length)).toEqual(
        replies.map((_, i) => (i % 3 === 0 ? 200_000 : i * 100))
      )
    })

    test("what a message has inflated counts for the limit of its size", function* () {
      const received = withOptions({ maxReceiveMessageSize: 100_000 })
      const listener = yield* received(Transport.listen([Transport.handlers(EchoService, echo)]))
      const client = yield* Transport.client(EchoService, listener.target)
      const error = yield* Effect.flip(client.echo({ message: textOf(200_000) }, gzip))
      expect(error._tag).toBe("ResourceExhausted")
      expect((yield* client.echo({ message: textOf(99_000) }, gzip)).message).toHaveLength(99_000)
      yield* goesOn(client)
    })

    test("a call that is interrupted while its messages are compressed leaves nothing", function* () {
      const followed = yield* follow
      const { client } = yield* serveEcho(
        Transport.handlers(EchoService, {
          ...echo,
          echoBidi: (requests) => Stream.drain(Stream.tap(requests, () => followed.run(Effect.never)))
        })
      )
      const endless = Stream.repeatValue({ message: textOf(1_000_000) })
      const fiber = yield* Effect.fork(Stream.runDrain(client.echoBidi(endless, gzip)))
      yield* followed.started
      yield* Fiber.interrupt(fiber)
      expect(yield* soon(followed.ended)).toBe("interrupted")
      yield* goesOn(client)
    })
  })
}
