import * as Dgram from "node:dgram"
import { once } from "node:events"
import { syncBuiltinESMExports } from "node:module"
import ZlibModule, * as Zlib from "node:zlib"
import { create, toBinary } from "@bufbuild/protobuf"
import { describe, expect, it, vi } from "@effect/vitest"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as FiberId from "effect/FiberId"
import * as Layer from "effect/Layer"
import * as Logger from "effect/Logger"
import * as Metric from "effect/Metric"
import * as Redacted from "effect/Redacted"
import * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import { Credentials, DevCa, Quic, Transport, TransportMetrics } from "effect-transport"
import { EchoRequestSchema } from "../../examples/gen/echo/v1/echo_pb.js"
import type { Fields } from "../../src/protocol/Fields.js"
import * as Http3Connection from "../../src/protocol/http3/Http3Connection.js"
import { codes, type Http3Code } from "../../src/protocol/http3/Http3Error.js"
import * as Http3Message from "../../src/protocol/http3/Http3Message.js"
import type * as QuicEngine from "../../src/Quic/engine/QuicEngine.js"
import * as Quiche from "../../src/Quic/engine/quiche.js"
import * as QuicheEngine from "../../src/Quic/engine/quicheEngine.js"
import * as DatagramChannel from "../../src/Quic/internal/datagramChannel.js"
import { echoHandlers } from "../fixtures/grpc.js"
import { control, data, frame, headers, integers, message } from "../protocol/http3/http3Support.js"
import { rawMaterial } from "../suite/fixtures/certificates.js"
import { EchoService } from "../suite/fixtures/echo.js"
import { eventually, leavesNothing, within } from "../suite/fixtures/expect.js"
import { follow } from "../suite/fixtures/observe.js"
import { connecting, settings, silent } from "./quicSupport.js"

const ca = await Effect.runPromise(DevCa.make())
const issued = await Effect.runPromise(ca.issue({ names: ["localhost"] }))
const material = rawMaterial(issued, ca.ca)
const engine = QuicheEngine.make(await Quiche.load())

const tls: QuicEngine.TlsSettings = {
  ca: [ca.ca],
  certificate: { chain: issued.cert, key: Redacted.value(issued.key) },
  verifyChain: false,
  asksCertificate: true
}

const http3 = { ...settings, alpnProtocol: Http3Connection.alpnProtocol }

const path = "/echo.v1.EchoService/Echo"
const bidi = "/echo.v1.EchoService/EchoBidi"
const hello = toBinary(EchoRequestSchema, create(EchoRequestSchema, { message: "hello" }))

const content = (bytes: Uint8Array) => data(...bytes)

const request = (to: string, ...more: Fields): Buffer =>
  headers(
    [":method", "POST"],
    [":scheme", "https"],
    [":authority", "localhost"],
    [":path", to],
    ["content-type", "application/grpc"],
    ["te", "trailers"],
    ...more
  )

const gauge = (metric: Metric.Metric.Gauge<number>) => Effect.map(Metric.value(metric), ({ value }) => value)
const inFlight = gauge(TransportMetrics.callsInFlight)
const accepted = gauge(TransportMetrics.connectionsAccepted)

/** Logs of what the listener thinks of its attackers are left out; those of the tests that look at them are not. */
const on =
  (options?: Quic.QuicOptions) =>
  <A, E, R>(effect: Effect.Effect<A, E, R>) =>
    Effect.flatMap(
      Layer.build(
        Layer.provide(
          Quic.layer({ serverName: "localhost", ...options }),
          Layer.succeed(Credentials.Credentials, Credentials.make(material))
        )
      ),
      (context) => Effect.provide(effect, context)
    ).pipe(Effect.provide(Logger.remove(Logger.defaultLogger)))

/** A connection of somebody who has a certificate and no manners. */
interface Attacker {
  readonly quic: QuicEngine.Connection
  readonly closed: Effect.Effect<QuicEngine.Close>
}

interface Victim {
  readonly remote: QuicEngine.HostPort
  readonly attacker: Effect.Effect<Attacker, QuicEngine.Close, Scope.Scope>
}

/**
 * A listener, a well-behaved client that must not notice what others do, and what connects as they do. When the attack
 * is over, the calls it made are gone, and its connections with it, while the listener goes on.
 */
const attacked = <E>(
  attack: (victim: Victim) => Effect.Effect<void, E, Scope.Scope>,
  options: Quic.QuicOptions = {},
  implementation?: Parameters<typeof echoHandlers>[0]
) =>
  leavesNothing(
    Effect.gen(function* () {
      const { address, target } = yield* on(options)(Transport.listen([echoHandlers(implementation)]))
      const client = yield* on()(Transport.client(EchoService, target))
      yield* client.echo({ message: "warm" })
      const open = { calls: yield* inFlight, connections: yield* accepted }
      const attacker = Effect.gen(function* () {
        const closing = yield* Deferred.make<QuicEngine.Close>()
        const quic = yield* connecting(
          engine,
          tls,
          address,
          {
            onClosed: (close) => Deferred.unsafeDone(closing, Effect.succeed(close)),
            onStream: (id) => ({ ...silent, onReadable: () => void quic.read(id) })
          },
          { settings: http3 }
        )
        return { quic, closed: Deferred.await(closing) }
      })
      yield* within(Effect.scoped(attack({ remote: address, attacker })), "15 seconds")
      expect(yield* Stream.runCount(client.echoServerStream({ repeat: 3 }))).toBe(3)
      yield* eventually(
        Effect.map(Effect.all({ calls: inFlight, connections: accepted }), (now) => expect(now).toEqual(open)),
        "5 seconds"
      )
    })
  )

/** A connection that has begun as it should. */
const begun = ({ attacker }: Victim) =>
  Effect.tap(attacker, ({ quic }) => {
    quic.write(quic.openUni(silent), control, false)
  })

interface Answer {
  readonly http: number
  readonly fields: ReadonlyMap<string, string>
}

/** Sends a request and gives what its answer says; or the code with which it was broken off. */
const ask = (
  { quic }: Attacker,
  bytes: Buffer,
  { fin = true, onlyHead = false } = {}
): Effect.Effect<Answer | number> =>
  Effect.async((resume) => {
    const fields = new Map<string, string>()
    const note = (section: Fields) => {
      for (const [name, value] of section) {
        fields.set(name, value)
      }
    }
    const answered = () => resume(Effect.succeed({ http: Number(fields.get(":status")), fields }))
    const responses = Http3Message.responses<undefined>(
      {
        onInformational: () => {},
        onHead: (head) => {
          fields.set(":status", String(head.status))
          note(head.fields)
          if (onlyHead) {
            answered()
          }
        },
        onData: () => {},
        onTrailers: note,
        onEnd: () => answered()
      },
      { maxFieldSectionSize: 65_536, method: "POST" }
    )
    const answer = Http3Message.make(responses, undefined)
    const onReadable = () => {
      for (let got = quic.read(id); got !== undefined; got = quic.read(id)) {
        if (got._tag === "Reset") {
          return resume(Effect.succeed(got.code))
        }
        Http3Message.receive(got.bytes, got.fin, answer)
        if (got.fin) {
          return
        }
      }
    }
    const id = quic.openBidi({ ...silent, onReadable })
    quic.write(id, bytes, fin)
  })

const grpcStatus = (answer: Answer | number) =>
  typeof answer === "number" ? undefined : Number(answer.fields.get("grpc-status"))

describe("a QUIC listener, and a client that speaks HTTP/3 but not gRPC", () => {
  const hellos = content(message(hello))
  const cases: ReadonlyArray<
    readonly [
      title: string,
      bytes: Buffer,
      expected: {
        readonly http?: number
        readonly status?: number
        readonly accepts?: string
        readonly reset?: Http3Code
      }
    ]
  > = [
    ["everything right", Buffer.concat([request(path), hellos]), { status: 0 }],
    [
      "in frames of one byte",
      Buffer.concat([request(path), ...[...message(hello)].map((byte) => data(byte))]),
      { status: 0 }
    ],
    [
      "frames that nobody knows",
      Buffer.concat([frame(0x21), request(path), frame(0x40, hello), hellos]),
      { status: 0 }
    ],
    ["trailers", Buffer.concat([request(path), hellos, headers(["grpc-status", "3"])]), { status: 0 }],
    ["an unknown path", Buffer.concat([request("/nothing"), hellos]), { status: 12 }],
    ["a strange path", Buffer.concat([request("/echo.v1.EchoService/../%00?Echo"), hellos]), { status: 12 }],
    ["an invalid timeout", Buffer.concat([request(path, ["grpc-timeout", "soon"]), hellos]), { status: 13 }],
    ["a timeout of nothing", Buffer.concat([request(path, ["grpc-timeout", "0n"]), hellos]), { status: 4 }],
    [
      "a length of 4 GiB",
      Buffer.concat([request(path), content(message(hello, { length: 0xffffffff }))]),
      { status: 8 }
    ],
    [
      "a length over the limit",
      Buffer.concat([request(path), content(message(hello, { length: 4 * 1024 * 1024 + 1 }))]),
      { status: 8 }
    ],
    [
      "a compressed message",
      Buffer.concat([request(path, ["grpc-encoding", "gzip"]), content(message(Zlib.gzipSync(hello), { flag: 1 }))]),
      { status: 0 }
    ],
    [
      "what is not compressed as it says",
      Buffer.concat([request(path, ["grpc-encoding", "gzip"]), content(message(hello, { flag: 1 }))]),
      { status: 13 }
    ],
    [
      "a compressed message, and not how",
      Buffer.concat([request(path), content(message(hello, { flag: 1 }))]),
      { status: 13 }
    ],
    [
      "a compressed message that is too large",
      Buffer.concat([
        request(path, ["grpc-encoding", "gzip"]),
        content(message(Zlib.gzipSync(Buffer.alloc(4 * 1024 * 1024 + 1)), { flag: 1 }))
      ]),
      { status: 8 }
    ],
    [
      "another compression",
      Buffer.concat([request(path, ["grpc-encoding", "deflate"]), content(message(hello, { flag: 1 }))]),
      { status: 12, accepts: "identity,gzip" }
    ],
    ["a strange flag", Buffer.concat([request(path), content(message(hello, { flag: 7 }))]), { status: 13 }],
    [
      "a message that is cut off",
      Buffer.concat([request(path), content(message(hello, { length: 100 }))]),
      { status: 13 }
    ],
    ["half a length", Buffer.concat([request(path), data(0, 0)]), { status: 13 }],
    ["no message", request(path), { status: 12 }],
    ["two messages", Buffer.concat([request(path), hellos, hellos]), { status: 12 }],
    [
      "bytes that are no protobuf",
      Buffer.concat([request(path), content(message(Buffer.from("\x0a\x7f")))]),
      { status: 13 }
    ],
    ["metadata over the limit", Buffer.concat([request(path, ["x-big", "x".repeat(20_000)]), hellos]), { status: 8 }],
    [
      "metadata far over the limit",
      Buffer.concat([request(path, ["x-big", "x".repeat(60_000)]), hellos]),
      { reset: "H3_EXCESSIVE_LOAD" }
    ],
    [
      "metadata that is no base64",
      Buffer.concat([request(path, ["x-bytes-bin", "%%%%"], ["x-more-bin", "AA,,=,AA"]), hellos]),
      { status: 0 }
    ],
    [
      "another content-type",
      headers(
        [":method", "POST"],
        [":scheme", "https"],
        [":authority", "a"],
        [":path", path],
        ["content-type", "text/plain"]
      ),
      { http: 415 }
    ],
    [
      "no content-type",
      headers([":method", "POST"], [":scheme", "https"], [":authority", "a"], [":path", path]),
      { http: 415 }
    ],
    ["a GET", headers([":method", "GET"], [":scheme", "https"], [":authority", "a"], [":path", "/"]), { http: 404 }],
    ["no path", headers([":method", "POST"], [":scheme", "https"], [":authority", "a"]), { reset: "H3_MESSAGE_ERROR" }],
    ["a name in capitals", request(path, ["X-Name", "x"]), { reset: "H3_MESSAGE_ERROR" }],
    ["a field of HTTP/1", request(path, ["connection", "close"]), { reset: "H3_MESSAGE_ERROR" }],
    [
      "less content than it says",
      Buffer.concat([request(path, ["content-length", "100"]), hellos]),
      { reset: "H3_MESSAGE_ERROR" }
    ]
  ]

  it.live.each(cases)("that sends %s", ([, bytes, expected]) =>
    attacked((victim) =>
      Effect.gen(function* () {
        const answer = yield* ask(yield* begun(victim), bytes)
        if (expected.reset !== undefined) {
          expect(answer).toBe(codes[expected.reset])
        } else {
          expect(typeof answer === "number" ? answer : answer.http).toBe(expected.http ?? 200)
          if (expected.status !== undefined) {
            expect(grpcStatus(answer)).toBe(expected.status)
          }
          expect(typeof answer === "number" ? undefined : answer.fields.get("grpc-accept-encoding")).toBe(
            expected.accepts
          )
        }
      })
    )
  )

  it.live("that asks for datagrams before its settings arrive", () =>
    attacked((victim) =>
      Effect.gen(function* () {
        const attacker = yield* victim.attacker
        const opening = headers(
          [":method", "POST"],
          [":scheme", "https"],
          [":authority", "localhost"],
          [":path", DatagramChannel.path]
        )
        expect(yield* ask(attacker, opening, { fin: false, onlyHead: true })).toMatchObject({ http: 200 })
      })
    )
  )

  it.live("that sends a thousand bombs to handlers that don't read", () => {
    const inflatedSize = 4 * 1024 * 1024
    const bomb = content(message(Zlib.gzipSync(Buffer.alloc(inflatedSize - 1000)), { flag: 1 }))
    const bombs = Buffer.concat(Array.from({ length: 12 }, () => bomb))
    return attacked(
      (victim) =>
        Effect.gen(function* () {
          const client = yield* on()(Transport.client(EchoService, `127.0.0.1:${victim.remote.port}`))
          const { quic } = yield* begun(victim)
          const gunzip = vi.spyOn(ZlibModule, "createGunzip")
          syncBuiltinESMExports()
          for (let i = 0; i < 90; i++) {
            quic.write(quic.openBidi(silent), Buffer.concat([request(bidi, ["grpc-encoding", "gzip"]), bombs]), false)
          }
          let inflated = 0
          // Until no more are begun, in more turns of the event loop than one takes.
          for (let standing = 0; standing < 150; standing++) {
            expect((yield* within(client.echo({ message: "good" }), "5 seconds")).message).toBe("good")
            if (gunzip.mock.calls.length > inflated) {
              inflated = gunzip.mock.calls.length
              standing = 0
            }
          }
          gunzip.mockRestore()
          syncBuiltinESMExports()
          // What a connection may leave unread is 8 MiB, and each of them is 4.
          expect(inflated).toBeGreaterThan(0)
          expect(inflated).toBeLessThanOrEqual(4)
        }),
      {},
      { echoBidi: () => Stream.never }
    )
  })

  it.live("that breaks off in the middle of a message", () =>
    Effect.gen(function* () {
      const handler = yield* follow
      yield* attacked(
        (victim) =>
          Effect.gen(function* () {
            const { quic } = yield* begun(victim)
            const id = quic.openBidi(silent)
            quic.write(id, Buffer.concat([request(bidi), content(message(hello, { length: 1000 }))]), false)
            yield* handler.started
            quic.reset(id, codes.H3_REQUEST_CANCELLED)
            expect(yield* handler.ended).toBe("interrupted")
          }),
        {},
        { echoBidi: (requests) => Stream.unwrapScoped(Effect.as(handler.run(Stream.runDrain(requests)), Stream.empty)) }
      )
    })
  )
})

describe("a QUIC listener closes the connection of a client that sends", () => {
  const uni = (...bytes: ReadonlyArray<Buffer>) => ({ isUni: true, bytes: Buffer.concat(bytes) })
  const bi = (...bytes: ReadonlyArray<Buffer>) => ({ isUni: false, bytes: Buffer.concat(bytes) })
  const cases: ReadonlyArray<
    readonly [
      title: string,
      streams: ReadonlyArray<{ readonly isUni: boolean; readonly bytes: Buffer; readonly fin?: boolean }>,
      code: Http3Code
    ]
  > = [
    ["no settings", [uni(Buffer.of(0), frame(0x07, Buffer.of(0)))], "H3_MISSING_SETTINGS"],
    ["two control streams", [uni(control), uni(control)], "H3_STREAM_CREATION_ERROR"],
    ["the end of its control stream", [{ ...uni(control), fin: true }], "H3_CLOSED_CRITICAL_STREAM"],
    ["a push stream", [uni(control), uni(Buffer.of(1))], "H3_STREAM_CREATION_ERROR"],
    ["settings of HTTP/2", [uni(Buffer.of(0), integers(0x04, 0x03, 100))], "H3_SETTINGS_ERROR"],
    ["settings twice", [uni(control, integers(0x04))], "H3_FRAME_UNEXPECTED"],
    ["settings without end", [uni(Buffer.of(0), Buffer.of(0x04, 0x80, 0xff, 0xff, 0xff))], "H3_EXCESSIVE_LOAD"],
    ["content before the headers", [uni(control), bi(data(1, 2, 3))], "H3_FRAME_UNEXPECTED"],
    ["settings in a request", [uni(control), bi(integers(0x04))], "H3_FRAME_UNEXPECTED"],
    ["frames of HTTP/2", [uni(control), bi(frame(0x06, Buffer.alloc(8)))], "H3_FRAME_UNEXPECTED"],
    [
      "fields from a table that there is not",
      [uni(control), bi(frame(0x01, Buffer.of(0, 0, 0x80 | 0x05)))],
      "QPACK_DECOMPRESSION_FAILED"
    ],
    [
      "entries for a table that there is not",
      [uni(control), uni(Buffer.of(2, 0x3f, 0xe1, 0x1f))],
      "QPACK_ENCODER_STREAM_ERROR"
    ]
  ]

  it.live.each(cases)("%s", ([, streams, code]) =>
    attacked((victim) =>
      Effect.gen(function* () {
        const { closed, quic } = yield* victim.attacker
        for (const { bytes, fin = false, isUni } of streams) {
          quic.write(isUni ? quic.openUni(silent) : quic.openBidi(silent), bytes, fin)
        }
        expect(yield* closed).toMatchObject({ by: "remote", isApplication: true, code: codes[code] })
      })
    )
  )

  it.live("more datagrams for nothing than anybody sends, never", () =>
    attacked((victim) =>
      Effect.gen(function* () {
        const attacker = yield* begun(victim)
        for (let i = 0; i < 5000; i++) {
          attacker.quic.sendDatagram(Buffer.from([i % 64, 1, 2, 3]))
        }
        expect(grpcStatus(yield* ask(attacker, Buffer.concat([request(path), content(message(hello))])))).toBe(0)
      })
    )
  )

  it.live("a datagram that is none", () =>
    attacked((victim) =>
      Effect.gen(function* () {
        const { closed, quic } = yield* begun(victim)
        quic.sendDatagram(Buffer.of(0xff))
        expect(yield* closed).toMatchObject({ by: "remote", code: codes.H3_DATAGRAM_ERROR })
      })
    )
  )
})

describe("a QUIC listener has limits for", () => {
  const callOf = (text: string) =>
    Buffer.concat([
      request(path),
      content(message(toBinary(EchoRequestSchema, create(EchoRequestSchema, { message: text }))))
    ])

  /** Handlers that answer these messages when they are let, and all others at once. */
  const gated = (...names: ReadonlyArray<string>) => {
    const gates = new Map(names.map((name) => [name, Deferred.unsafeMake<void>(FiberId.none)]))
    const started: Array<string> = []
    const echo = ({ message }: { readonly message: string }) =>
      Effect.suspend(() => {
        const gate = gates.get(message)
        if (gate === undefined) {
          return Effect.succeed({ message })
        }
        started.push(message)
        return Effect.as(Deferred.await(gate), { message })
      })
    const open = (name: string) =>
      Effect.map(Effect.fromNullable(gates.get(name)), (gate) => Deferred.unsafeDone(gate, Effect.void))
    return { echo, started, open }
  }

  /** Waits until all that was sent has arrived, and these calls have started. */
  const haveStarted = (started: ReadonlyArray<string>, { quic }: Attacker, ...expected: ReadonlyArray<string>) =>
    eventually(
      Effect.sync(() =>
        expect({ started, isFlushed: quic.isFlushed() }).toEqual({ started: expected, isFlushed: true })
      ),
      "5 seconds"
    )

  it.live("calls that run at once: others wait in their order, though their streams are open", () => {
    const handlers = gated("first", "second", "given up", "last")
    return attacked(
      (victim) =>
        Effect.gen(function* () {
          const attacker = yield* begun(victim)
          const call = (name: string) => Effect.fork(ask(attacker, callOf(name)))
          const first = yield* call("first")
          const second = yield* call("second")
          const givenUp = yield* call("given up")
          const last = yield* call("last")
          yield* haveStarted(handlers.started, attacker, "first", "second")
          attacker.quic.reset(8, codes.H3_REQUEST_CANCELLED)
          attacker.quic.stop(8, codes.H3_REQUEST_CANCELLED)
          yield* haveStarted(handlers.started, attacker, "first", "second")
          yield* handlers.open("second")
          expect(grpcStatus(yield* Fiber.join(second))).toBe(0)
          yield* haveStarted(handlers.started, attacker, "first", "second", "last")
          yield* handlers.open("last")
          yield* handlers.open("first")
          expect(grpcStatus(yield* Fiber.join(last))).toBe(0)
          expect(grpcStatus(yield* Fiber.join(first))).toBe(0)
          yield* Fiber.interrupt(givenUp)
          expect(handlers.started).toEqual(["first", "second", "last"])
        }),
      { maxConcurrentStreams: 2 },
      { echo: handlers.echo }
    )
  })

  it.live("calls that run at once: those that wait are rejected when it closes, and those that run are not", () =>
    leavesNothing(
      Effect.gen(function* () {
        const handlers = gated("runs", "waits")
        const scope = yield* Scope.make()
        const { address } = yield* Scope.extend(
          on({ maxConcurrentStreams: 1 })(Transport.listen([echoHandlers({ echo: handlers.echo })])),
          scope
        )
        const quic = yield* connecting(
          engine,
          tls,
          address,
          { onStream: (id) => ({ ...silent, onReadable: () => void quic.read(id) }) },
          { settings: http3 }
        )
        const attacker = { quic, closed: Effect.never }
        quic.write(quic.openUni(silent), control, false)
        const runs = yield* Effect.fork(ask(attacker, callOf("runs")))
        const waits = yield* Effect.fork(ask(attacker, callOf("waits")))
        yield* haveStarted(handlers.started, attacker, "runs")
        const closing = yield* Effect.fork(Scope.close(scope, Exit.void))
        expect(yield* Fiber.join(waits)).toBe(codes.H3_REQUEST_REJECTED)
        yield* handlers.open("runs")
        expect(grpcStatus(yield* Fiber.join(runs))).toBe(0)
        yield* Fiber.join(closing)
        expect(handlers.started).toEqual(["runs"])
      })
    )
  )

  it.live("calls that are given up at once", () =>
    attacked(
      (victim) =>
        Effect.gen(function* () {
          const { closed, quic } = yield* begun(victim)
          for (let i = 0; i < 50; i++) {
            const id = quic.openBidi(silent)
            quic.write(id, request(bidi), false)
            quic.reset(id, codes.H3_REQUEST_CANCELLED)
            quic.stop(id, codes.H3_REQUEST_CANCELLED)
            quic.release(id)
          }
          expect(yield* closed).toMatchObject({ by: "remote", code: codes.H3_EXCESSIVE_LOAD })
        }),
      { maxCancelRate: 20 }
    )
  )

  it.live("calls that are begun", () =>
    attacked(
      (victim) =>
        Effect.gen(function* () {
          const { closed, quic } = yield* begun(victim)
          for (let i = 0; i < 50; i++) {
            quic.write(quic.openBidi(silent), request(bidi), true)
          }
          expect(yield* closed).toMatchObject({ by: "remote", code: codes.H3_EXCESSIVE_LOAD })
        }),
      { maxCallRate: 20 }
    )
  )

  it.live("packets", () =>
    attacked(
      (victim) =>
        Effect.gen(function* () {
          const { closed, quic } = yield* begun(victim)
          const flood = Effect.forever(
            Effect.zipRight(
              Effect.sync(() => {
                for (let i = 0; i < 50; i++) {
                  quic.sendDatagram(Buffer.alloc(1100))
                }
              }),
              Effect.sleep("1 millis")
            )
          )
          const flooding = yield* Effect.fork(flood)
          expect(yield* closed).toMatchObject({ by: "remote", isApplication: false, text: "too many packets" })
          yield* Fiber.interrupt(flooding)
        }),
      { maxPacketRate: 300 }
    )
  )

  it.live("connections", () =>
    attacked(
      (victim) =>
        Effect.gen(function* () {
          // The well-behaved client has one.
          yield* victim.attacker
          yield* victim.attacker
          const third = yield* Effect.flip(victim.attacker)
          expect(third).toMatchObject({ by: "remote", isApplication: false, code: 2, text: "too many connections" })
        }),
      { maxConnections: 3 }
    )
  )

  it.live("handshakes that one address begins", () =>
    attacked(
      (victim) =>
        Effect.gen(function* () {
          const quick = { ...http3, handshakeTimeout: 400 }
          const tries = yield* Effect.all(
            Array.from({ length: 10 }, () =>
              Effect.either(connecting(engine, tls, victim.remote, {}, { settings: quick }))
            ),
            { concurrency: "unbounded" }
          )
          const done = tries.filter(({ _tag }) => _tag === "Right").length
          expect(done).toBeGreaterThan(0)
          expect(done).toBeLessThan(10)
        }),
      { maxHandshakeRate: 3 }
    )
  )

  it.live("channels for datagrams: one a connection", () =>
    attacked((victim) =>
      Effect.gen(function* () {
        const { quic } = yield* begun(victim)
        const over = new Set<number>()
        const ids = Array.from({ length: 20 }, () => {
          const id = quic.openBidi({
            ...silent,
            onReadable: () => {
              let got = quic.read(id)
              while (got?._tag === "Bytes" && got.bytes.length > 0) {
                got = quic.read(id)
              }
              if (got?._tag === "Reset") {
                over.add(id)
              }
            },
            onStopped: () => over.add(id)
          })
          quic.watch(id, true)
          quic.write(
            id,
            headers(
              [":method", "POST"],
              [":scheme", "https"],
              [":authority", "localhost"],
              [":path", DatagramChannel.path]
            ),
            false
          )
          return id
        })
        for (let n = 0; n < 200; n++) {
          for (const id of ids) {
            quic.sendDatagram(Buffer.concat([Buffer.of(id / 4), Buffer.alloc(1000)]))
          }
          yield* Effect.yieldNow()
        }
        yield* eventually(Effect.sync(() => expect(over.size).toBe(ids.length - 1)))
      })
    )
  )

  it.live("handshakes that are never finished", () =>
    attacked(
      (victim) =>
        Effect.gen(function* () {
          // Lets through what the client sends, until it has shown its address, and no more.
          const relay = Dgram.createSocket("udp4").bind(0, "127.0.0.1")
          yield* Effect.addFinalizer(() => Effect.sync(() => relay.close()))
          yield* Effect.promise(() => once(relay, "listening"))
          const initials = new Map<number, number>()
          const ports: Array<number> = []
          relay.on("message", (packet, { port }) => {
            if (port === victim.remote.port) {
              relay.send(packet, ports.at(-1) ?? 0, "127.0.0.1")
              return
            }
            const count = (initials.get(port) ?? 0) + 1
            initials.set(port, count)
            if (count === 1) {
              ports.push(port)
            }
            if (count <= 2) {
              relay.send(packet, victim.remote.port, "127.0.0.1")
            }
          })
          const half = connecting(
            engine,
            tls,
            { host: "127.0.0.1", port: relay.address().port },
            {},
            { settings: { ...http3, handshakeTimeout: 300 } }
          )
          // One after the other, for the relay has one address. The clients think that they are done.
          yield* half
          yield* half
          // The oldest makes way.
          const refused = Metric.value(Metric.tagged(TransportMetrics.handshakesRefused, "reason", "TooManyHandshakes"))
          const before = yield* refused
          yield* victim.attacker
          expect((yield* refused).count - before.count).toBe(1)
        }),
      { maxHandshakes: 2, handshakeTimeout: "2 seconds" }
    )
  )
})

describe("a QUIC listener ignores", () => {
  const random = (length: number, first: number) => {
    const bytes = Buffer.from(Uint8Array.from({ length }, () => Math.floor(Math.random() * 256)))
    bytes[0] = first
    return bytes
  }
  const long = (version: number, dcid: number, scid: number, size: number) => {
    const packet = random(size, 0xc3)
    packet.writeUInt32BE(version, 1)
    packet[5] = dcid
    packet[6 + dcid] = scid
    return packet
  }
  const floods: ReadonlyArray<readonly [title: string, packets: ReadonlyArray<Buffer>]> = [
    ["noise of every length", Array.from({ length: 1500 }, (_, i) => random(i + 1, Math.floor(Math.random() * 256)))],
    ["short headers for nobody", Array.from({ length: 2000 }, () => random(1200, 0x43))],
    ["Initials without sense", Array.from({ length: 500 }, () => long(1, 8, 8, 1200))],
    ["ids of every length", Array.from({ length: 512 }, (_, i) => long(1, i % 256, i >> 1, 1300))],
    ["other versions", Array.from({ length: 500 }, (_, i) => long(0x1a2a3a4a + i, 8, 8, 1200))],
    ["answers to what it never asked", Array.from({ length: 500 }, () => long(0, 8, 8, 1200))],
    ["packets of no byte", Array.from({ length: 100 }, () => Buffer.alloc(0))],
    ["packets as large as UDP has", Array.from({ length: 20 }, () => random(65_000, 0xc3))]
  ]
  it.live.each(floods)("%s", ([, packets]) =>
    attacked(({ attacker, remote }) =>
      Effect.gen(function* () {
        const socket = Dgram.createSocket("udp4")
        yield* Effect.addFinalizer(() => Effect.sync(() => socket.close()))
        for (const packet of packets) {
          yield* Effect.async<void>((resume) => {
            socket.send(packet, remote.port, remote.host, () => resume(Effect.void))
          })
        }
        yield* attacker
      })
    )
  )
})
