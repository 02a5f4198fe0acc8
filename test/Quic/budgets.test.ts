/** What a peer of QuicLive can make it keep. */
import { setFlagsFromString } from "node:v8"
import { runInNewContext } from "node:vm"
import { create, toBinary } from "@bufbuild/protobuf"
import { describe, expect, it } from "@effect/vitest"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Redacted from "effect/Redacted"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import { Authorizer, Credentials, DevCa, Http3, Quic, Transport } from "effect-transport"
import { EchoResponseSchema } from "../../examples/gen/echo/v1/echo_pb.js"
import type { Fields } from "../../src/protocol/Fields.js"
import * as Http3Connection from "../../src/protocol/http3/Http3Connection.js"
import { codes } from "../../src/protocol/http3/Http3Error.js"
import * as Http3Message from "../../src/protocol/http3/Http3Message.js"
import type * as QuicEngine from "../../src/Quic/engine/QuicEngine.js"
import * as Quiche from "../../src/Quic/engine/quiche.js"
import * as QuicheEngine from "../../src/Quic/engine/quicheEngine.js"
import { admission } from "../fixtures/admission.js"
import { echoHandlers } from "../fixtures/grpc.js"
import { control, frame, headers, integers, message } from "../protocol/http3/http3Support.js"
import { rawMaterial } from "../suite/fixtures/certificates.js"
import { EchoService, echo } from "../suite/fixtures/echo.js"
import { eventually, leavesNothing } from "../suite/fixtures/expect.js"
import { captureLog } from "../suite/fixtures/observe.js"
import { connecting, quiet, settings, silent } from "./quicSupport.js"

const ca = await Effect.runPromise(DevCa.make())
const issued = await Effect.runPromise(ca.issue({ names: ["127.0.0.1", "localhost"] }))
const engine = QuicheEngine.make(await Quiche.load())

/** As long packets as loopback takes: the attacks are about bytes. */
const http3 = { ...settings, alpnProtocol: Http3Connection.alpnProtocol, maxUdpPayload: 16_000 }

const tls: QuicEngine.TlsSettings = {
  ca: [ca.ca],
  certificate: { chain: issued.cert, key: Redacted.value(issued.key) },
  verifyChain: false,
  asksCertificate: true
}

const wire = (options: Quic.QuicOptions) =>
  Effect.gen(function* () {
    const { layer, lines } = yield* captureLog
    const context = yield* Layer.build(
      Quic.layer({ maxUdpPayload: 16_000, serverName: "localhost", ...options }).pipe(
        Layer.provide(Layer.succeed(Credentials.Credentials, Credentials.make(rawMaterial(issued, ca.ca))))
      )
    )
    const run = <A, E, R>(effect: Effect.Effect<A, E, R>) => effect.pipe(Effect.provide(context), Effect.provide(layer))
    return { run, lines }
  })

const serve = (options: Quic.QuicOptions = {}, implementation?: Parameters<typeof echoHandlers>[0]) =>
  Effect.gen(function* () {
    const { lines, run } = yield* wire(options)
    const { address, target } = yield* run(Transport.listen([echoHandlers(implementation)]))
    return { remote: address, run, lines, client: yield* run(Transport.client(EchoService, target)) }
  })

/** A peer that never reads, of which the test says what it sends. */
const attack = (remote: QuicEngine.HostPort) =>
  Effect.gen(function* () {
    const closed = yield* Deferred.make<QuicEngine.Close>()
    const confirmed = yield* Deferred.make<void>()
    const quic = yield* connecting(
      engine,
      tls,
      remote,
      {
        onConfirmed: () => Deferred.unsafeDone(confirmed, Effect.void),
        onClosed: (close) => Deferred.unsafeDone(closed, Effect.succeed(close))
      },
      { settings: http3 }
    )
    const controlId = quic.openUni(silent)
    quic.write(controlId, control, false)
    yield* Deferred.await(confirmed)
    return { quic, control: controlId, closed: Deferred.await(closed) }
  })

const request = (method: string, ...more: Fields): Buffer =>
  headers(
    [":method", "POST"],
    [":scheme", "https"],
    [":authority", "localhost"],
    [":path", `/echo.v1.EchoService/${method}`],
    ["content-type", "application/grpc"],
    ["te", "trailers"],
    ...more
  )

/** The status and text of an answer without headers, which has come in one piece. */
const errorOf = (quic: QuicEngine.Connection, id: number): string | undefined => {
  const got = quic.read(id)
  let text: string | undefined
  const note = ({ fields }: { readonly fields: Fields }) => {
    const values = new Map(fields)
    text = `${values.get("grpc-status")} ${decodeURIComponent(values.get("grpc-message") ?? "")}`
  }
  const kind = Http3Message.responses<undefined>(
    { onInformational: () => {}, onHead: note, onData: () => {}, onTrailers: () => {}, onEnd: () => {} },
    { maxFieldSectionSize: 65_536, method: "POST" }
  )
  if (got?._tag === "Bytes") {
    Http3Message.receive(got.bytes, got.fin, Http3Message.make(kind, undefined))
  }
  return text
}

const flushed = (quic: QuicEngine.Connection) =>
  eventually(
    Effect.sync(() => expect(quic.isFlushed()).toBe(true)),
    "30 seconds"
  )

setFlagsFromString("--expose-gc")
const collect: () => void = runInNewContext("gc")

/** What is kept, in MiB. Buffers are given back some turns after their owners. */
const mebibytes = Effect.gen(function* () {
  for (let round = 0; round < 3; round++) {
    collect()
    yield* Effect.sleep("20 millis")
  }
  const { arrayBuffers, heapUsed } = process.memoryUsage()
  return (arrayBuffers + heapUsed) / 2 ** 20
})

const isGood = (client: Transport.Client<typeof EchoService>) =>
  Effect.map(client.echo({ message: "good" }), (answer) => expect(answer.message).toBe("good"))

const hundred = Array.from({ length: 100 }, (_, i) => i)

const test = (title: string, body: () => Effect.Effect<void, unknown, Scope.Scope>) =>
  it.live(title, () => leavesNothing(body()))

/** What 100 requests with this content cost a listener that stays under these options, in MiB. */
const costOf = (
  method: string,
  body: Buffer,
  options: Quic.QuicOptions,
  implementation?: Parameters<typeof echoHandlers>[0]
) =>
  Effect.gen(function* () {
    const { client, remote } = yield* serve(options, implementation)
    yield* isGood(client)
    const { quic } = yield* attack(remote)
    const bytes = Buffer.concat([request(method), body])
    const before = yield* mebibytes
    for (const _ of hundred) {
      quic.write(quic.openBidi(silent), bytes, false)
    }
    yield* flushed(quic)
    yield* isGood(client)
    return (yield* mebibytes) - before
  })

const slow = { echoClientStream: () => Effect.never }

describe("a peer that", () => {
  test("begins 100 messages and ends none keeps no more than the budget, and good calls go on", () =>
    Effect.gen(function* () {
      const begun = message(Buffer.alloc(200_000), { length: 4_000_000 })
      const options = { connectionWindow: 2 ** 20 }
      expect(yield* costOf("EchoClientStream", frame(0, begun), options)).toBeLessThan(8)
      expect(yield* costOf("Echo", frame(0, begun), options)).toBeLessThan(8)
    }))

  test("sends 100 unary requests whole and ends none keeps no more than the budget", () =>
    Effect.gen(function* () {
      const whole = message(Buffer.alloc(200_000))
      expect(yield* costOf("Echo", frame(0, whole), { connectionWindow: 2 ** 20 })).toBeLessThan(8)
    }))

  test("begins 100 large field sections and ends none keeps no more than the budget", () =>
    Effect.gen(function* () {
      const { client, remote } = yield* serve({ connectionWindow: 2 ** 20, maxMetadataSize: 2 ** 19 })
      yield* isGood(client)
      const { quic } = yield* attack(remote)
      const begun = frame(0x01, Buffer.alloc(2 ** 19)).subarray(0, 100)
      const before = yield* mebibytes
      for (const _ of hundred) {
        quic.write(quic.openBidi(silent), begun, false)
      }
      yield* flushed(quic)
      yield* isGood(client)
      expect((yield* mebibytes) - before).toBeLessThan(8)
    }))

  test("sends messages of no bytes that nobody reads pays what they cost", () =>
    Effect.gen(function* () {
      const empty = Buffer.alloc(120_000)
      expect(yield* costOf("EchoClientStream", frame(0, empty), {}, slow)).toBeLessThan(30)
    }))

  test("sends content in frames of one byte that nobody reads pays what it costs", () =>
    Effect.gen(function* () {
      const { client, remote, run } = yield* serve()
      yield* run(Http3.mount(Effect.never))
      yield* isGood(client)
      const { quic } = yield* attack(remote)
      const one = frame(0, Buffer.of(1))
      const bytes = Buffer.concat([
        headers([":method", "POST"], [":scheme", "https"], [":authority", "localhost"], [":path", "/"]),
        ...Array.from({ length: 40_000 }, () => one)
      ])
      const before = yield* mebibytes
      for (const _ of hundred.slice(0, 50)) {
        quic.write(quic.openBidi(silent), bytes, false)
      }
      yield* flushed(quic)
      yield* isGood(client)
      expect((yield* mebibytes) - before).toBeLessThan(20)
    }))

  test("asks for 100 answers of 4 MiB and reads none leaves most of them with their handlers", () => {
    const payload = new Uint8Array(4 * 2 ** 20 - 100)
    let handled = 0
    return Effect.gen(function* () {
      const { client, remote } = yield* serve(
        {},
        {
          echo: ({ message }) =>
            Effect.sync(() => {
              handled += message === "" ? 1 : 0
              return { message, payload: message === "" ? payload : new Uint8Array(0) }
            })
        }
      )
      yield* isGood(client)
      const { quic } = yield* attack(remote)
      const bytes = Buffer.concat([request("Echo"), frame(0, message(Buffer.alloc(0)))])
      const before = yield* mebibytes
      for (const _ of hundred) {
        quic.write(quic.openBidi(silent), bytes, true)
      }
      yield* eventually(Effect.sync(() => expect(handled).toBe(100)))
      yield* isGood(client)
      expect((yield* mebibytes) - before).toBeLessThan(40)
    })
  })

  test("asks for 100 streams and reads none leaves them with their handlers", () => {
    const payload = new Uint8Array(2 ** 20)
    let pulled = 0
    const next = Effect.sync(() => {
      pulled += 1
      return { payload }
    })
    return Effect.gen(function* () {
      const { client, remote } = yield* serve({}, { echoServerStream: () => Stream.repeatEffect(next) })
      yield* isGood(client)
      const { quic } = yield* attack(remote)
      const bytes = Buffer.concat([request("EchoServerStream"), frame(0, message(Buffer.alloc(0)))])
      const before = yield* mebibytes
      for (const _ of hundred) {
        quic.write(quic.openBidi(silent), bytes, true)
      }
      yield* eventually(Effect.sync(() => expect(pulled).toBeGreaterThanOrEqual(100)))
      yield* isGood(client)
      expect((yield* mebibytes) - before).toBeLessThan(40)
    })
  })

  test("does not read an answer loses the call at its deadline, and the answer with it", () => {
    const payload = new Uint8Array(2 ** 21)
    return Effect.gen(function* () {
      const { client, remote } = yield* serve(
        {},
        { echo: ({ message }) => Effect.succeed({ message, payload: message === "" ? payload : new Uint8Array(0) }) }
      )
      const { quic } = yield* attack(remote)
      const bytes = Buffer.concat([request("Echo", ["grpc-timeout", "300m"]), frame(0, message(Buffer.alloc(0)))])
      const id = quic.openBidi(silent)
      quic.write(id, bytes, true)
      yield* Effect.sleep("600 millis")
      yield* isGood(client)
      const got = quic.read(id)
      expect(got).toEqual({ _tag: "Reset", code: codes.H3_REQUEST_CANCELLED })
    })
  })
})

test("answers that wait for room arrive when the peer reads, in any order and whole", () =>
  Effect.gen(function* () {
    const payload = new Uint8Array(300_000).map((_, i) => i)
    const { client } = yield* serve(
      { maxUnsentBytes: 1 },
      { echo: ({ message }) => Effect.succeed({ message, payload }) }
    )
    const answers = yield* Effect.forEach(
      Array.from({ length: 50 }, (_, i) => String(i)),
      (message) => client.echo({ message }),
      { concurrency: "unbounded" }
    )
    expect(answers.map(({ message }) => message)).toEqual(answers.map((_, i) => String(i)))
    expect(answers.every((answer) => Buffer.compare(answer.payload, payload) === 0)).toBe(true)
  }))

test("large requests and answers of many calls at once keep to the peer's budget", () =>
  Effect.gen(function* () {
    const payload = new Uint8Array(2 ** 20).map((_, i) => i)
    const { client } = yield* serve()
    const answers = yield* Effect.forEach(
      Array.from({ length: 32 }, (_, i) => String(i)),
      (message) => client.echo({ message, payload }),
      { concurrency: "unbounded" }
    )
    expect(answers.every((answer) => Buffer.compare(answer.payload, payload) === 0)).toBe(true)
  }))

test("a message that is begun and not finished ends its call in time, one that its reader holds up does not", () =>
  Effect.gen(function* () {
    const done = yield* Deferred.make<void>()
    const { client, remote } = yield* serve(
      { messageTimeout: "1 second" },
      {
        echoClientStream: (requests) =>
          Stream.runForEach(requests, () => Deferred.await(done)).pipe(Effect.as({ message: "read" }), Effect.orDie)
      }
    )
    const { quic } = yield* attack(remote)
    const id = quic.openBidi(silent)
    quic.write(id, Buffer.concat([request("Echo"), frame(0, message(Buffer.alloc(100), { length: 1000 }))]), false)
    const large = Array.from({ length: 30 }, () => ({ payload: new Uint8Array(300_000) }))
    const held = yield* Effect.fork(client.echoClientStream(Stream.fromIterable(large)))
    yield* eventually(Effect.sync(() => expect(errorOf(quic, id)).toBe("4 the message was not finished within 1s")))
    yield* Effect.sleep("1500 millis")
    yield* Deferred.succeed(done, undefined)
    expect((yield* Fiber.join(held)).message).toBe("read")
    yield* isGood(client)
  }))

test("of all connections of a listener the one that holds most is closed when they hold too much", () =>
  Effect.gen(function* () {
    const { client, lines, remote } = yield* serve({ maxBufferedBytes: 3 * 2 ** 20 })
    const begun = Buffer.concat([
      request("EchoClientStream"),
      frame(0, message(Buffer.alloc(200_000), { length: 4_000_000 }))
    ])
    const small = yield* attack(remote)
    small.quic.write(small.quic.openBidi(silent), begun, false)
    const large = yield* attack(remote)
    for (const _ of hundred.slice(0, 20)) {
      large.quic.write(large.quic.openBidi(silent), begun, false)
    }
    const close = yield* large.closed
    expect(close).toMatchObject({ _tag: "Closed", by: "remote", isApplication: true, code: codes.H3_EXCESSIVE_LOAD })
    yield* eventually(
      Effect.sync(() => expect(lines.map(({ text }) => text).join("\n")).toContain("the listener keeps more"))
    )
    small.quic.write(small.quic.openBidi(silent), begun, false)
    yield* flushed(small.quic)
    yield* isGood(client)
  }))

/** A server of HTTP/3 that answers a hundred calls as the test says, and the next as it should. */
const costOfAnswers = (answer: Buffer, options: Quic.QuicOptions) =>
  Effect.gen(function* () {
    const { run } = yield* wire(options)
    let asked = 0
    let server: QuicEngine.Connection | undefined
    const good = Buffer.concat([
      headers([":status", "200"], ["content-type", "application/grpc"]),
      frame(0, message(toBinary(EchoResponseSchema, create(EchoResponseSchema, { message: "good" })))),
      headers(["grpc-status", "0"])
    ])
    const listener = yield* Effect.acquireRelease(
      Effect.promise(() =>
        engine.listen({
          local: { host: "127.0.0.1", port: 0 },
          tls: () => tls,
          settings: http3,
          maxConnections: 100,
          admission: admission(),
          maxTotalHandshakeBytes: 1024 * 1024,
          onConnection: (quic) => ({
            ...quiet,
            onEstablished: () => {
              server = quic
              quic.accept()
              quic.write(quic.openUni(silent), control, false)
            },
            onStream: (id) => ({
              ...silent,
              onReadable: () => {
                for (let got = quic.read(id); got?._tag === "Bytes"; got = quic.read(id)) {
                  if (got.fin && (id & 2) === 0) {
                    asked += 1
                    quic.write(id, asked > 90 ? good : answer, asked > 90)
                  }
                }
              }
            })
          }),
          onError: () => {}
        })
      ),
      (listener) => Effect.promise(() => listener.close())
    )
    const client = yield* run(Transport.client(EchoService, `127.0.0.1:${listener.local.port}`))
    const before = yield* mebibytes
    const calls = yield* Effect.forEach(hundred.slice(0, 90), () => Effect.fork(client.echo({})))
    yield* eventually(Effect.sync(() => expect(asked).toBe(90)))
    yield* eventually(
      Effect.sync(() => expect(server?.isFlushed()).toBe(true)),
      "30 seconds"
    )
    yield* isGood(client)
    const cost = (yield* mebibytes) - before
    yield* Fiber.interruptAll(calls)
    return cost
  })

test("a server that begins answers, or does not end them, makes its client keep no more than the budget", () =>
  Effect.gen(function* () {
    const head = headers([":status", "200"], ["content-type", "application/grpc"])
    const options = { connectionWindow: 2 ** 20 }
    const whole = frame(0, message(Buffer.alloc(200_000)))
    expect(yield* costOfAnswers(Buffer.concat([head, whole]), options)).toBeLessThan(8)
    const begun = frame(0, message(Buffer.alloc(200_000), { length: 4_000_000 }))
    expect(yield* costOfAnswers(Buffer.concat([head, begun]), options)).toBeLessThan(8)
  }))

describe("what brings nothing is limited in a second:", () => {
  const begun = request("EchoClientStream")
  const unary = Buffer.concat([request("Echo"), frame(0, message(Buffer.alloc(0)))])
  const times = (count: number, bytes: Buffer) => Buffer.concat(Array.from({ length: count }, () => bytes))
  const onStream = (count: number, prefix: Buffer, bytes: Buffer) => (quic: QuicEngine.Connection) => {
    quic.write(quic.openBidi(silent), Buffer.concat([prefix, times(count, bytes)]), false)
  }
  const onStreams =
    (count: number, bytes: Buffer, after: (quic: QuicEngine.Connection, id: number) => void = () => {}) =>
    (quic: QuicEngine.Connection) => {
      for (let i = 0; i < count; i++) {
        const id = quic.openBidi(silent)
        quic.write(id, bytes, true)
        after(quic, id)
      }
    }
  const plain = (path: string) =>
    headers([":method", "GET"], [":scheme", "https"], [":authority", "localhost"], [":path", path])

  const cases: ReadonlyArray<
    readonly [title: string, attack: (quic: QuicEngine.Connection, controlId: number) => void]
  > = [
    ["empty DATA frames", onStream(80, begun, frame(0))],
    ["frames of unknown types", onStream(80, begun, frame(0x21, Buffer.of(1)))],
    ["frames of unknown types before a head", onStream(80, Buffer.alloc(0), frame(0x40))],
    ["frames of unknown types on the control stream", (quic, id) => void quic.write(id, times(80, frame(0x21)), false)],
    ["GOAWAYs", (quic, id) => void quic.write(id, times(80, integers(0x07, 0)), false)],
    ["MAX_PUSH_IDs", (quic, id) => void quic.write(id, times(80, integers(0x0d, 1)), false)],
    ["unknown methods", onStreams(80, request("Nothing"))],
    ["requests for nothing", onStreams(80, plain("/nothing"))],
    ["calls that nobody can inflate", onStreams(80, request("Echo", ["grpc-encoding", "snappy"]))],
    ["deadlines of a millisecond", onStreams(80, request("EchoClientStream", ["grpc-timeout", "1m"]))],
    ["calls that are denied", onStreams(80, unary)],
    ["calls that are reset", onStreams(80, begun, (quic, id) => quic.stop(id, codes.H3_REQUEST_CANCELLED))]
  ]

  const denied = Transport.handlers(EchoService, echo, { authorize: Authorizer.either() })

  for (const [title, attacks] of cases) {
    test(title, () =>
      Effect.gen(function* () {
        const { run } = yield* wire({ maxUselessRate: 50 })
        const { address, target } = yield* run(
          Transport.listen([
            title === "calls that are denied" ? (denied as Transport.Handlers<never>) : echoHandlers(slow)
          ])
        )
        const client = yield* run(Transport.client(EchoService, target))
        const { closed, control, quic } = yield* attack(address)
        attacks(quic, control)
        expect(yield* closed).toMatchObject({ by: "remote", isApplication: true, code: codes.H3_EXCESSIVE_LOAD })
        if (title !== "calls that are denied") {
          yield* isGood(client)
        }
      })
    )
  }

  test("and what brings something is not", () =>
    Effect.gen(function* () {
      const { client } = yield* serve({ maxUselessRate: 5 })
      const words = Array.from({ length: 20 }, () => ({}))
      yield* Effect.forEach(hundred, () => isGood(client), { concurrency: 10 })
      yield* Effect.forEach(hundred.slice(0, 20), () => Stream.runDrain(client.echoBidi(Stream.fromIterable(words))), {
        concurrency: 10
      })
    }))
})
