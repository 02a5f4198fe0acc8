import * as Http2 from "node:http2"
import { syncBuiltinESMExports } from "node:module"
import type * as Net from "node:net"
import * as Tls from "node:tls"
import ZlibModule, * as Zlib from "node:zlib"
import { create, toBinary } from "@bufbuild/protobuf"
import { describe, expect, it, vi } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Metric from "effect/Metric"
import * as Redacted from "effect/Redacted"
import * as Stream from "effect/Stream"
import { DevCa, Transport, TransportMetrics } from "effect-transport"
import { EchoRequestSchema } from "../../examples/gen/echo/v1/echo_pb.js"
import { describeEngines } from "../fixtures/describeEngines.js"
import { echoHandlers, insecure } from "../fixtures/grpc.js"
import type { Options } from "../fixtures/grpcEngines.js"
import * as H2 from "../fixtures/http2.js"
import { connect, event } from "../fixtures/tls.js"
import { rawMaterial } from "../suite/fixtures/certificates.js"
import { EchoService } from "../suite/fixtures/echo.js"
import { eventually, leavesNothing, within } from "../suite/fixtures/expect.js"
import { follow } from "../suite/fixtures/observe.js"

const ca = await Effect.runPromise(DevCa.make())
const issued = await Effect.runPromise(ca.issue({ names: ["127.0.0.1"] }))
const secure = rawMaterial(issued, ca.ca)
const side = {
  ca: ca.ca,
  cert: issued.cert,
  key: Redacted.value(issued.key),
  ALPNProtocols: ["h2"],
  checkServerIdentity: () => undefined
}

const path = "/echo.v1.EchoService/Echo"
const bidi = "/echo.v1.EchoService/EchoBidi"
const upload = "/echo.v1.EchoService/EchoClientStream"
const hello = toBinary(EchoRequestSchema, create(EchoRequestSchema, { message: "hello" }))

/** Keep-alive is also what ends a connection that Node 20 keeps after a protocol error, though the peer is gone. */
const quick = { keepaliveTime: "200 millis", keepaliveTimeout: "400 millis" } as const

const gauge = (metric: Metric.Metric.Gauge<number>) => Effect.map(Metric.value(metric), ({ value }) => value)
const inFlight = gauge(TransportMetrics.callsInFlight)
const accepted = gauge(TransportMetrics.connectionsAccepted)

describeEngines(({ limits, name, on }) => {
  for (const [wire, material] of [
    ["mutual TLS", secure],
    ["insecure", insecure]
  ] as const) {
    /**
     * A listener, a well-behaved client that must not notice what others do, and what connects as they do. When the attack
     * is over, the calls it made are gone, and its connections with it, while the listener goes on.
     */
    const attacked = (
      attack: (victim: {
        readonly session: Effect.Effect<Http2.ClientHttp2Session, never, import("effect/Scope").Scope>
        readonly socket: Effect.Effect<Net.Socket, never, import("effect/Scope").Scope>
      }) => Effect.Effect<void, never, import("effect/Scope").Scope>,
      implementation?: Parameters<typeof echoHandlers>[0],
      options: Options = {}
    ) =>
      leavesNothing(
        Effect.gen(function* () {
          const { address, target } = yield* on(material, options)(Transport.listen([echoHandlers(implementation)]))
          const client = yield* on(material)(Transport.client(EchoService, target))
          const open = { calls: yield* inFlight, connections: yield* accepted }
          const session = material === insecure ? H2.session(`http://${target}`) : H2.session(`https://${target}`, side)
          const tcp = connect(address.port)
          const socket =
            material === insecure
              ? tcp
              : Effect.flatMap(tcp, (socket) =>
                  Effect.gen(function* () {
                    const secured = Tls.connect({ socket, ...side })
                    secured.on("error", () => {})
                    yield* event(secured, "secureConnect")
                    return secured
                  })
                )
          yield* within(Effect.scoped(attack({ session, socket })), "10 seconds")
          expect(yield* Stream.runCount(client.echoServerStream({ repeat: 3 }))).toBe(3)
          yield* eventually(
            Effect.map(Effect.all({ calls: inFlight, connections: accepted }), (now) => expect(now).toEqual(open)),
            "5 seconds"
          )
        })
      )

    describe(`a listener, ${wire}, and a client that speaks HTTP/2 but not gRPC`, () => {
      const cases: ReadonlyArray<
        readonly [
          title: string,
          headers: Http2.OutgoingHttpHeaders,
          body: Buffer,
          expected: { readonly http?: number; readonly status?: number; readonly rst?: true }
        ]
      > = [
        ["another content-type", { ":path": path, "content-type": "text/plain" }, H2.message(hello), { http: 415 }],
        ["no content-type", { ":path": path, "content-type": undefined }, H2.message(hello), { http: 415 }],
        ["a GET", { ":path": path, ":method": "GET", "content-type": undefined }, Buffer.of(), { http: 415 }],
        [
          "a GET that claims to be gRPC",
          { ":path": path, ":method": "GET" },
          Buffer.of(),
          name === "GrpcLive" ? { http: 415 } : { status: 12 }
        ],
        ["an unknown path", { ":path": "/nothing" }, H2.message(hello), { status: 12 }],
        ["a strange path", { ":path": "/echo.v1.EchoService/../%00?Echo" }, H2.message(hello), { status: 12 }],
        ["an invalid timeout", { ":path": path, "grpc-timeout": "soon" }, H2.message(hello), { status: 13 }],
        ["a timeout of nothing", { ":path": path, "grpc-timeout": "0n" }, H2.message(hello), { status: 4 }],
        ["a length of 4 GiB", { ":path": path }, H2.message(hello, { length: 0xffffffff }), { status: 8 }],
        [
          "a length over the limit",
          { ":path": path },
          H2.message(hello, { length: 4 * 1024 * 1024 + 1 }),
          { status: 8 }
        ],
        [
          "an unknown compression",
          { ":path": path, "grpc-encoding": "snappy" },
          H2.message(hello, { flag: 1 }),
          { status: 12 }
        ],
        [
          "gzip",
          { ":path": path, "grpc-encoding": "gzip" },
          H2.message(Zlib.gzipSync(hello), { flag: 1 }),
          { status: limits.gzip === undefined ? 0 : 12 }
        ],
        [
          "a compression without a message that is compressed",
          { ":path": path, "grpc-encoding": "deflate" },
          H2.message(hello),
          { status: 12 }
        ],
        ["a compressed message, none knows how", { ":path": path }, H2.message(hello, { flag: 1 }), { status: 13 }],
        [
          "a compressed message, and that it is not",
          { ":path": path, "grpc-encoding": "identity" },
          H2.message(Zlib.gzipSync(hello), { flag: 1 }),
          { status: 13 }
        ],
        ["a strange flag", { ":path": path }, H2.message(hello, { flag: 7 }), { status: 13 }],
        [
          "no compression, and says so",
          { ":path": path, "grpc-encoding": "identity" },
          H2.message(hello),
          { status: 0 }
        ],
        ["a message that is cut off", { ":path": path }, H2.message(hello, { length: 100 }), { status: 13 }],
        ["half a length", { ":path": path }, Buffer.of(0, 0), { status: 13 }],
        ["no message", { ":path": path }, Buffer.of(), { status: 12 }],
        ["two messages", { ":path": path }, Buffer.concat([H2.message(hello), H2.message(hello)]), { status: 12 }],
        ["bytes that are no protobuf", { ":path": path }, H2.message(Buffer.from("\x0a\x7f")), { status: 13 }],
        [
          "bytes that are nothing",
          { ":path": path },
          Buffer.from("GET / HTTP/1.1\r\nHost: example\r\n\r\n"),
          { status: 8 }
        ],
        ["metadata over the limit", { ":path": path, "x-big": "x".repeat(20_000) }, H2.message(hello), { status: 8 }],
        [
          "metadata far over the limit",
          { ":path": path, "x-big": "x".repeat(60_000) },
          H2.message(hello),
          { status: 8 }
        ],
        [
          "more headers than Node takes",
          { ":path": path, ...Object.fromEntries(Array.from({ length: 1000 }, (_, i) => [`x-${i}`, "x"])) },
          H2.message(hello),
          limits.requestFields === undefined ? { status: 8 } : { rst: true }
        ],
        [
          "metadata that is no base64",
          { ":path": path, "x-bytes-bin": "%%%%", "x-more-bin": "AA,,=,AA" },
          H2.message(hello),
          { status: 0 }
        ],
        ["everything right", { ":path": path }, H2.message(hello), { status: 0 }]
      ]

      it.live.each(material === insecure ? cases : cases.slice(-3))("that sends %s", ([, headers, body, expected]) =>
        attacked(({ session }) =>
          Effect.gen(function* () {
            const sent = Object.fromEntries(Object.entries(headers).filter(([, value]) => value !== undefined))
            const client = yield* session
            const stream = (stream: Http2.ClientHttp2Stream) => void stream.end(body)
            const answer = yield* headers["content-type"] === undefined && "content-type" in headers
              ? requestWithoutType(client, sent, stream)
              : H2.request(client, sent, stream)
            if (expected.rst === true) {
              expect(H2.grpcStatus(answer)).toBeUndefined()
              expect(answer.rstCode).not.toBe(0)
            } else {
              expect(answer.headers[":status"]).toBe(expected.http ?? 200)
              expect(H2.grpcStatus(answer)).toBe(expected.status)
            }
          })
        )
      )

      if (limits.gzip === undefined) {
        it.live("that compresses is understood, up to the size that messages may have", () =>
          attacked(({ session }) =>
            Effect.gen(function* () {
              const client = yield* session
              const bomb = H2.message(Zlib.gzipSync(Buffer.alloc(4 * 2 ** 20 + 1)), { flag: 1 })
              expect(bomb.length).toBeLessThan(5000)
              for (const to of [path, bidi]) {
                const answer = yield* H2.request(client, { ":path": to, "grpc-encoding": "gzip" }, (stream) => {
                  stream.end(bomb)
                })
                expect(H2.grpcStatus(answer)).toBe(8)
              }
              const good = yield* H2.request(client, { ":path": path, "grpc-encoding": "gzip" }, (stream) => {
                stream.end(H2.message(Zlib.gzipSync(hello), { flag: 1 }))
              })
              expect(H2.grpcStatus(good)).toBe(0)
              expect(good.headers["grpc-accept-encoding"]).toContain("gzip")
            })
          )
        )

        for (const [kind, to] of [
          ["streams that nobody reads", bidi],
          ["unary calls that don't end", path]
        ] as const) {
          it.live(`that sends a thousand bombs on ${kind} inflates few of them`, () => {
            const bomb = H2.message(Zlib.gzipSync(Buffer.alloc(4 * 2 ** 20 - 1000)), { flag: 1 })
            const bombs = Buffer.concat(Array.from({ length: to === path ? 1 : 12 }, () => bomb))
            return attacked(
              ({ session }) =>
                Effect.gen(function* () {
                  const client = yield* session
                  const gunzip = vi.spyOn(ZlibModule, "createGunzip")
                  syncBuiltinESMExports()
                  for (let i = 0; i < 90; i++) {
                    const stream = client.request({
                      ":method": "POST",
                      ":path": to,
                      "content-type": "application/grpc",
                      te: "trailers",
                      "grpc-encoding": "gzip"
                    })
                    stream.on("error", () => {})
                    stream.write(bombs)
                  }
                  let begun = 0
                  // Until no more are begun, in more turns of the event loop than one takes.
                  for (let standing = 0; standing < 150; standing++) {
                    const good = yield* H2.request(client, { ":path": upload }, (stream) =>
                      stream.end(H2.message(hello))
                    )
                    expect(H2.grpcStatus(good)).toBe(0)
                    if (gunzip.mock.calls.length > begun) {
                      begun = gunzip.mock.calls.length
                      standing = 0
                    }
                  }
                  gunzip.mockRestore()
                  syncBuiltinESMExports()
                  // What a connection may leave unread is 8 MiB, and each of them is 4.
                  expect(begun).toBeGreaterThan(0)
                  expect(begun).toBeLessThanOrEqual(4)
                }),
              { echoBidi: () => Stream.never }
            )
          })
        }
      } else {
        it.live("that compresses is told what is read instead, and nothing is inflated", () =>
          attacked(({ session }) =>
            Effect.gen(function* () {
              const client = yield* session
              const gunzip = vi.spyOn(ZlibModule, "createGunzip")
              const bomb = H2.message(Zlib.gzipSync(Buffer.alloc(4 * 2 ** 20)), { flag: 1 })
              expect(bomb.length).toBeLessThan(5000)
              for (const to of [path, bidi]) {
                const answer = yield* H2.request(client, { ":path": to, "grpc-encoding": "gzip" }, (stream) => {
                  stream.end(bomb)
                })
                expect(H2.grpcStatus(answer)).toBe(12)
                expect(answer.headers["grpc-accept-encoding"]).toBe("identity")
              }
              expect(gunzip).not.toHaveBeenCalled()
              const good = yield* H2.request(client, { ":path": path }, (stream) => void stream.end(H2.message(hello)))
              expect(good.headers["grpc-accept-encoding"]).toBe("identity")
            })
          )
        )
      }

      const requestWithoutType = (
        session: Http2.ClientHttp2Session,
        headers: Http2.OutgoingHttpHeaders,
        send: (stream: Http2.ClientHttp2Stream) => void
      ) => H2.request(session, { ...headers, "content-type": [] }, send)

      it.live("that sends trailers", () =>
        attacked(({ session }) =>
          Effect.gen(function* () {
            const answer = yield* H2.request(
              yield* session,
              { ":path": path },
              (stream) => {
                stream.on("wantTrailers", () => stream.sendTrailers({ "grpc-status": "3", "x-tail": "yes" }))
                stream.end(H2.message(hello))
              },
              { waitForTrailers: true }
            )
            expect(H2.grpcStatus(answer)).toBe(0)
          })
        )
      )

      it.live("that breaks off in the middle of a message", () =>
        Effect.gen(function* () {
          const handler = yield* follow
          yield* attacked(
            ({ session }) =>
              Effect.gen(function* () {
                const stream = (yield* session).request({
                  ":method": "POST",
                  ":path": upload,
                  "content-type": "application/grpc",
                  te: "trailers"
                })
                stream.on("error", () => {})
                stream.write(H2.message(hello))
                stream.write(H2.message(hello, { length: 1000 }))
                yield* handler.started
                // Not as Node closes a stream, which ends it first.
                stream._final = (callback) => callback()
                stream.close(Http2.constants.NGHTTP2_CANCEL)
                expect(yield* handler.ended).toBe("interrupted")
              }),
            { echoClientStream: (requests) => Effect.as(handler.run(Stream.runDrain(requests)), {}) }
          )
        })
      )
    })

    describe(`a listener, ${wire}, and a client that floods it with`, () => {
      const opening = Buffer.concat([H2.preface, H2.settings()])
      const request = (stream: number, to: string) =>
        H2.frame(H2.type.headers, H2.endHeaders, stream, H2.headerBlock(H2.grpcHeaders(to)))
      const reset = (stream: number) => H2.frame(H2.type.rstStream, 0, stream, Buffer.of(0, 0, 0, 8))
      const many = (n: number, make: (i: number) => Buffer) =>
        Buffer.concat(Array.from({ length: n }, (_, i) => make(i)))
      const block = H2.headerBlock(H2.grpcHeaders(path))

      const floods: ReadonlyArray<readonly [title: string, bytes: Buffer, options?: Options]> = [
        ["bytes that are no frames", Buffer.alloc(100_000, "garbage! "), quick],
        ["a frame larger than allowed", H2.frame(H2.type.data, 0, 1, Buffer.alloc(100_000)), quick],
        ["a frame that says it has 16 MiB", H2.frame(H2.type.headers, H2.endHeaders, 1, block, 0xffffff), quick],
        ["10,000 PINGs", many(10_000, () => H2.frame(H2.type.ping, 0, 0, Buffer.alloc(8)))],
        ["10,000 SETTINGS", many(10_000, () => H2.settings([3, 100]))],
        ["10,000 acknowledgements of nothing", many(10_000, () => H2.frame(H2.type.settings, H2.ack, 0))],
        ["10,000 PRIORITYs", many(10_000, (i) => H2.frame(H2.type.priority, 0, 2 * i + 1, Buffer.alloc(5)))],
        ["10,000 empty DATAs", Buffer.concat([request(1, bidi), many(10_000, () => H2.frame(H2.type.data, 0, 1))])],
        [
          "200 calls that are reset at once",
          many(200, (i) => Buffer.concat([request(2 * i + 1, bidi), reset(2 * i + 1)]))
        ],
        [
          "2,000 streams that are reset at once",
          many(2000, (i) => Buffer.concat([request(2 * i + 1, path), reset(2 * i + 1)])),
          quick
        ],
        ["200 streams at once", many(200, (i) => request(2 * i + 1, bidi)), quick],
        ["the same stream twice", Buffer.concat([request(1, bidi), request(1, bidi)])],
        ["streams in the wrong order", Buffer.concat([request(9, bidi), request(3, bidi)])],
        ["a stream of even number", request(2, bidi)],
        ["DATA on no stream", H2.frame(H2.type.data, 0, 0, H2.message(hello)), quick],
        ["DATA on a stream that was never opened", H2.frame(H2.type.data, 0, 77, H2.message(hello)), quick],
        [
          "a window of zero and then too large",
          Buffer.concat([
            request(1, bidi),
            H2.frame(H2.type.windowUpdate, 0, 1, Buffer.of(0, 0, 0, 0)),
            H2.frame(H2.type.windowUpdate, 0, 0, Buffer.of(0x7f, 0xff, 0xff, 0xff))
          ])
        ],
        ["headers that are no HPACK", H2.frame(H2.type.headers, H2.endHeaders, 1, Buffer.alloc(100, 0xff)), quick],
        [
          "headers that never end",
          Buffer.concat([
            H2.frame(H2.type.headers, 0, 1, block),
            many(2000, () => H2.frame(H2.type.continuation, 0, 1, H2.headerBlock([["x", "x".repeat(500)]])))
          ])
        ],
        [
          "headers that expand",
          Buffer.concat([
            H2.frame(
              H2.type.headers,
              H2.endHeaders,
              1,
              Buffer.concat([
                block,
                Buffer.of(0x40),
                H2.headerBlock([["x", "y".repeat(4000)]]).subarray(1),
                Buffer.alloc(16_000 - block.length - 4100, 0xbe)
              ])
            )
          ])
        ],
        [
          "PUSH_PROMISEs",
          H2.frame(H2.type.pushPromise, H2.endHeaders, 1, Buffer.concat([Buffer.of(0, 0, 0, 2), block]))
        ],
        ["an answer to nothing, a GOAWAY", H2.frame(H2.type.goaway, 0, 0, Buffer.alloc(8))],
        ["frames that nobody knows", many(5000, () => H2.frame(0xbb, 0xff, 3, Buffer.alloc(10)))],
        ["SETTINGS that can't be", H2.settings([4, 0xffffffff], [5, 1], [2, 7])]
      ]

      it.live.each(material === insecure ? floods : floods.slice(0, 5))("%s", ([, bytes, options]) =>
        attacked(
          ({ socket }) =>
            Effect.gen(function* () {
              const attacker = yield* socket
              attacker.resume()
              const flushed = Effect.async<void>((resume) => {
                attacker.write(Buffer.concat([opening, bytes]), () => resume(Effect.void))
                attacker.once("close", () => resume(Effect.void))
              })
              yield* flushed
              // What the listener thinks of it, it has thought when it answers this, or hangs up.
              yield* Effect.async<void>((resume) => {
                const done = () => resume(Effect.void)
                attacker.once("close", done)
                H2.onFrames(attacker, (frame) => frame.type === H2.type.ping && frame.payload[7] === 9 && done())
                attacker.write(H2.frame(H2.type.ping, 0, 0, Buffer.of(0, 0, 0, 0, 0, 0, 0, 9)), () => {})
              }).pipe(Effect.timeoutOption("300 millis"))
            }),
          undefined,
          options
        )
      )
    })

    it.live(`a listener, ${wire}, interrupts the handlers of a client that vanishes`, () =>
      Effect.gen(function* () {
        const handler = yield* follow
        yield* attacked(
          ({ socket }) =>
            Effect.gen(function* () {
              const attacker = yield* socket
              attacker.write(
                Buffer.concat([
                  H2.preface,
                  H2.settings(),
                  H2.frame(H2.type.headers, H2.endHeaders, 1, H2.headerBlock(H2.grpcHeaders(bidi)))
                ])
              )
              yield* handler.started
              attacker.destroy()
              expect(yield* handler.ended).toBe("interrupted")
            }),
          { echoBidi: () => Stream.fromEffect(handler.run(Effect.never)) }
        )
      })
    )
  }
})
