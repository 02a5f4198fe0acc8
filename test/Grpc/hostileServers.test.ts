import * as Http2 from "node:http2"
import type * as Net from "node:net"
import ZlibModule, * as Zlib from "node:zlib"
import { create, toBinary } from "@bufbuild/protobuf"
import { describe, expect, it, vi } from "@effect/vitest"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Metric from "effect/Metric"
import * as Stream from "effect/Stream"
import { Transport, TransportMetrics } from "effect-transport"
import { EchoResponseSchema } from "../../examples/gen/echo/v1/echo_pb.js"
import { describeEngines, itUnless } from "../fixtures/describeEngines.js"
import { insecure } from "../fixtures/grpc.js"
import * as H2 from "../fixtures/http2.js"
import { listen } from "../fixtures/tls.js"
import { EchoService } from "../suite/fixtures/echo.js"
import { eventually, leavesNothing, soon } from "../suite/fixtures/expect.js"

const hello = H2.message(toBinary(EchoResponseSchema, create(EchoResponseSchema, { message: "hello" })))
const grpc = { ":status": 200, "content-type": "application/grpc" }

type Handler = (stream: Http2.ServerHttp2Stream, headers: Http2.IncomingHttpHeaders) => void

/** Answers with these headers, body and trailers. */
const answer =
  (headers: Http2.OutgoingHttpHeaders, body: Buffer = Buffer.of(), trailers?: Http2.OutgoingHttpHeaders): Handler =>
  (stream) => {
    stream.respond(headers, { waitForTrailers: trailers !== undefined })
    stream.on("wantTrailers", () => stream.sendTrailers(trailers ?? {}))
    stream.end(body)
  }

const trailersOnly =
  (trailers: Http2.OutgoingHttpHeaders): Handler =>
  (stream) =>
    stream.respond({ ...grpc, ...trailers }, { endStream: true })

describeEngines((engine) => {
  const { limits, on } = engine

  /** A client of a server on node:http2 that answers the first call as the handler says, and all others as it should. */
  const against = (handler: Handler, options?: Http2.ServerOptions) =>
    Effect.gen(function* () {
      let handle = handler
      const server = yield* H2.server((stream, headers) => {
        const current = handle
        handle = answer(grpc, hello, { "grpc-status": "0" })
        current(stream, headers)
      }, options)
      const client = yield* on(insecure, { initialReconnectBackoff: "20 millis" })(
        Transport.client(EchoService, server.target)
      )
      return { client, server }
    })

  const goesOn = (client: Transport.Client<typeof EchoService>) =>
    Effect.map(client.echo({}, { waitForReady: true, timeout: "5 seconds" }), ({ message }) =>
      expect(message).toBe("hello")
    )

  describe("a server that speaks HTTP/2 but answers", () => {
    const ok = { "grpc-status": "0" }
    const notGrpc = { _tag: "Unknown" }
    const cases: ReadonlyArray<readonly [title: string, handler: Handler, expected: object]> = [
      ["without a status", answer(grpc, hello), { _tag: "Internal" }],
      ["without a status and without a message", trailersOnly({}), { _tag: "Unknown" }],
      [
        "404",
        answer({ ":status": 404, "content-type": "text/html" }, Buffer.from("<h1>Not found</h1>")),
        { _tag: "Unimplemented" }
      ],
      ["503", answer({ ":status": 503 }), { _tag: "Unavailable", processed: "unknown" }],
      ["401", answer({ ":status": 401 }), { _tag: "Unauthenticated" }],
      ["418", answer({ ":status": 418 }), { _tag: "Unknown" }],
      [
        "200 and a page",
        answer({ ":status": 200, "content-type": "text/html" }, Buffer.from("<html></html>")),
        { _tag: "Unknown", message: "the peer answered with text/html" }
      ],
      [
        "200, a page and a status",
        answer({ ":status": 200, "content-type": "text/html" }, Buffer.from("<p>"), ok),
        notGrpc
      ],
      ["200, a page and its message", answer({ ":status": 200, "content-type": "text/html" }, hello, ok), notGrpc],
      ["gRPC of the web", answer({ ":status": 200, "content-type": "application/grpc-web+proto" }, hello, ok), notGrpc],
      ["without a content-type", answer({ ":status": 200 }, hello, ok), notGrpc],
      [
        "success in a page's head",
        (stream) => stream.respond({ ":status": 200, "content-type": "text/html", ...ok }, { endStream: true }),
        notGrpc
      ],
      ["success and nothing else", (stream) => stream.respond({ ":status": 200, ...ok }, { endStream: true }), notGrpc],
      [
        "503 and a long page",
        answer({ ":status": 503, "content-type": "text/html" }, Buffer.alloc(100_000, "<p>")),
        { _tag: "Unavailable", processed: "unknown" }
      ],
      ["403 and what might be a message", answer({ ":status": 403 }, hello), { _tag: "PermissionDenied" }],
      ["a status that is no number", trailersOnly({ "grpc-status": "fine" }), { _tag: "Unknown", code: 2 }],
      ["a status that nobody knows", trailersOnly({ "grpc-status": "17" }), { _tag: "Unknown", code: 2 }],
      ["a status below zero", trailersOnly({ "grpc-status": "-1" }), { _tag: "Unknown" }],
      ["an empty status", trailersOnly({ "grpc-status": "" }), { code: expect.any(Number) }],
      ["two statuses", trailersOnly({ "grpc-status": ["5", "0"] }), { code: expect.any(Number) }],
      [
        "a text that is badly encoded",
        trailersOnly({ "grpc-status": "5", "grpc-message": "100%, %zz %e4%b8" }),
        { _tag: "NotFound", message: "100%, %zz %e4%b8" }
      ],
      [
        "details that are no base64",
        trailersOnly({ "grpc-status": "5", "grpc-status-details-bin": "%%%" }),
        { _tag: "NotFound", details: [] }
      ],
      [
        "details that are no Status",
        trailersOnly({ "grpc-status": "5", "grpc-status-details-bin": Buffer.from("\x0a\xff\xff").toString("base64") }),
        { _tag: "NotFound", details: [] }
      ],
      [
        "a status that claims that nothing was done",
        trailersOnly({ "grpc-status": "14", "grpc-message": "No connection established" }),
        { _tag: "Unavailable", processed: "unknown" }
      ],
      [
        "the same after headers",
        answer(grpc, Buffer.of(), { "grpc-status": "14", "grpc-message": "Stream refused by server" }),
        { _tag: "Unavailable", processed: "unknown" }
      ],
      ["OK without a message", answer(grpc, Buffer.of(), ok), { _tag: "Unimplemented" }],
      ["OK with two messages", answer(grpc, Buffer.concat([hello, hello]), ok), { _tag: "Unimplemented" }],
      ["a message that is cut off", answer(grpc, hello.subarray(0, 8), ok), { _tag: "Internal" }],
      ["a prefix that is cut off", answer(grpc, hello.subarray(0, 3), ok), { _tag: "Internal" }],
      [
        "a second message that is cut off",
        answer(grpc, Buffer.concat([hello, hello.subarray(0, 8)]), ok),
        { _tag: "Internal" }
      ],
      [
        "a message over the limit",
        answer(grpc, Buffer.concat([H2.message(Buffer.alloc(1000), { length: 5_000_000 })]), ok),
        { _tag: "ResourceExhausted" }
      ],
      [
        "a message of 4 GiB",
        answer(grpc, H2.message(Buffer.alloc(1000), { length: 0xffffffff }), ok),
        { _tag: "ResourceExhausted" }
      ],
      ["bytes that are no message", answer(grpc, Buffer.alloc(100_000, "garbage "), ok), { _tag: "ResourceExhausted" }],
      ["bytes that are no protobuf", answer(grpc, H2.message(Buffer.from("\x0a\x7f")), ok), { _tag: "Internal" }],
      [
        "a compression that it did not announce",
        answer(grpc, H2.message(Zlib.gzipSync(hello), { flag: 1 }), ok),
        { _tag: "Internal" }
      ],
      [
        "a compression that nobody knows",
        answer({ ...grpc, "grpc-encoding": "snappy" }, H2.message(hello, { flag: 1 }), ok),
        { _tag: "Internal" }
      ],
      [
        "what is not compressed as it says",
        answer({ ...grpc, "grpc-encoding": "gzip" }, H2.message(Buffer.from("no gzip"), { flag: 1 }), ok),
        { _tag: "Internal" }
      ],
      [
        "a bomb",
        answer(
          { ...grpc, "grpc-encoding": "gzip" },
          H2.message(Zlib.gzipSync(Buffer.alloc(20_000_000)), { flag: 1 }),
          ok
        ),
        { _tag: limits.gzip === undefined ? "ResourceExhausted" : "Internal" }
      ],
      ["huge trailers", answer(grpc, hello, { ...ok, "x-huge": "x".repeat(60_000) }), { code: expect.any(Number) }],
      [
        "more trailers than Node takes",
        answer(grpc, hello, { ...ok, ...Object.fromEntries(Array.from({ length: 500 }, (_, i) => [`x-${i}`, "x"])) }),
        { code: expect.any(Number) }
      ],
      ["with a reset", (stream) => stream.close(Http2.constants.NGHTTP2_INTERNAL_ERROR), { _tag: "Internal" }],
      [
        "with a refusal",
        (stream) => stream.close(Http2.constants.NGHTTP2_REFUSED_STREAM),
        { _tag: "Unavailable", processed: "no" }
      ],
      [
        "with a cancellation",
        (stream) => stream.close(Http2.constants.NGHTTP2_CANCEL),
        { _tag: "Cancelled", processed: "unknown" }
      ],
      [
        "with a reset that is no error",
        (stream) => stream.close(Http2.constants.NGHTTP2_NO_ERROR),
        { _tag: "Internal" }
      ],
      [
        "and resets before the trailers",
        (stream) => {
          stream.respond(grpc)
          stream.write(hello, () => stream.close(Http2.constants.NGHTTP2_CANCEL))
        },
        { _tag: expect.stringMatching(/^(Internal|Cancelled)$/) }
      ],
      [
        "that it calms down",
        (stream) => stream.close(Http2.constants.NGHTTP2_ENHANCE_YOUR_CALM),
        { _tag: "ResourceExhausted" }
      ],
      ["and hangs up", (stream) => stream.session?.destroy(), { _tag: "Unavailable", processed: "unknown" }],
      [
        "a GOAWAY that says that it did not see the call",
        (stream) => {
          stream.session?.goaway(Http2.constants.NGHTTP2_NO_ERROR, 0)
          stream.session?.socket.destroySoon()
        },
        { _tag: "Unavailable" }
      ],
      [
        "a GOAWAY for too many pings",
        (stream) => {
          stream.session?.goaway(Http2.constants.NGHTTP2_ENHANCE_YOUR_CALM, 1, Buffer.from("too_many_pings"))
          stream.session?.destroy()
        },
        { _tag: expect.stringMatching(/^(ResourceExhausted|Unavailable)$/) }
      ]
    ]

    it.live.each(cases)("%s", ([, handler, expected]) =>
      leavesNothing(
        Effect.gen(function* () {
          const { client, server } = yield* against(handler)
          const result = yield* Effect.either(client.echo({ message: "first" }, { timeout: "5 seconds" }))
          if (result._tag === "Left") {
            expect(result.left).toMatchObject({ peer: server.target, method: "/echo.v1.EchoService/Echo" })
            expect(result.left).toMatchObject(expected)
          } else {
            // Where what came can be understood as an answer.
            expect(expected).toEqual({ code: expect.any(Number) })
          }
          yield* goesOn(client)
        })
      )
    )

    it.live.each(cases)("%s, to a stream", ([, handler, expected]) =>
      leavesNothing(
        Effect.gen(function* () {
          const { client } = yield* against(handler)
          const result = yield* Effect.either(
            Stream.runDrain(client.echoBidi(Stream.make({ message: "first" }), { timeout: "5 seconds" }))
          )
          const { _tag: tag } = { _tag: undefined, ...expected }
          // Any number of messages is right for a stream.
          if (tag === "Unimplemented" && result._tag === "Right") {
            return yield* goesOn(client)
          }
          if (result._tag === "Left") {
            expect(result.left).toMatchObject(expected)
          } else {
            expect(expected).toEqual({ code: expect.any(Number) })
          }
          yield* goesOn(client)
        })
      )
    )
  })

  describe("a server on node:http2", () => {
    const compressed = answer(
      { ...grpc, "grpc-encoding": "gzip" },
      H2.message(Zlib.gzipSync(hello.subarray(5)), { flag: 1 }),
      { "grpc-status": "0" }
    )

    if (limits.gzip === undefined) {
      it.live("that compresses its answers is understood", () =>
        leavesNothing(
          Effect.gen(function* () {
            const asked: Array<unknown> = []
            const { client } = yield* against((stream, headers) => {
              asked.push(headers["grpc-accept-encoding"])
              compressed(stream, headers)
            })
            expect((yield* client.echo({})).message).toBe("hello")
            expect(asked).toEqual([expect.stringContaining("gzip")])
          })
        )
      )
    } else {
      it.live("that compresses its answers though it is told not to is not understood, and nothing is inflated", () =>
        leavesNothing(
          Effect.gen(function* () {
            const gunzip = vi.spyOn(ZlibModule, "createGunzip")
            const asked: Array<unknown> = []
            const { client } = yield* against((stream, headers) => {
              asked.push(headers["grpc-accept-encoding"])
              compressed(stream, headers)
            })
            const error = yield* Effect.flip(client.echo({}))
            expect(error).toMatchObject({ _tag: "Internal", message: "the received message is compressed" })
            expect(asked).toEqual(["identity"])
            expect(gunzip).not.toHaveBeenCalled()
          })
        )
      )
    }

    it.live("may name a compression that it does not use", () =>
      leavesNothing(
        Effect.gen(function* () {
          const { client } = yield* against(answer({ ...grpc, "grpc-encoding": "gzip" }, hello, { "grpc-status": "0" }))
          expect((yield* client.echo({})).message).toBe("hello")
        })
      )
    )

    it.live("that ends a large upload with a reset that is no error does not hold it for ever", () =>
      leavesNothing(
        Effect.gen(function* () {
          const { client } = yield* against((stream) => {
            stream.respond(grpc)
            setImmediate(() => stream.close(Http2.constants.NGHTTP2_NO_ERROR))
          })
          const error = yield* Effect.flip(client.echo({ payload: Buffer.alloc(3_000_000) }, { timeout: "1 second" }))
          expect(["Internal", "Unknown", "DeadlineExceeded", "Unavailable", "Cancelled"]).toContain(error._tag)
          yield* goesOn(client)
        })
      )
    )

    it.live("that does not read holds up a call no longer than its deadline, and others not at all", () =>
      leavesNothing(
        Effect.gen(function* () {
          const { client } = yield* against((stream) => stream.pause())
          const error = yield* Effect.flip(client.echo({ payload: Buffer.alloc(3_000_000) }, { timeout: "300 millis" }))
          expect(error).toMatchObject({ _tag: "DeadlineExceeded" })
          yield* goesOn(client)
        })
      )
    )

    it.live("that takes no streams lets calls wait up to their deadline", () =>
      leavesNothing(
        Effect.gen(function* () {
          const { client } = yield* against(answer(grpc, hello, { "grpc-status": "0" }), {
            settings: { maxConcurrentStreams: 0 }
          })
          const error = yield* Effect.flip(client.echo({}, { timeout: "200 millis" }))
          expect(error).toMatchObject({ _tag: "DeadlineExceeded" })
        })
      )
    )

    it.live("that says GOAWAY lets the call in flight end, and is connected to again for the next", () =>
      leavesNothing(
        Effect.gen(function* () {
          const release = yield* Deferred.make<void>()
          const arrived = yield* Deferred.make<void>()
          const { client, server } = yield* against((stream, headers) => {
            const { session } = stream
            Deferred.unsafeDone(arrived, Effect.void)
            Effect.runFork(
              Effect.zipRight(
                Deferred.await(release),
                Effect.sync(() => answer(grpc, hello, { "grpc-status": "0" })(stream, headers))
              )
            )
            session?.goaway(Http2.constants.NGHTTP2_NO_ERROR)
          })
          const inFlight = yield* Effect.fork(client.echo({}))
          yield* soon(Deferred.await(arrived))
          yield* eventually(Effect.sync(() => expect(server.sessions.size).toBe(2)))
          yield* Deferred.succeed(release, undefined)
          expect((yield* soon(Fiber.join(inFlight))).message).toBe("hello")
          yield* goesOn(client)
        })
      )
    )

    it.live("never sees the end of requests that are broken off", () =>
      leavesNothing(
        Effect.gen(function* () {
          const frames: Array<H2.Frame> = []
          const started = yield* Deferred.make<void>()
          const reset = yield* Deferred.make<void>()
          const server = yield* listen((socket) => {
            socket.write(H2.settings())
            H2.onFrames(
              socket,
              (frame) => {
                frames.push(frame)
                if (frame.type === H2.type.data) {
                  Deferred.unsafeDone(started, Effect.void)
                } else if (frame.type === H2.type.rstStream) {
                  Deferred.unsafeDone(reset, Effect.void)
                }
              },
              H2.preface.length
            )
          })
          const client = yield* on(insecure)(Transport.client(EchoService, `127.0.0.1:${server.port}`))
          const requests = Stream.concat(Stream.make({ message: "half of it" }), Stream.never)
          const upload = yield* Effect.fork(client.echoClientStream(requests))
          yield* soon(Deferred.await(started))
          yield* Fiber.interrupt(upload)
          yield* soon(Deferred.await(reset))
          const late = yield* Effect.flip(client.echoClientStream(requests, { timeout: "100 millis" }))
          expect(late).toMatchObject({ _tag: "DeadlineExceeded" })
          yield* eventually(
            Effect.sync(() => expect(frames.filter(({ type }) => type === H2.type.rstStream)).toHaveLength(2))
          )
          expect(frames.filter(({ flags, type }) => type === H2.type.data && (flags & H2.endStream) !== 0)).toEqual([])
        })
      )
    )

    it.live("may make the caller's own observers throw: Internal, for that call alone", () =>
      leavesNothing(
        Effect.gen(function* () {
          const { client } = yield* against(answer(grpc, hello, { "grpc-status": "0" }))
          const cause = new Error("observer")
          const fail = () => {
            throw cause
          }
          for (const [name, options] of [
            ["onHeaders", { onHeaders: fail }],
            ["onTrailers", { onTrailers: fail }]
          ] as const) {
            for (const call of [client.echo({}, options), Stream.runDrain(client.echoBidi(Stream.make({}), options))]) {
              const message = `the callback ${name} threw`
              expect(yield* Effect.flip(call)).toMatchObject({ _tag: "Internal", message, cause })
            }
          }
          yield* goesOn(client)
        })
      )
    )
  })

  describe("a server that breaks HTTP/2 with", () => {
    const opened = Effect.map(Metric.value(TransportMetrics.connectionsOpened), ({ value }) => value)
    const response = (stream: number) =>
      H2.frame(
        H2.type.headers,
        H2.endHeaders,
        stream,
        H2.headerBlock([
          [":status", "200"],
          ["content-type", "application/grpc"]
        ])
      )
    const attacks: ReadonlyArray<readonly [title: string, bytes: (stream: number) => Buffer]> = [
      ["bytes that are no frames", () => Buffer.alloc(50_000, "garbage! ")],
      ["a frame larger than allowed", (stream) => H2.frame(H2.type.data, 0, stream, Buffer.alloc(50_000))],
      ["DATA before HEADERS", (stream) => H2.frame(H2.type.data, 0, stream, hello)],
      [
        "headers that are no HPACK",
        (stream) => H2.frame(H2.type.headers, H2.endHeaders, stream, Buffer.alloc(50, 0xff))
      ],
      [
        "headers of no answer",
        (stream) => H2.frame(H2.type.headers, H2.endHeaders, stream, H2.headerBlock([["x", "y"]]))
      ],
      [
        "headers that never end",
        (stream) =>
          Buffer.concat([
            H2.frame(H2.type.headers, 0, stream, H2.headerBlock([[":status", "200"]])),
            ...Array.from({ length: 500 }, () =>
              H2.frame(H2.type.continuation, 0, stream, H2.headerBlock([["x", "x".repeat(1000)]]))
            )
          ])
      ],
      ["headers twice", (stream) => Buffer.concat([response(stream), response(stream), response(stream)])],
      [
        "an answer to a call that was not made",
        () => Buffer.concat([response(77), H2.frame(H2.type.data, 0, 77, hello)])
      ],
      [
        "a promise",
        (stream) =>
          H2.frame(
            H2.type.pushPromise,
            H2.endHeaders,
            stream,
            Buffer.concat([Buffer.of(0, 0, 0, 2), H2.headerBlock(H2.grpcHeaders("/push"))])
          )
      ],
      [
        "10,000 PINGs",
        () => Buffer.concat(Array.from({ length: 10_000 }, () => H2.frame(H2.type.ping, 0, 0, Buffer.alloc(8))))
      ],
      ["10,000 SETTINGS", () => Buffer.concat(Array.from({ length: 10_000 }, () => H2.settings([3, 100])))],
      [
        "10,000 empty DATAs",
        (stream) =>
          Buffer.concat([response(stream), ...Array.from({ length: 10_000 }, () => H2.frame(H2.type.data, 0, stream))])
      ],
      [
        "a window that is too large",
        (stream) => H2.frame(H2.type.windowUpdate, 0, stream, Buffer.of(0x7f, 0xff, 0xff, 0xff))
      ],
      ["SETTINGS that can't be", () => H2.settings([4, 0xffffffff], [5, 1])],
      [
        "frames that nobody knows",
        () => Buffer.concat(Array.from({ length: 1000 }, () => H2.frame(0xbb, 0xff, 3, Buffer.alloc(10))))
      ]
    ]

    it.live.each(attacks)("%s", ([, bytes]) =>
      leavesNothing(
        Effect.gen(function* () {
          const before = yield* opened
          const server = yield* listen((socket: Net.Socket) => {
            let attacked = false
            socket.write(H2.settings())
            H2.onFrames(
              socket,
              ({ stream, type }) => {
                if (type === H2.type.headers && !attacked) {
                  attacked = true
                  socket.write(bytes(stream))
                }
              },
              H2.preface.length
            )
          })
          yield* Effect.scoped(
            Effect.gen(function* () {
              const target = `127.0.0.1:${server.port}`
              const client = yield* on(insecure, { keepaliveTime: "200 millis", keepaliveTimeout: "200 millis" })(
                Transport.client(EchoService, target)
              )
              const error = yield* Effect.flip(client.echo({}, { timeout: "600 millis" }))
              expect(error).toMatchObject({ code: expect.any(Number), peer: target })
            })
          )
          expect(yield* opened).toBe(before)
          yield* eventually(Effect.sync(() => expect(server.live()).toBe(0)))
        })
      )
    )
  })

  describe("what became of calls whose connection ends: those", () => {
    const goaway = (lastStream: number) => {
      const payload = Buffer.alloc(8)
      payload.writeUInt32BE(lastStream)
      return H2.frame(H2.type.goaway, 0, 0, payload)
    }

    /** A client of a server that takes one call at a time, and ends the connection when the first has come. */
    const against = (ends: (socket: Net.Socket) => unknown, maxStreams = 1) =>
      Effect.gen(function* () {
        const came = yield* Deferred.make<Net.Socket>()
        const server = yield* listen((socket) => {
          socket.write(H2.settings([3, maxStreams]))
          H2.onFrames(
            socket,
            ({ type }) => {
              if (type === H2.type.headers) {
                Deferred.unsafeDone(came, Exit.succeed(socket))
              }
            },
            H2.preface.length
          )
        })
        const client = yield* on(insecure)(Transport.client(EchoService, `127.0.0.1:${server.port}`))
        return { client, end: Effect.map(Deferred.await(came), ends) }
      })

    it.live.each([
      ["that a GOAWAY leaves out did not run", (socket: Net.Socket): unknown => socket.end(goaway(0)), "no"],
      ["that a GOAWAY takes in may have run", (socket: Net.Socket): unknown => socket.end(goaway(1)), "unknown"],
      ["that were written may have run", (socket: Net.Socket): unknown => socket.destroy(), "unknown"]
    ] as const)("%s", ([, ends, processed]) =>
      leavesNothing(
        Effect.gen(function* () {
          const { client, end } = yield* against(ends)
          const call = yield* Effect.fork(Effect.flip(client.echo({})))
          yield* end
          expect(yield* soon(Fiber.join(call))).toMatchObject({ _tag: "Unavailable", processed })
        })
      )
    )

    it.live("that were half written may have run", () =>
      leavesNothing(
        Effect.gen(function* () {
          const { client, end } = yield* against((socket) => socket.destroy())
          const call = yield* Effect.fork(Effect.flip(client.echo({ payload: new Uint8Array(1_000_000) })))
          yield* end
          expect(yield* soon(Fiber.join(call))).toMatchObject({ _tag: "Unavailable", processed: "unknown" })
        })
      )
    )

    itUnless(engine, "waitingStreams", "that wait for a place did not run", () =>
      leavesNothing(
        Effect.gen(function* () {
          const { client, end } = yield* against((socket) => socket.destroy())
          const call = yield* Effect.fork(Effect.flip(client.echo({})))
          const waiting = yield* Effect.fork(Effect.flip(client.echo({})))
          yield* end
          expect(yield* soon(Fiber.join(call))).toMatchObject({ _tag: "Unavailable", processed: "unknown" })
          expect(yield* soon(Fiber.join(waiting))).toMatchObject({ _tag: "Unavailable", processed: "no" })
        })
      )
    )
  })
})
