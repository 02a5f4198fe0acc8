/** Backpressure: whoever does not read holds up the sender, and nobody else. */
import { describe, expect } from "@effect/vitest"
import * as Deferred from "effect/Deferred"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Option from "effect/Option"
import * as Ref from "effect/Ref"
import * as Stream from "effect/Stream"
import { InvalidArgument, Transport, type TransportError } from "effect-transport"
import { EchoService, echo, messages, numbered, payloadOf, serveEcho, upTo } from "./fixtures/echo.js"
import { soon, within } from "./fixtures/expect.js"
import { follow } from "./fixtures/observe.js"
import type { EchoRequest } from "./gen/echo/v1/echo_pb.js"
import type { Suite } from "./harness.js"

export const backpressure = ({ test, withOptions }: Suite): void => {
  describe("backpressure", () => {
    const total = 20_000
    const size = 4 * 1024
    const bound = total / 10

    /** Counts what passes until it stands still. */
    const heldAt = (count: Ref.Ref<number>) =>
      Effect.gen(function* () {
        const before = yield* Ref.get(count)
        yield* Effect.sleep("100 millis")
        return { before, now: yield* Ref.get(count) }
      }).pipe(
        Effect.repeat({ until: ({ before, now }) => now > 0 && now === before }),
        Effect.map(({ now }) => now),
        (held) => within(held, "10 seconds")
      )

    const counted = (count: Ref.Ref<number>) =>
      Stream.range(1, total).pipe(
        Stream.rechunk(1),
        Stream.mapEffect((i) =>
          Effect.as(
            Ref.update(count, (n) => n + 1),
            { message: String(i), payload: payloadOf(size) }
          )
        )
      )

    test("a consumer that stops reading holds up the handler", function* () {
      const produced = yield* Ref.make(0)
      const { client } = yield* serveEcho(
        Transport.handlers(EchoService, { ...echo, echoServerStream: () => counted(produced) })
      )
      const latch = yield* Deferred.make<void>()
      const fiber = yield* client.echoServerStream({}).pipe(
        Stream.tap(() => Deferred.await(latch)),
        Stream.take(bound + 100),
        messages,
        Effect.fork
      )
      expect(yield* heldAt(produced)).toBeLessThan(bound)
      yield* Deferred.succeed(latch, undefined)
      expect(yield* Fiber.join(fiber)).toEqual(upTo(bound + 100))
    })

    test("a handler that stops reading holds up the requests", function* () {
      for (const shape of ["clientStreaming", "bidiStreaming"] as const) {
        const produced = yield* Ref.make(0)
        const latch = yield* Deferred.make<void>()
        const slowly = (requests: Stream.Stream<EchoRequest, TransportError.StatusError>) =>
          requests.pipe(
            Stream.tap(() => Deferred.await(latch)),
            Stream.take(bound + 100),
            Stream.runCount
          )
        const { client } = yield* serveEcho(
          Transport.handlers(EchoService, {
            ...echo,
            echoClientStream: (requests) => Effect.map(slowly(requests), (index) => ({ index })),
            echoBidi: (requests) => Stream.map(Stream.fromEffect(slowly(requests)), (index) => ({ index }))
          })
        )
        const requests = counted(produced)
        const fiber = yield* Effect.fork(
          shape === "clientStreaming"
            ? client.echoClientStream(requests)
            : Stream.runHead(client.echoBidi(requests)).pipe(Effect.map(Option.getOrThrow))
        )
        expect(yield* heldAt(produced)).toBeLessThan(bound)
        yield* Deferred.succeed(latch, undefined)
        expect((yield* Fiber.join(fiber)).index).toBe(bound + 100)
      }
    })

    test("streams that stand still do not hold up other calls of the connection", function* () {
      const produced = yield* Ref.make(0)
      const { client } = yield* serveEcho(
        Transport.handlers(EchoService, { ...echo, echoServerStream: () => counted(produced) })
      )
      yield* client.echoServerStream({}).pipe(
        Stream.runForEach(() => Effect.never),
        Effect.replicateEffect(3, { concurrency: "unbounded" }),
        Effect.forkScoped
      )
      yield* heldAt(produced)
      const answer = yield* soon(client.echo({ payload: payloadOf(size) }))
      expect(answer.payload).toEqual(payloadOf(size))
    })

    test("fifty streams that stand still do not fail, hold up nobody, and go on when they are read", function* () {
      const [downloads, uploads, each] = [40, 10, 12]
      const produced = yield* Ref.make(0)
      const chunk = { payload: payloadOf(64 * 1024) }
      const chunks = Stream.range(1, each).pipe(
        Stream.rechunk(1),
        Stream.mapEffect(() =>
          Effect.as(
            Ref.update(produced, (n) => n + 1),
            chunk
          )
        )
      )
      const latch = yield* Deferred.make<void>()
      const slowly = <E>(messages: Stream.Stream<unknown, E>) =>
        Stream.runCount(Stream.tap(messages, () => Deferred.await(latch)))
      const { client } = yield* serveEcho(
        Transport.handlers(EchoService, {
          ...echo,
          echoServerStream: () => chunks,
          echoClientStream: (requests) => Effect.map(slowly(requests), (index) => ({ index }))
        })
      )
      const upload = Effect.map(client.echoClientStream(chunks), ({ index }) => index)
      const fiber = yield* Effect.forkScoped(
        Effect.zip(
          Effect.replicateEffect(slowly(client.echoServerStream({})), downloads, { concurrency: "unbounded" }),
          Effect.replicateEffect(upload, uploads, { concurrency: "unbounded" }),
          { concurrent: true }
        )
      )
      // Every stream has begun, and a second has passed since the last of them went on.
      for (let before = 0, now = 1; now !== before || now < downloads + uploads; ) {
        yield* Effect.sleep("1 second")
        ;[before, now] = [now, yield* Ref.get(produced)]
      }
      const answer = yield* soon(client.echo({ payload: payloadOf(size) }))
      expect(answer.payload).toEqual(payloadOf(size))
      yield* Deferred.succeed(latch, undefined)
      expect(yield* Fiber.join(fiber)).toEqual([Array(downloads).fill(each), Array(uploads).fill(each)])
    })

    describe("calls that are given up before they were read leave no trace on their connection", () => {
      const chunk = { payload: payloadOf(64 * 1024) }
      /** A MiB, which tells when three quarters of it are under way. */
      const chunks = (onMost: Effect.Effect<unknown> = Effect.void) =>
        Stream.rechunk(
          Stream.mapEffect(Stream.range(1, 16), (n) => (n === 12 ? Effect.as(onMost, chunk) : Effect.succeed(chunk))),
          1
        )
      const large = payloadOf(1024 * 1024)
      const refused = new InvalidArgument({ message: "not that one" })
      const unread = (onMost: Effect.Effect<unknown>) =>
        Transport.handlers(EchoService, {
          ...echo,
          echo: ({ message, payload }) => (message === "good" ? Effect.succeed({ payload }) : Effect.fail(refused)),
          echoServerStream: () => chunks(onMost),
          echoClientStream: () => Effect.never,
          echoBidi: () => Stream.fail(refused)
        })
      type EchoClient = Effect.Effect.Success<ReturnType<typeof serveEcho>>["client"]
      const calls: Record<
        string,
        (client: EchoClient, most: Deferred.Deferred<void>) => Effect.Effect<unknown, TransportError.CallError>
      > = {
        "uploads that are interrupted": (client, most) =>
          Effect.raceFirst(client.echoClientStream(chunks(Deferred.succeed(most, undefined))), Deferred.await(most)),
        "uploads whose deadline passes": (client) => client.echoClientStream(chunks(), { timeout: "100 millis" }),
        "uploads whose handler fails early": (client) => Stream.runDrain(client.echoBidi(chunks())),
        "requests that are refused": (client) => client.echo({ payload: large }),
        "downloads of which the consumer takes one": (client) =>
          Stream.runDrain(Stream.take(client.echoServerStream({}), 1)),
        "downloads that stand still and are interrupted": (client, most) =>
          Effect.raceFirst(
            Stream.runForEach(client.echoServerStream({}), () => Effect.never),
            Deferred.await(most)
          )
      }
      for (const [title, call] of Object.entries(calls)) {
        test(title, function* () {
          let most = yield* Deferred.make<void>()
          const { client } = yield* serveEcho(unread(Effect.suspend(() => Deferred.succeed(most, undefined))))
          // As much as any connection may have unread, and half of that again.
          for (let n = 0; n < 24; n++) {
            most = yield* Deferred.make<void>()
            // What stands still before that, as with the small windows of HTTP/2, has sent all it can by then.
            yield* Effect.exit(Effect.timeoutOption(call(client, most), "150 millis"))
          }
          for (let n = 0; n < 3; n++) {
            const answer = yield* soon(client.echo({ message: "good", payload: payloadOf(100_000) }))
            expect(answer.payload.length).toBe(100_000)
          }
          expect(yield* soon(Stream.runCount(client.echoServerStream({})))).toBe(16)
        })
      }
    })

    test("a fast sender of small messages leaves the process time for everything else", function* () {
      const handler = yield* follow
      const endless = Stream.forever(Stream.make({ message: "x" }))
      const { client } = yield* serveEcho(
        Transport.handlers(EchoService, {
          ...echo,
          echoServerStream: () => Stream.concat(Stream.drain(Stream.fromEffect(handler.run(Effect.void))), endless),
          echoClientStream: () => handler.run(Effect.never)
        })
      )
      for (const call of [
        client.echoClientStream(endless),
        Stream.runForEach(client.echoServerStream({}), () => Effect.never)
      ]) {
        const fiber = yield* Effect.fork(call)
        const [elapsed] = yield* Effect.timed(Effect.zipRight(handler.started, Effect.sleep("100 millis")))
        expect(Duration.toMillis(elapsed)).toBeLessThan(5000)
        yield* soon(Fiber.interrupt(fiber))
      }
      // While messages go to and fro as fast as they can, the process still gets to its timers.
      let ticks = 0
      const tick = Effect.sync(() => {
        ticks += 1
      })
      yield* Effect.forkScoped(Effect.forever(Effect.zipRight(Effect.sleep("5 millis"), tick)))
      expect(
        yield* Stream.runCount(client.echoBidi(Stream.rechunk(numbered(10_000), 1), { timeout: "50 seconds" }))
      ).toBe(10_000)
      expect(ticks).toBeGreaterThan(3)
    })

    test("no more calls run at once on a connection than the listener allows, and all come to an end", function* () {
      const now = yield* Ref.make(0)
      const most = yield* Ref.make(0)
      const handle = Effect.gen(function* () {
        const running = yield* Ref.updateAndGet(now, (n) => n + 1)
        yield* Ref.update(most, (n) => Math.max(n, running))
        yield* Effect.sleep("5 millis")
        yield* Ref.update(now, (n) => n - 1)
        return {}
      })
      const listener = yield* withOptions({ maxConcurrentStreams: 2 })(
        Transport.listen([
          Transport.handlers(EchoService, {
            ...echo,
            echo: () => handle,
            echoServerStream: () => Stream.fromEffect(handle)
          })
        ])
      )
      const client = yield* Transport.client(EchoService, listener.target)
      yield* Effect.all(
        Array.from({ length: 15 }, () => [client.echo({}), Stream.runDrain(client.echoServerStream({}))]).flat(),
        { concurrency: "unbounded", discard: true }
      )
      expect(yield* Ref.get(most)).toBe(2)
    })

    test("a call that waits for its turn can be given up", function* () {
      const handler = yield* follow
      const { client } = yield* withOptions({ maxConcurrentStreams: 1 })(
        serveEcho(
          Transport.handlers(EchoService, {
            ...echo,
            echo: ({ message }) => (message === "long" ? handler.run(Effect.never) : Effect.succeed({ message }))
          })
        )
      )
      const long = yield* Effect.fork(client.echo({ message: "long" }))
      yield* handler.started
      const waiting = client.echo({ message: "short" }, { timeout: "100 millis" })
      expect(yield* Effect.flip(waiting)).toMatchObject({ _tag: "DeadlineExceeded" })
      const fiber = yield* Effect.fork(client.echo({ message: "short" }))
      yield* Effect.yieldNow()
      yield* soon(Fiber.interrupt(fiber))
      yield* Fiber.interrupt(long)
      expect((yield* soon(client.echo({ message: "short" }))).message).toBe("short")
    })
  })
}
