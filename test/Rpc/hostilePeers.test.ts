import { RpcClientError } from "@effect/rpc/RpcClientError"
import * as RpcSerialization from "@effect/rpc/RpcSerialization"
import { describe, expect, it } from "@effect/vitest"
import * as Chunk from "effect/Chunk"
import * as Effect from "effect/Effect"
import * as FastCheck from "effect/FastCheck"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Logger from "effect/Logger"
import * as Mailbox from "effect/Mailbox"
import * as Metric from "effect/Metric"
import * as Stream from "effect/Stream"
import * as TestClock from "effect/TestClock"
import { Credentials, MemoryLive, TlsLive, Transport, type TransportError, TransportMetrics } from "effect-transport"
import * as Carrier from "../../src/Rpc/internal/carrier.js"
import { eventually, soon } from "../suite/fixtures/expect.js"
import { captureLog } from "../suite/fixtures/observe.js"
import { connect, formats, serve, testOn } from "./rpcSupport.js"

const text = new TextEncoder()
const lines = (...frames: ReadonlyArray<unknown>) => text.encode(frames.map((f) => `${JSON.stringify(f)}\n`).join(""))

const request = (id: unknown, tag: string, payload?: unknown) => ({ _tag: "Request", id, tag, payload, headers: [] })

/** A client that sends what it wants. */
const dial = (target: string) =>
  Effect.gen(function* () {
    const client = yield* Transport.client(Carrier.service(), target)
    const outbox = yield* Mailbox.make<Uint8Array>()
    const inbox = yield* Mailbox.make<string>()
    const call = client.connect(Mailbox.toStream(outbox), { timeout: "20 seconds" })
    const ended = yield* Stream.runForEach(call, (bytes) => inbox.offer(new TextDecoder().decode(bytes))).pipe(
      Effect.as({ _tag: "Ended" }),
      Effect.merge,
      Effect.fork
    )
    yield* soon(inbox.take)
    return {
      send: (bytes: Uint8Array) => outbox.offer(bytes),
      receive: soon(Effect.orDie(inbox.take)),
      /** How the call ended. */
      ended: soon(Fiber.join(ended))
    }
  })

const meaningless: Record<string, Uint8Array> = {
  "bytes that are no text": Uint8Array.of(0xff, 0xfe, 0x0a, 0x00),
  "lines that are no JSON": text.encode("{\n"),
  "frames that are null": lines(null),
  "frames that are numbers": lines(5),
  "frames without a tag": lines({ id: "1" }),
  "a request whose id is no number": lines(request("one", "Ping")),
  "a request without an id": lines({ _tag: "Request", tag: "Ping" }),
  "a request whose id is an object": lines(request({}, "Ping")),
  "a request whose headers are none": lines({ ...request("1", "Ping"), headers: [5] }),
  "an ack whose id is no number": lines({ _tag: "Ack", requestId: "x" }),
  "an interrupt without an id": lines({ _tag: "Interrupt" })
}

const megabytes = (size: number) => Array.from({ length: size }, () => text.encode("1".repeat(1_000_000)))

/** What a few bytes would cost, and what many would: by the format that they are in, and the messages that they come in. */
const outOfBounds: Record<string, readonly [keyof typeof formats, ...ReadonlyArray<Uint8Array>]> = {
  "an array of 2^25 items in five bytes": ["MessagePack", Uint8Array.of(0xdd, 0x01, 0xff, 0xff, 0xff)],
  "24 such arrays in one another": [
    "MessagePack",
    Uint8Array.from({ length: 120 }, (_, i) => [0xdd, 0x01, 0xff, 0xff, 0xff][i % 5] ?? 0)
  ],
  "an array of 2^25 items, byte by byte": [
    "MessagePack",
    ...[0xdd, 0x01, 0xff, 0xff, 0xff].map((byte) => Uint8Array.of(byte))
  ],
  "a string of 4 GiB": ["MessagePack", Uint8Array.of(0xdb, 0xff, 0xff, 0xff, 0xff)],
  "arrays in one another": ["MessagePack", new Uint8Array(100_000).fill(0x91)],
  "bundled strings that are read for ever": [
    "MessagePack",
    Uint8Array.of(0xd6, 0x62, 0xff, 0xff, 0xff, 0xf6, 0xa1, 0x61, 0xa1, 0x61)
  ],
  "an id of 3.9 million digits": ["JSON", text.encode(JSON.stringify(request("1".repeat(3_900_000), "Ping")))],
  "an id of 3.9 million digits in pieces": [
    "NDJSON",
    text.encode('{"_tag":"Ack","requestId":"'),
    ...megabytes(4),
    text.encode('"}\n')
  ],
  "a number of 3.9 million digits": ["JSON", text.encode(`{"_tag":"Request","id":${"1".repeat(3_900_000)}}`)],
  "a batch of 100,000 requests": ["JSON-RPC", text.encode(`[${Array(100_000).fill('{"method":"Ping"}').join(",")}]`)],
  "lists in one another": ["NDJSON", text.encode("[".repeat(1_000_000))],
  "a line without end": ["NDJSON", text.encode('"'), ...megabytes(17)],
  "a header of 100,000 characters": [
    "NDJSON",
    lines({ ...request("1", "Ping"), headers: [["a", "b".repeat(100_000)]] })
  ],
  "1,000 headers": ["NDJSON", lines({ ...request("1", "Ping"), headers: Array(1000).fill(["a", "b"]) })],
  "a tag of 100,000 characters": ["NDJSON", lines(request("1", "x".repeat(100_000)))]
}

for (const [name, transport] of Object.entries({
  MemoryLive,
  TlsLive: Layer.provide(TlsLive, Credentials.layerDev())
})) {
  const test = testOn(transport)

  describe(`${name}, hostile clients of @effect/rpc`, () => {
    test(
      "what means nothing ends its connection, and no other; nobody's mistake is logged as the server's",
      Effect.gen(function* () {
        const { layer, lines: logged } = yield* captureLog
        yield* Effect.gen(function* () {
          const { target } = yield* serve({ format: formats.NDJSON })
          const client = yield* connect(target, formats.NDJSON)
          for (const [what, bytes] of Object.entries(meaningless)) {
            const hostile = yield* dial(target)
            yield* hostile.send(bytes)
            expect([what, yield* hostile.ended]).toMatchObject([what, { _tag: "InvalidArgument" }])
            expect(yield* soon(client.Ping())).toBe("pong")
          }
        }).pipe(Effect.provide(layer))
        expect(logged.filter(({ level }) => level === "ERROR" || level === "FATAL")).toEqual([])
      })
    )

    for (const [what, [format, ...pieces]] of Object.entries(outOfBounds)) {
      test(
        `${what} ends its connection, and no other`,
        Effect.gen(function* () {
          const { target } = yield* serve({ format: formats[format] })
          const client = yield* connect(target, formats[format])
          const hostile = yield* dial(target)
          const refused = Metric.value(Metric.tagged(TransportMetrics.rpcFramesRefused, "side", "server"))
          const { count } = yield* refused
          for (const bytes of pieces) {
            yield* hostile.send(bytes)
          }
          expect(yield* hostile.ended).toMatchObject({ _tag: "InvalidArgument" })
          expect((yield* refused).count).toBe(count + 1)
          expect(yield* soon(client.Ping())).toBe("pong")
        })
      )
    }

    test(
      "what a payload has wrong is told in few words",
      Effect.gen(function* () {
        const { target } = yield* serve({ format: formats.NDJSON })
        const hostile = yield* dial(target)
        yield* hostile.send(lines(request("1", "Shout", { text: ["x".repeat(1_000_000)] })))
        const answer = yield* hostile.receive
        expect(JSON.parse(answer)).toMatchObject({ requestId: "1", exit: { cause: { _tag: "Die" } } })
        expect(answer.length).toBeLessThan(2000)
      })
    )

    test(
      "a frame of an unknown kind ends its connection with a defect",
      Effect.gen(function* () {
        const { target } = yield* serve({ format: formats.NDJSON })
        const hostile = yield* dial(target)
        yield* hostile.send(lines({ _tag: "Nonsense" }))
        expect(yield* hostile.receive).toContain('"_tag":"Defect"')
        expect(yield* hostile.ended).toEqual({ _tag: "Ended" })
      })
    )

    test(
      "an unknown method and a payload that does not fit fail their requests alone; what is about none means nothing",
      Effect.gen(function* () {
        const { target } = yield* serve({ format: formats.NDJSON })
        const hostile = yield* dial(target)
        yield* hostile.send(lines(request("1", "constructor")))
        expect(JSON.parse(yield* hostile.receive)).toMatchObject({ requestId: "1", exit: { cause: { _tag: "Die" } } })
        yield* hostile.send(lines(request("2", "Shout", { text: 5 })))
        expect(JSON.parse(yield* hostile.receive)).toMatchObject({ requestId: "2", exit: { cause: { _tag: "Die" } } })
        yield* hostile.send(
          lines({ _tag: "Ack", requestId: "99" }, { _tag: "Interrupt", requestId: "99" }, request("3", "Ping"))
        )
        expect(JSON.parse(yield* hostile.receive)).toMatchObject({ requestId: "3", exit: { value: "pong" } })
        yield* hostile.send(lines({ _tag: "Eof" }))
        expect(yield* hostile.ended).toEqual({ _tag: "Ended" })
      })
    )

    test(
      "more requests than it may have end its connection and their handlers",
      Effect.gen(function* () {
        const { log, target } = yield* serve({ format: formats.NDJSON, maxConcurrentRequests: 3 })
        const hostile = yield* dial(target)
        yield* hostile.send(lines(...["1", "2", "3", "4"].map((id) => request(id, "Never"))))
        expect(yield* hostile.ended).toMatchObject({ _tag: "ResourceExhausted" })
        yield* eventually(Effect.sync(() => expect(log).toEqual(Array(3).fill("Never interrupted"))))
      })
    )

    for (const [what, frames] of Object.entries({
      "interrupts of nothing": [{ _tag: "Interrupt", requestId: "99" }],
      "requests that are interrupted at once": [request("1", "Never"), { _tag: "Interrupt", requestId: "1" }]
    })) {
      test(
        `more ${what} in a second than it may send end its connection, and no other`,
        Effect.gen(function* () {
          const { target } = yield* serve({ format: formats.NDJSON, maxInterruptRate: 20 })
          const client = yield* connect(target, formats.NDJSON)
          const honest = yield* dial(target)
          const hostile = yield* dial(target)
          const storm = (times: number) => lines(...Array.from({ length: times }, () => frames).flat())
          yield* honest.send(storm(15))
          yield* hostile.send(storm(200))
          expect(yield* hostile.ended).toMatchObject({ _tag: "ResourceExhausted" })
          yield* honest.send(lines(request("2", "Ping")))
          yield* eventually(Effect.map(honest.receive, (answer) => expect(answer).toContain("pong")))
          expect(yield* soon(client.Ping())).toBe("pong")
        })
      )
    }

    test(
      "a frame larger than the serialization takes ends its connection",
      Effect.gen(function* () {
        const format = RpcSerialization.layerNdjsonWith({ maxBufferSize: 1000 })
        const { target } = yield* serve({ format })
        const hostile = yield* dial(target)
        yield* hostile.send(text.encode("[".repeat(600)))
        yield* hostile.send(text.encode("[".repeat(600)))
        expect(yield* hostile.ended).toMatchObject({ _tag: "InvalidArgument" })
      })
    )

    test(
      "a client that asks and does not read is held up, and its handlers with it",
      Effect.gen(function* () {
        const { log, target } = yield* serve({ format: formats.NDJSON })
        const client = yield* Transport.client(Carrier.service(), target)
        const acks = lines(...Array.from({ length: 100 }, () => ({ _tag: "Ack", requestId: "1" })))
        const requests = Stream.concat(
          Stream.make(lines(request("1", "Flood"))),
          Stream.repeatEffect(Effect.as(Effect.sleep("1 millis"), acks))
        )
        const hostile = yield* Effect.fork(
          Stream.runForEach(client.connect(requests, { timeout: "20 seconds" }), () => Effect.never)
        )
        const other = yield* connect(target, formats.NDJSON)
        yield* eventually(
          Effect.gen(function* () {
            const made = log.length
            yield* Effect.repeatN(Effect.orDie(other.Ping()), 20)
            expect(made).toBeGreaterThan(0)
            expect(log.length).toBe(made)
          }),
          "10 seconds"
        )
        expect(log.length).toBeLessThan(1000)
        yield* soon(Fiber.interrupt(hostile))
        yield* eventually(Effect.sync(() => expect(log.at(-1)).toBe("Flood ended")))
      })
    )

    for (const [title, format] of Object.entries(formats)) {
      test(
        `any bytes in ${title} leave the server as it was`,
        Effect.gen(function* () {
          const { target } = yield* serve({ format })
          const client = yield* connect(target, format)
          const messages = FastCheck.sample(FastCheck.uint8Array({ maxLength: 200 }), { numRuns: 100, seed: 1 })
          for (const bytes of messages) {
            const raw = yield* Transport.client(Carrier.service(), target)
            yield* soon(Effect.exit(Stream.runDrain(raw.connect(Stream.make(bytes), { timeout: "1 second" }))))
          }
          expect(yield* soon(client.Ping())).toBe("pong")
        })
      )
    }
  })

  /** A server that answers with these messages, after which it says no more. */
  const listen = (...messages: ReadonlyArray<Uint8Array>) =>
    Effect.map(
      Transport.listen([
        Transport.handlers(Carrier.service(), {
          connect: (requests: Stream.Stream<Uint8Array, TransportError.StatusError>) =>
            Stream.concat(Stream.make(Carrier.hello(10)), Stream.drain(Stream.take(requests, 1))).pipe(
              Stream.concat(Stream.fromIterable(messages)),
              Stream.concat(Stream.never)
            )
        })
      ]),
      ({ target }) => target
    )

  describe(`${name}, hostile servers of @effect/rpc`, () => {
    for (const [what, bytes] of Object.entries({
      "lines that are no JSON": text.encode("{\n"),
      "frames that are null": lines(null),
      "an exit whose id is no number": lines({ _tag: "Exit", requestId: "x", exit: { _tag: "Success" } }),
      "a chunk whose id is no number": lines({ _tag: "Chunk", requestId: "x", values: [1] })
    })) {
      test(
        `${what} end what is in flight with a typed error`,
        Effect.gen(function* () {
          const client = yield* connect(yield* listen(bytes), formats.NDJSON)
          expect(yield* soon(Effect.flip(client.Ping()))).toBeInstanceOf(RpcClientError)
        })
      )
    }

    for (const [what, format, bytes] of [
      [
        "arrays of 2^25 items",
        "MessagePack",
        Uint8Array.from({ length: 120 }, (_, i) => [0xdd, 0x01, 0xff, 0xff, 0xff][i % 5] ?? 0)
      ],
      [
        "an answer to 3.9 million digits",
        "JSON",
        text.encode(JSON.stringify({ _tag: "Exit", requestId: "1".repeat(3_900_000), exit: {} }))
      ],
      ["lists in one another", "NDJSON", text.encode("[".repeat(100_000))],
      ["an error of the client's own", "NDJSON", lines({ _tag: "ClientProtocolError", error: {} })]
    ] as const) {
      test(
        `${what} end what is in flight with a typed error`,
        Effect.gen(function* () {
          const client = yield* connect(yield* listen(bytes), formats[format])
          const error = yield* soon(Effect.flip(client.Ping()))
          expect(error).toBeInstanceOf(RpcClientError)
          expect(error.message).toContain("can't be decoded")
        })
      )
    }

    test(
      "answers to what was not asked mean nothing",
      Effect.gen(function* () {
        const stray = lines(
          { _tag: "Exit", requestId: "987654321", exit: { _tag: "Success" } },
          { _tag: "Chunk", requestId: "987654321", values: [1] },
          { _tag: "Nonsense" }
        )
        const client = yield* connect(yield* listen(stray), formats.NDJSON)
        const call = yield* Effect.fork(client.Ping())
        yield* Effect.sleep("50 millis")
        expect(call.unsafePoll()).toBe(null)
        yield* soon(Fiber.interrupt(call))
      })
    )

    test(
      "one that greets in another way is none",
      Effect.gen(function* () {
        const { target } = yield* Transport.listen([
          Transport.handlers(Carrier.service(), {
            connect: (requests: Stream.Stream<Uint8Array, TransportError.StatusError>) =>
              Stream.concat(Stream.make(new Uint8Array(3)), Stream.drain(requests))
          })
        ])
        const client = yield* connect(target)
        expect(yield* Effect.flip(client.Ping())).toMatchObject({ message: `${target} does not greet as it should` })
      })
    )
  })
}

it.scoped("a server that does not greet is given up", () =>
  Effect.gen(function* () {
    const { target } = yield* Transport.listen([Transport.handlers(Carrier.service(), { connect: () => Stream.never })])
    const connecting = yield* Effect.fork(connect(target))
    yield* TestClock.adjust("10 seconds")
    const client = yield* Fiber.join(connecting)
    const error = yield* Effect.flip(client.Ping())
    expect(error.cause).toMatchObject({ _tag: "DeadlineExceeded", message: "the server does not greet" })
  }).pipe(Effect.provide(MemoryLive), Effect.provide(Logger.remove(Logger.defaultLogger)))
)

it("frames of any size pass through messages", () => {
  FastCheck.assert(
    FastCheck.property(FastCheck.array(FastCheck.nat(600_000), { maxLength: 6 }), (sizes) => {
      const frames = sizes.map((size, i) => new Uint8Array(size).fill(i + 1))
      const messages = Effect.runSync(
        Effect.gen(function* () {
          const outbox = yield* Mailbox.make<Uint8Array>()
          yield* outbox.offerAll(frames)
          yield* outbox.end
          return yield* Stream.runCollect(Carrier.messages(RpcSerialization.ndjson, outbox))
        })
      )
      const all = Buffer.concat(Chunk.toReadonlyArray(messages))
      expect(Buffer.compare(all, Buffer.concat(frames))).toBe(0)
      expect(Math.max(0, ...Chunk.toReadonlyArray(messages).map(({ length }) => length))).toBeLessThanOrEqual(
        256 * 1024
      )
    }),
    { numRuns: 50 }
  )
})
