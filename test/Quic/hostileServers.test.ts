import { X509Certificate } from "node:crypto"
import * as Dgram from "node:dgram"
import * as Dns from "node:dns"
import { once } from "node:events"
import * as Zlib from "node:zlib"
import { create, toBinary } from "@bufbuild/protobuf"
import { describe, expect, it, vi } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Logger from "effect/Logger"
import * as Option from "effect/Option"
import * as Redacted from "effect/Redacted"
import * as Stream from "effect/Stream"
import { Credentials, DevCa, Quic, Transport } from "effect-transport"
import { EchoResponseSchema } from "../../examples/gen/echo/v1/echo_pb.js"
import type { Fields } from "../../src/protocol/Fields.js"
import { codes, type Http3Code } from "../../src/protocol/http3/Http3Error.js"
import type * as QuicEngine from "../../src/Quic/engine/QuicEngine.js"
import * as Quiche from "../../src/Quic/engine/quiche.js"
import * as QuicheEngine from "../../src/Quic/engine/quicheEngine.js"
import { admission } from "../fixtures/admission.js"
import { echoHandlers } from "../fixtures/grpc.js"
import { control, data, frame, headers, integers, message } from "../protocol/http3/http3Support.js"
import { rawMaterial } from "../suite/fixtures/certificates.js"
import { EchoService } from "../suite/fixtures/echo.js"
import { leavesNothing, soon, within } from "../suite/fixtures/expect.js"
import { quiet, settings, silent } from "./quicSupport.js"

const ca = await Effect.runPromise(DevCa.make())
const issued = await Effect.runPromise(ca.issue({ names: ["127.0.0.1", "localhost"] }))
const material = rawMaterial(issued, ca.ca)
const engine = QuicheEngine.make(await Quiche.load())

const on =
  (options?: Quic.QuicOptions) =>
  <A, E, R>(effect: Effect.Effect<A, E, R>) =>
    Effect.flatMap(
      Layer.build(
        Layer.provide(
          Quic.layer({ initialReconnectBackoff: "20 millis", connectTimeout: "500 millis", ...options }),
          Layer.succeed(Credentials.Credentials, Credentials.make(material))
        )
      ),
      (context) => Effect.provide(effect, context)
    ).pipe(Effect.provide(Logger.remove(Logger.defaultLogger)))

const listen = (onConnection: QuicEngine.ListenOptions["onConnection"]) =>
  Effect.map(
    Effect.acquireRelease(
      Effect.promise(() =>
        engine.listen({
          local: { host: "127.0.0.1", port: 0 },
          tls: () => ({
            ca: [ca.ca],
            certificate: { chain: issued.cert, key: Redacted.value(issued.key) },
            verifyChain: true,
            asksCertificate: true
          }),
          settings: { ...settings, alpnProtocol: "h3" },
          maxConnections: 100,
          admission: admission(),
          maxTotalHandshakeBytes: 1024 * 1024,
          onConnection,
          onError: () => {}
        })
      ),
      (listener) => Effect.promise(() => listener.close())
    ),
    ({ local }) => `127.0.0.1:${local.port}`
  )

type Answer = (connection: QuicEngine.Connection, id: number) => void

/** A server of HTTP/3 that answers the first call as the test says, and all others as it should. */
const against = (answer: Answer, options?: Quic.QuicOptions) =>
  Effect.gen(function* () {
    let current: Answer | undefined = answer
    const target = yield* listen((connection) => ({
      ...quiet,
      onEstablished: () => {
        connection.accept()
        connection.write(connection.openUni(silent), control, false)
      },
      onStream: (id) => ({
        ...silent,
        onReadable: () => {
          for (let got = connection.read(id); got !== undefined; got = connection.read(id)) {
            if (got._tag === "Reset") {
              return connection.release(id)
            }
            if (got.fin && (id & 2) === 0) {
              const answered = current ?? says(grpc(), hello, ok)
              current = undefined
              return answered(connection, id)
            }
          }
        }
      })
    }))
    const client = yield* on(options)(Transport.client(EchoService, target))
    return { client, target }
  })

const goesOn = (client: Transport.Client<typeof EchoService>) =>
  Effect.map(client.echo({}, { waitForReady: true, timeout: "5 seconds" }), ({ message }) =>
    expect(message).toBe("hello")
  )

const says =
  (...frames: ReadonlyArray<Buffer>): Answer =>
  (connection, id) => {
    connection.write(id, Buffer.concat(frames), true)
    connection.release(id)
  }

const breaks =
  (code: Http3Code, ...frames: ReadonlyArray<Buffer>): Answer =>
  (connection, id) => {
    if (frames.length > 0) {
      connection.write(id, Buffer.concat(frames), false)
    }
    connection.reset(id, codes[code])
  }

const onControl =
  (bytes: Buffer): Answer =>
  (connection) => {
    // The control stream of a server is the first that it opens.
    connection.write(3, bytes, false)
  }

const content = (bytes: Uint8Array) => data(...bytes)
const greeting = message(toBinary(EchoResponseSchema, create(EchoResponseSchema, { message: "hello" })))
const hello = content(greeting)
const grpc = (...more: Fields) => headers([":status", "200"], ["content-type", "application/grpc"], ...more)
const http = (status: string, type = "text/html") => headers([":status", status], ["content-type", type])
const ok = headers(["grpc-status", "0"])

describe("a server that speaks HTTP/3 but answers", () => {
  const cases: ReadonlyArray<readonly [title: string, answer: Answer, expected: object]> = [
    ["without a status", says(grpc(), hello), { _tag: "Internal" }],
    ["without a status and without a message", says(grpc()), { _tag: "Unknown" }],
    ["404", says(http("404"), content(Buffer.from("<h1>Not found</h1>"))), { _tag: "Unimplemented" }],
    ["503", says(http("503")), { _tag: "Unavailable", processed: "unknown" }],
    ["401", says(http("401")), { _tag: "Unauthenticated" }],
    ["418", says(http("418")), { _tag: "Unknown" }],
    ["gRPC of the web", says(http("200", "application/grpc-web+proto"), hello, ok), { _tag: "Unknown" }],
    [
      "success in a page's head",
      says(headers([":status", "200"], ["content-type", "text/html"], ["grpc-status", "0"])),
      { _tag: "Unknown" }
    ],
    ["success and nothing else", says(headers([":status", "200"], ["grpc-status", "0"])), { _tag: "Unknown" }],
    ["200 and a page", says(http("200"), content(Buffer.from("<html></html>"))), { _tag: "Unknown" }],
    ["a status that is no number", says(grpc(["grpc-status", "fine"])), { _tag: "Unknown" }],
    ["a status that nobody knows", says(grpc(["grpc-status", "17"])), { _tag: "Unknown" }],
    ["a status below zero", says(grpc(["grpc-status", "-1"])), { _tag: "Unknown" }],
    [
      "a text that is badly encoded",
      says(grpc(["grpc-status", "5"], ["grpc-message", "100%, %zz %e4%b8"])),
      { _tag: "NotFound", message: "100%, %zz %e4%b8" }
    ],
    [
      "details that are no base64",
      says(grpc(["grpc-status", "5"], ["grpc-status-details-bin", "%%%"])),
      { _tag: "NotFound", details: [] }
    ],
    [
      "a status that claims that nothing was done",
      says(grpc(["grpc-status", "14"], ["grpc-message", "No connection established"])),
      { _tag: "Unavailable", processed: "unknown" }
    ],
    ["OK without a message", says(grpc(), ok), { _tag: "Unimplemented" }],
    ["OK with two messages", says(grpc(), hello, hello, ok), { _tag: "Unimplemented" }],
    ["a message that is cut off", says(grpc(), content(greeting.subarray(0, -2)), ok), { _tag: "Internal" }],
    ["a frame that is cut off", says(grpc(), hello.subarray(0, -2), ok), { _tag: "Unavailable", processed: "unknown" }],
    [
      "a message over the limit",
      says(grpc(), content(message(Buffer.alloc(1000), { length: 5_000_000 })), ok),
      { _tag: "ResourceExhausted" }
    ],
    [
      "a message of 4 GiB",
      says(grpc(), content(message(Buffer.alloc(1000), { length: 0xffffffff })), ok),
      { _tag: "ResourceExhausted" }
    ],
    ["bytes that are no protobuf", says(grpc(), content(message(Buffer.from("\x0a\x7f"))), ok), { _tag: "Internal" }],
    [
      "a compression that it did not announce",
      says(grpc(), content(message(Buffer.alloc(10), { flag: 1 })), ok),
      { _tag: "Internal" }
    ],
    [
      "what is not compressed as it says",
      says(grpc(["grpc-encoding", "gzip"]), content(message(Buffer.alloc(30), { flag: 1 })), ok),
      { _tag: "Internal" }
    ],
    [
      "a bomb",
      says(grpc(["grpc-encoding", "gzip"]), content(message(Zlib.gzipSync(Buffer.alloc(40_000_000)), { flag: 1 })), ok),
      { _tag: "ResourceExhausted" }
    ],
    ["huge trailers", says(grpc(), hello, headers(["grpc-status", "0"], ["x", "x".repeat(60_000)])), { code: 8 }],
    ["content before the head", says(hello, ok), { _tag: "Unavailable" }],
    ["frames of a control stream", says(grpc(), integers(0x04), hello, ok), { _tag: "Unavailable" }],
    ["less than it says", says(grpc(["content-length", "100"]), hello, ok), { _tag: "Internal" }],
    ["a status of HTTP that is none", says(headers([":status", "abc"])), { _tag: "Internal" }],
    ["with an internal error", breaks("H3_INTERNAL_ERROR"), { _tag: "Internal" }],
    ["that it did not begin", breaks("H3_REQUEST_REJECTED"), { _tag: "Unavailable", processed: "no" }],
    [
      "that it did not see the call, after it has",
      (connection, id) => {
        connection.write(id, grpc(), false)
        connection.write(3, integers(0x07, 0), false)
      },
      { _tag: "Unavailable", processed: "unknown" }
    ],
    ["that it gave up", breaks("H3_REQUEST_CANCELLED"), { _tag: "Cancelled" }],
    ["that it is too much", breaks("H3_EXCESSIVE_LOAD"), { _tag: "ResourceExhausted" }],
    ["with a break that is no error", breaks("H3_NO_ERROR"), { _tag: "Internal" }],
    ["and breaks off before the trailers", breaks("H3_REQUEST_CANCELLED", grpc(), hello), { _tag: "Cancelled" }],
    [
      "and hangs up",
      (connection) => connection.close(true, codes.H3_NO_ERROR, ""),
      { _tag: "Unavailable", processed: "unknown" }
    ],
    ["a GOAWAY that says that it did not see the call", onControl(integers(0x07, 0)), { processed: "no" }],
    ["a GOAWAY for no request", onControl(integers(0x07, 3)), { _tag: "Unavailable" }],
    ["settings twice", onControl(integers(0x04)), { _tag: "Unavailable" }],
    ["a promise", says(frame(0x05, Buffer.of(0, 0, 0))), { _tag: "Unavailable" }]
  ]

  it.live.each(cases)("%s", ([, answer, expected]) =>
    leavesNothing(
      Effect.gen(function* () {
        const { client, target } = yield* against(answer)
        const error = yield* Effect.flip(client.echo({ message: "first" }, { timeout: "5 seconds" }))
        expect(error).toMatchObject({ peer: target, method: "/echo.v1.EchoService/Echo" })
        expect(error).toMatchObject(expected)
        yield* goesOn(client)
      })
    )
  )

  it.live.each(cases)("%s, to a stream", ([title, answer, expected]) =>
    leavesNothing(
      Effect.gen(function* () {
        const { client } = yield* against(answer)
        const result = yield* Effect.either(
          Stream.runDrain(client.echoBidi(Stream.make({ message: "first" }), { timeout: "5 seconds" }))
        )
        if (result._tag === "Left") {
          expect(result.left).toMatchObject(expected)
        } else {
          // Any number of messages is right for a stream.
          expect(title).toMatch(/^OK with/)
        }
        yield* goesOn(client)
      })
    )
  )

  it.live("after any number of others", () =>
    leavesNothing(
      Effect.gen(function* () {
        const early = Array.from({ length: 50 }, () => headers([":status", "103"]))
        const { client } = yield* against(says(...early, frame(0x21), grpc(), frame(0x40, Buffer.alloc(9)), hello, ok))
        yield* goesOn(client)
        yield* goesOn(client)
      })
    )
  )

  it.live("without end, in fields: they are bounded", () =>
    leavesNothing(
      Effect.gen(function* () {
        const { client } = yield* against((connection, id) => {
          // To a stream that the client has given up, anything can be written: it goes nowhere.
          let left = 20_000
          const more = () => {
            while (left > 0 && connection.write(id, headers([":status", "103"], ["x", "x".repeat(1000)]), false)) {
              left -= 1
            }
            if (left === 0) {
              clearInterval(pump)
            }
          }
          const pump = setInterval(more, 1)
          setTimeout(() => clearInterval(pump), 1000)
          more()
        })
        const error = yield* Effect.flip(client.echo({}, { timeout: "500 millis" }))
        // As fast as most machines are, more than `maxUselessRate` have come by then.
        expect(["Unavailable", "DeadlineExceeded"]).toContain(error._tag)
        yield* goesOn(client)
      })
    )
  )
})

describe("a client that connects to what is no server", () => {
  /** Something that answers packets as the test says. */
  const udp = (onPacket: (packet: Buffer, reply: (packet: Buffer) => void) => void) =>
    Effect.gen(function* () {
      const socket = Dgram.createSocket("udp4").bind(0, "127.0.0.1")
      yield* Effect.addFinalizer(() => Effect.sync(() => socket.close()))
      yield* Effect.promise(() => once(socket, "listening"))
      socket.on("message", (packet, { port }) => onPacket(packet, (reply) => socket.send(reply, port, "127.0.0.1")))
      return `127.0.0.1:${socket.address().port}`
    })

  /** Has every name mean these addresses. */
  const resolving = (...addresses: ReadonlyArray<string>) =>
    Effect.acquireRelease(
      Effect.sync(() => {
        const lookup: unknown = async () => addresses.map((address) => ({ address, family: 4 }))
        vi.spyOn(Dns.promises, "lookup").mockImplementation(lookup as typeof Dns.promises.lookup)
      }),
      () => Effect.sync(() => vi.restoreAllMocks())
    )

  it.live("at one address of a name, and takes the one at another", () =>
    leavesNothing(
      Effect.gen(function* () {
        const { address } = yield* on()(Transport.listen([echoHandlers()]))
        let packets = 0
        const silent = Dgram.createSocket("udp4").bind(address.port, "127.0.0.2")
        yield* Effect.addFinalizer(() => Effect.sync(() => silent.close()))
        yield* Effect.promise(() => once(silent, "listening"))
        silent.on("message", () => {
          packets += 1
        })
        yield* resolving("127.0.0.2", "127.0.0.3", "127.0.0.1")
        const client = yield* on({ serverName: "localhost", connectTimeout: "2 seconds" })(
          Transport.client(EchoService, `node:${address.port}`)
        )
        expect((yield* client.echo({ message: "hello" })).message).toBe("hello")
        expect(packets).toBeGreaterThan(0)
        const before = packets
        yield* client.echo({ message: "still" })
        expect(packets).toBe(before)
      })
    )
  )

  it.live("at one address of a name, and is refused at another", () =>
    leavesNothing(
      Effect.gen(function* () {
        const { address } = yield* on()(Transport.listen([echoHandlers()]))
        yield* resolving("127.0.0.2", "127.0.0.1")
        const error = yield* Effect.flip(
          on({ serverName: "somebody-else", connectTimeout: "5 seconds" })(
            Transport.client(EchoService, `node:${address.port}`)
          )
        )
        expect(error).toMatchObject({ _tag: "HandshakeFailed", reason: "NameMismatch" })
      })
    )
  )

  const ids = (packet: Buffer) => {
    const length = packet[5] ?? 0
    const dcid = packet.subarray(6, 6 + length)
    return { dcid, scid: packet.subarray(7 + length, 7 + length + (packet[6 + length] ?? 0)) }
  }

  const random = (length: number) => Buffer.from(Uint8Array.from({ length }, () => Math.floor(Math.random() * 256)))

  const cases: ReadonlyArray<
    readonly [title: string, onPacket: (packet: Buffer, reply: (packet: Buffer) => void) => void, expected: object]
  > = [
    ["but says nothing", () => {}, { _tag: "DeadlineExceeded" }],
    ["but sends everything back", (packet, reply) => reply(packet), { _tag: "DeadlineExceeded" }],
    [
      "but answers with noise",
      (_, reply) => {
        for (let i = 1; i < 50; i++) {
          reply(random(i * 25))
        }
      },
      { _tag: "DeadlineExceeded" }
    ],
    [
      "but sends it to other places again and again",
      (packet, reply) => {
        const { scid } = ids(packet)
        reply(Buffer.concat([Buffer.of(0xf0, 0, 0, 0, 1, scid.length), scid, Buffer.of(8), random(8), random(40)]))
      },
      { _tag: "DeadlineExceeded" }
    ],
    [
      "but speaks other versions",
      (packet, reply) => {
        const { dcid, scid } = ids(packet)
        const versions = Buffer.of(0x6b, 0x33, 0x43, 0xcf)
        reply(Buffer.concat([Buffer.of(0x80, 0, 0, 0, 0, scid.length), scid, Buffer.of(dcid.length), dcid, versions]))
      },
      { _tag: "Unavailable", processed: "no" }
    ]
  ]

  it.live.each(cases)("%s", ([, onPacket, expected]) =>
    leavesNothing(
      Effect.gen(function* () {
        const target = yield* udp(onPacket)
        const error = yield* within(Effect.flip(on()(Transport.client(EchoService, target))), "3 seconds")
        expect(error).toMatchObject({ peer: target })
        expect(error).toMatchObject(expected)
      })
    )
  )

  it.live("but never says that it is ready", () =>
    leavesNothing(
      Effect.gen(function* () {
        const target = yield* listen((connection) => ({ ...quiet, onEstablished: connection.accept }))
        const error = yield* within(Effect.flip(on()(Transport.client(EchoService, target))), "3 seconds")
        expect(error).toMatchObject({ _tag: "DeadlineExceeded", peer: target })
      })
    )
  )

  it.live("but breaks the rules at once", () =>
    leavesNothing(
      Effect.gen(function* () {
        const target = yield* listen((connection) => ({
          ...quiet,
          onEstablished: () => {
            connection.accept()
            connection.write(connection.openUni(silent), Buffer.of(0, 0x07, 1, 0), false)
          }
        }))
        const error = yield* within(Effect.flip(on()(Transport.client(EchoService, target))), "3 seconds")
        expect(error).toMatchObject({ _tag: "Unavailable", message: expect.stringContaining("SETTINGS") })
      })
    )
  )
})

describe("credentials that the engine can't use", () => {
  const { certificate } = material
  const broken = {
    ...material,
    certificate: Effect.runSync(
      Effect.map(certificate, (pair) => ({
        ...pair,
        key: Redacted.make("-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n")
      })).pipe(Effect.option)
    )
  }
  const onBroken = Effect.provide(
    Layer.provide(Quic.layer(), Layer.succeed(Credentials.Credentials, Credentials.make(broken)))
  )

  it.scopedLive("don't let a listener begin, nor a client connect", () =>
    Effect.gen(function* () {
      const refused = yield* Effect.flip(onBroken(Transport.listen([])))
      expect(refused).toMatchObject({ _tag: "BindError", reason: "CredentialsRefused" })
      expect(JSON.stringify(refused)).not.toContain("AAAA")
      const target = yield* listen((connection) => ({ ...quiet, onEstablished: connection.accept }))
      const error = yield* Effect.flip(onBroken(Transport.client(EchoService, target)))
      expect(error).toMatchObject({ _tag: "HandshakeFailed", reason: "BadCertificate", refusedBy: "local" })
    })
  )

  it.scopedLive("a client whose chain is too large for a session ticket is told so; a listener may have it", () =>
    Effect.gen(function* () {
      const longer = (chain: string) => ({
        ...material,
        certificate: Option.map(material.certificate, (pair) => ({ ...pair, chain }))
      })
      const one = Option.getOrThrow(material.certificate).chain
      const size = new X509Certificate(one).raw.length
      const on =
        (count: number) =>
        <A, E, R>(effect: Effect.Effect<A, E, R>) =>
          Layer.provide(
            Quic.layer({ serverName: "localhost" }),
            Layer.succeed(Credentials.Credentials, Credentials.make(longer(one.repeat(count))))
          ).pipe(
            Layer.build,
            Effect.flatMap((context) => Effect.provide(effect, context))
          )
      const { target } = yield* on(Math.ceil(30_000 / size))(Transport.listen([echoHandlers()]))
      const fits = yield* on(Math.floor(15_000 / size))(Transport.client(EchoService, target))
      expect((yield* soon(fits.echo({ message: "hello" }))).message).toBe("hello")
      const error = yield* Effect.flip(on(Math.ceil(30_000 / size))(Transport.client(EchoService, target)))
      expect(error).toMatchObject({ _tag: "HandshakeFailed", reason: "BadCertificate", refusedBy: "local" })
      expect(error.message).toContain("15000 bytes")
    })
  )
})
