/** The client of plain HTTP/2 against servers of others, and such as break the rules. */
import { randomUUID } from "node:crypto"
import { writeFile } from "node:fs/promises"
import type * as Net from "node:net"
import { tmpdir } from "node:os"
import { join } from "node:path"
import * as HttpBody from "@effect/platform/HttpBody"
import type * as HttpClientResponse from "@effect/platform/HttpClientResponse"
import { describe, expect, it } from "@effect/vitest"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Redacted from "effect/Redacted"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import { Credentials, Grpc, Http2 as Plain, Transport } from "effect-transport"
import { describeWith, freePort, start } from "../fixtures/command.js"
import { insecure } from "../fixtures/grpc.js"
import * as H2 from "../fixtures/http2.js"
import { listen } from "../fixtures/tls.js"
import { leavesNothing, soon, within } from "../suite/fixtures/expect.js"
import { directory } from "../suite/fixtures/system.js"
import { app, ca, meet, mutualTls, numbered, plaintext, size, sum, theirs } from "./mountSupport.js"

const test = (title: string, body: Effect.Effect<void, unknown, Scope.Scope>) =>
  it.live(title, () => leavesNothing(body))

/** A client of its own transport without TLS. */
const clientOf = (target: string) =>
  Effect.flatMap(
    Layer.build(
      Grpc.layer({ initialReconnectBackoff: "20 millis" }).pipe(
        Layer.provide(Layer.succeed(Credentials.Credentials, Credentials.make(insecure)))
      )
    ),
    (context) => Effect.provide(Plain.client(target), context)
  )

const textOf = ({ text }: HttpClientResponse.HttpClientResponse) => text

describe("against node:http2", () => {
  const serve = H2.server((stream, headers) => {
    if (headers[":path"] === "/silent") {
      return
    }
    if (headers[":path"] === "/early") {
      // An answer before the request has ended, after which the rest is refused.
      stream.respond({ ":status": 413 })
      stream.end("too much")
      return
    }
    stream.respond(
      { ":status": 200, "x-authority": headers[":authority"], "x-two": ["1", "2"] },
      {
        waitForTrailers: true
      }
    )
    stream.on("wantTrailers", () => stream.sendTrailers({ "x-trailer": "dropped" }))
    stream.pipe(stream)
  })

  test(
    "content goes there and back, whole and as a stream, with trailers behind it",
    Effect.gen(function* () {
      const { target } = yield* serve
      const http = yield* clientOf(target)
      for (const length of [0, 1, 65_535, 65_536, size]) {
        const body = numbered(length)
        const whole = yield* http.post("/", { body: HttpBody.uint8Array(body) })
        expect([whole.status, whole.headers["x-authority"], whole.headers["x-two"]]).toEqual([200, target, "1, 2"])
        expect(sum(new Uint8Array(yield* whole.arrayBuffer))).toBe(sum(body))
        const streamed = yield* http.post("/", { body: HttpBody.stream(Stream.make(body, body)) })
        expect((yield* streamed.arrayBuffer).byteLength).toBe(2 * length)
      }
    })
  )

  test(
    "an answer counts that comes before the request has ended",
    Effect.gen(function* () {
      const { target } = yield* serve
      const http = yield* clientOf(target)
      const endless = HttpBody.stream(Stream.forever(Stream.make(numbered(10_000))))
      const early = yield* soon(http.post("/early", { body: endless }))
      expect([early.status, yield* soon(early.text)]).toEqual([413, "too much"])
      expect((yield* soon(http.get("/"))).status).toBe(200)
    })
  )
})

describe("over a unix socket", () => {
  test(
    "a request goes to the listener, as localhost",
    Effect.gen(function* () {
      const path = join(tmpdir(), `${randomUUID()}.sock`)
      const { run } = yield* meet(plaintext, app)
      yield* run(Transport.listen([], { path }))
      expect(yield* Effect.flatMap(run(Plain.get(`unix:${path}`, "/metrics")), textOf)).toBe("calls_total 1\n")
    })
  )
})

type Answer = (socket: Net.Socket, stream: number) => void

const head = (stream: number, flags: number, ...fields: ReadonlyArray<readonly [string, string]>) =>
  H2.frame(H2.type.headers, H2.endHeaders | flags, stream, H2.headerBlock(fields))

const ok = [":status", "200"] as const

const good: Answer = (socket, stream) => {
  socket.write(Buffer.concat([head(stream, 0, ok), H2.frame(H2.type.data, H2.endStream, stream, Buffer.from("good"))]))
}

/** A server that answers the first request as the test says, and all others as it should. */
const against = (answer: Answer, onFrame: (frame: H2.Frame, socket: Net.Socket) => void = () => {}) =>
  Effect.gen(function* () {
    let next = answer
    const { port } = yield* listen((socket) => {
      socket.write(H2.settings())
      H2.onFrames(
        socket,
        (frame) => {
          onFrame(frame, socket)
          if (frame.type === H2.type.settings && (frame.flags & H2.ack) === 0) {
            socket.write(H2.frame(H2.type.settings, H2.ack, 0))
          }
          if (frame.type === H2.type.headers) {
            const current = next
            next = good
            current(socket, frame.stream)
          }
        },
        H2.preface.length
      )
    })
    return yield* clientOf(`127.0.0.1:${port}`)
  })

const reset = (stream: number, code: number) => H2.frame(H2.type.rstStream, 0, stream, Buffer.from([0, 0, 0, code]))

describe("a server that answers", () => {
  const data = (stream: number, bytes: Uint8Array, flags = 0) => H2.frame(H2.type.data, flags, stream, bytes)
  const hi = Buffer.from("hi")
  const cases: ReadonlyArray<readonly [title: string, answer: Answer]> = [
    ["with a reset", (socket, stream) => socket.write(reset(stream, 7))],
    [
      "with a reset in the middle",
      (socket, stream) => socket.write(Buffer.concat([head(stream, 0, ok), data(stream, hi), reset(stream, 0)]))
    ],
    [
      "less than it says",
      (socket, stream) =>
        socket.write(Buffer.concat([head(stream, 0, ok, ["content-length", "3"]), data(stream, hi, 1)]))
    ],
    [
      "more than it says",
      (socket, stream) =>
        socket.write(Buffer.concat([head(stream, 0, ok, ["content-length", "1"]), data(stream, hi, 1)]))
    ],
    ["without a status", (socket, stream) => socket.write(head(stream, 1, ["x", "y"]))],
    ["with a status that is none", (socket, stream) => socket.write(head(stream, 1, [":status", "700"]))],
    ["with a name in upper case", (socket, stream) => socket.write(head(stream, 1, ok, ["X-A", "y"]))],
    ["with a field of HTTP/1", (socket, stream) => socket.write(head(stream, 1, ok, ["connection", "close"]))],
    ["with content before its head", (socket, stream) => socket.write(data(stream, hi))],
    [
      "with a head that is too large",
      (socket, stream) =>
        socket.write(
          Buffer.concat([
            H2.frame(H2.type.headers, H2.endStream, stream, H2.headerBlock([ok])),
            ...Array.from({ length: 12 }, (_, i) =>
              H2.frame(
                H2.type.continuation,
                i === 11 ? H2.endHeaders : 0,
                stream,
                H2.headerBlock([[`x-${i}`, "y".repeat(10_000)]])
              )
            )
          ])
        )
    ],
    [
      "with 1xx for ever",
      (socket, stream) => {
        for (let i = 0; i < 20_000; i++) {
          socket.write(head(stream, 0, [":status", "103"]))
        }
      }
    ],
    ["by going away", (socket) => socket.write(H2.frame(H2.type.goaway, 0, 0, Buffer.alloc(8)))],
    ["by closing", (socket) => socket.destroy()]
  ]

  for (const [title, answer] of cases) {
    test(
      `${title} fails that request alone`,
      Effect.gen(function* () {
        const http = yield* against(answer)
        const failure = yield* soon(Effect.flip(Effect.flatMap(http.get("/"), textOf)))
        expect(["RequestError", "ResponseError"]).toContain(failure._tag)
        expect(yield* soon(Effect.flatMap(http.get("/"), textOf))).toBe("good")
      })
    )
  }

  test(
    "content where there is none is reset",
    Effect.gen(function* () {
      const codes: Array<number> = []
      const wasReset = yield* Deferred.make<void>()
      const http = yield* against(
        (socket, stream) => socket.write(Buffer.concat([head(stream, 0, [":status", "204"]), data(stream, hi)])),
        ({ payload, type }) => {
          if (type === H2.type.rstStream) {
            codes.push(payload.readUInt32BE(0))
            Deferred.unsafeDone(wasReset, Effect.void)
          }
        }
      )
      const response = yield* http.get("/")
      expect([response.status, yield* response.text]).toEqual([204, ""])
      yield* soon(Deferred.await(wasReset))
      expect(codes).toEqual([8])
      expect(yield* soon(Effect.flatMap(http.get("/"), textOf))).toBe("good")
    })
  )

  test(
    "more than the window, for a reader that has not begun, fails that request alone",
    Effect.gen(function* () {
      const wasRefused = yield* Deferred.make<void>()
      const http = yield* against(
        (socket, stream) => {
          const part = data(stream, Buffer.alloc(16_384))
          socket.write(Buffer.concat([head(stream, 0, ok), ...Array.from({ length: 1024 }, () => part)]))
        },
        ({ type }) => {
          if (type === H2.type.rstStream || type === H2.type.goaway) {
            Deferred.unsafeDone(wasRefused, Effect.void)
          }
        }
      )
      const response = yield* soon(http.get("/"))
      yield* soon(Deferred.await(wasRefused))
      expect(yield* soon(Effect.flip(response.text))).toMatchObject({ _tag: "ResponseError" })
      expect(yield* soon(Effect.flatMap(http.get("/"), textOf))).toBe("good")
    })
  )

  test(
    "nothing hears CANCEL when nobody waits any more, and no word of what waited for a place",
    Effect.gen(function* () {
      const heads: Array<number> = []
      const isLimited = yield* Deferred.make<void>()
      const wasReset = yield* Deferred.make<number>()
      let acknowledged = 0
      const http = yield* against(
        (socket) => socket.write(H2.settings([3, 1])),
        ({ flags, payload, stream, type }) => {
          if (type === H2.type.headers) {
            heads.push(stream)
          }
          if (type === H2.type.settings && (flags & H2.ack) !== 0) {
            acknowledged += 1
            if (acknowledged === 2) {
              Deferred.unsafeDone(isLimited, Effect.void)
            }
          }
          if (type === H2.type.rstStream) {
            Deferred.unsafeDone(wasReset, Effect.succeed(payload.readUInt32BE(0)))
          }
        }
      )
      const first = yield* Effect.fork(http.get("/"))
      yield* soon(Deferred.await(isLimited))
      expect((yield* Effect.timeoutOption(http.get("/"), "50 millis"))._tag).toBe("None")
      yield* Fiber.interrupt(first)
      expect(yield* soon(Deferred.await(wasReset))).toBe(8)
      expect(yield* soon(Effect.flatMap(http.get("/"), textOf))).toBe("good")
      expect(heads).toEqual([1, 3])
    })
  )
})

describeWith(["nghttpd"], "against nghttpd", () => {
  test(
    "files are loaded and content comes back, over mutual TLS",
    Effect.gen(function* () {
      const dir = yield* directory
      yield* Effect.promise(async () => {
        await writeFile(join(dir, "ca.pem"), ca.ca)
        await writeFile(join(dir, "cert.pem"), theirs.cert)
        await writeFile(join(dir, "key.pem"), Redacted.value(theirs.key))
        await writeFile(join(dir, "large"), numbered(size))
      })
      const { run } = yield* meet(mutualTls, undefined)
      const args = ["--verbose", "--verify-client", "--echo-upload", "--address", "127.0.0.1", "--htdocs", "."]
      const port = String(yield* freePort)
      const { said } = yield* start("nghttpd", [...args, port, "key.pem", "cert.pem"], dir, {
        SSL_CERT_FILE: join(dir, "ca.pem")
      })
      yield* within(said(/listen/), "10 seconds")
      const http = yield* run(Plain.client(`127.0.0.1:${port}`))
      const sumOf = (response: HttpClientResponse.HttpClientResponse) =>
        Effect.map(response.arrayBuffer, (bytes) => sum(new Uint8Array(bytes)))
      const loaded = yield* Effect.all(
        Array.from({ length: 8 }, () => Effect.flatMap(http.get("/large"), sumOf)),
        { concurrency: "unbounded" }
      )
      expect(new Set(loaded)).toEqual(new Set([sum(numbered(size))]))
      const chunks = Stream.make(numbered(100_000), numbered(100_000))
      const echoed = yield* http.post("/", { body: HttpBody.stream(chunks) })
      expect((yield* echoed.arrayBuffer).byteLength).toBe(200_000)
      const head = yield* http.head("/large")
      expect([head.status, head.headers["content-length"], yield* head.text]).toEqual([200, String(size), ""])
      expect((yield* http.get("/elsewhere")).status).toBe(404)
    })
  )
})
