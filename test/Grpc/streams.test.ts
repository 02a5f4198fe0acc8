/** What becomes of the streams of a connection of GrpcLive that end in unusual ways, or begin many at a time. */
import * as NodeHttp2 from "node:http2"
import type * as Net from "node:net"
import { create, toBinary } from "@bufbuild/protobuf"
import { describe, expect, it } from "@effect/vitest"
import * as Chunk from "effect/Chunk"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Option from "effect/Option"
import * as Redacted from "effect/Redacted"
import * as Stream from "effect/Stream"
import { DevCa, Metadata, Transport } from "effect-transport"
import { EchoRequestSchema, EchoResponseSchema } from "../../examples/gen/echo/v1/echo_pb.js"
import { echoHandlers, insecure } from "../fixtures/grpc.js"
import { grpcEngine, type Options } from "../fixtures/grpcEngines.js"
import * as H2 from "../fixtures/http2.js"
import { connect, listen } from "../fixtures/tls.js"
import { rawMaterial } from "../suite/fixtures/certificates.js"
import { EchoService } from "../suite/fixtures/echo.js"
import { eventually, leavesNothing, soon, within } from "../suite/fixtures/expect.js"
import { follow } from "../suite/fixtures/observe.js"

const { on } = grpcEngine("GrpcLive")

const ca = await Effect.runPromise(DevCa.make())
const issued = await Effect.runPromise(ca.issue({ names: ["127.0.0.1"] }))
const key = Redacted.value(issued.key)

const headers = [
  [":status", "200"],
  ["content-type", "application/grpc"]
] as const
const answer = H2.message(toBinary(EchoResponseSchema, create(EchoResponseSchema, { message: "hello" })))
const request = H2.message(toBinary(EchoRequestSchema, create(EchoRequestSchema, { message: "hello" })))

const open = (stream: number, path: string, flags = H2.endStream) =>
  H2.frame(H2.type.headers, flags | H2.endHeaders, stream, H2.headerBlock(H2.grpcHeaders(path)))

const ids = (count: number, first = 1) => Array.from({ length: count }, (_, i) => first + 2 * i)

/** A listener, and a peer that has sent its preface: writes frames, and keeps those that it gets. */
const peerOf = (handlers?: Parameters<typeof echoHandlers>[0], options?: Options) =>
  Effect.gen(function* () {
    const { address, target } = yield* on(insecure, options)(Transport.listen([echoHandlers(handlers)]))
    const socket: Net.Socket = yield* connect(address.port)
    const frames: Array<H2.Frame> = []
    H2.onFrames(socket, (frame) => frames.push(frame))
    socket.write(Buffer.concat([H2.preface, H2.settings(), H2.frame(H2.type.settings, H2.ack, 0)]))
    yield* eventually(Effect.sync(() => expect(frames.some(({ flags }) => flags === H2.ack)).toBe(true)))
    return { frames, socket, target }
  })

describe("a listener", () => {
  it.live("reads all that comes in one piece, however many of its streams it refuses", () =>
    leavesNothing(
      Effect.gen(function* () {
        const { frames, socket } = yield* peerOf()
        const malformed = H2.frame(
          H2.type.headers,
          H2.endStream | H2.endHeaders,
          1,
          H2.headerBlock([[":method", "POST"]])
        )
        socket.write(Buffer.concat([malformed, ...ids(300, 3).map((id) => open(id, "/unknown"))]))
        yield* eventually(
          Effect.sync(() => {
            const ended = frames.filter(({ type }) => type === H2.type.headers)
            expect(ended.map(({ stream }) => stream)).toEqual(ids(300, 3))
          })
        )
        expect(frames.filter(({ type }) => type === H2.type.goaway)).toEqual([])
      })
    )
  )

  it.live("does not take the requests of a stream for all that a client ends just before it resets it", () =>
    leavesNothing(
      Effect.gen(function* () {
        const handler = yield* follow
        const handlers = echoHandlers({
          echoClientStream: (requests) => Effect.as(handler.run(Stream.runDrain(requests)), {})
        })
        const { target } = yield* on(rawMaterial(issued, ca.ca))(Transport.listen([handlers]))
        const session = yield* H2.session(`https://${target}`, {
          ca: ca.ca,
          cert: issued.cert,
          key,
          checkServerIdentity: () => undefined
        })
        const stream = session.request({
          ":method": "POST",
          ":path": "/echo.v1.EchoService/EchoClientStream",
          "content-type": "application/grpc"
        })
        stream.on("error", () => {})
        stream.write(request)
        yield* handler.started
        stream.close(NodeHttp2.constants.NGHTTP2_CANCEL)
        expect(yield* handler.ended).toBe("interrupted")
      })
    )
  )
})

describe("a client", () => {
  it.live("reads all of an answer whose stream is reset behind its end", () =>
    leavesNothing(
      Effect.gen(function* () {
        const count = 1000
        const content = Buffer.concat(Array.from({ length: count }, () => answer))
        const whole = Buffer.concat([
          H2.frame(H2.type.headers, H2.endHeaders, 1, H2.headerBlock(headers)),
          ...[0, 8000, 16_000].map((at) => H2.frame(H2.type.data, 0, 1, content.subarray(at, at + 8000))),
          H2.frame(H2.type.headers, H2.endHeaders | H2.endStream, 1, H2.headerBlock([["grpc-status", "0"]])),
          H2.frame(H2.type.rstStream, 0, 1, Buffer.alloc(4))
        ])
        expect(content.length).toBeLessThan(24_000)
        const { port } = yield* listen((socket) => {
          socket.write(Buffer.concat([H2.settings(), H2.frame(H2.type.settings, H2.ack, 0)]))
          H2.onFrames(socket, ({ type }) => type === H2.type.headers && socket.write(whole), H2.preface.length)
        })
        const client = yield* on(insecure)(Transport.client(EchoService, `127.0.0.1:${port}`))
        const read = client.echoBidi(Stream.never).pipe(
          Stream.rechunk(1),
          Stream.mapEffect((message) => Effect.as(Effect.sleep("0 millis"), message)),
          Stream.runCollect
        )
        expect(Chunk.size(yield* read)).toBe(count)
      })
    )
  )

  it.live("sends calls without metadata to a server that says it takes next to none", () =>
    leavesNothing(
      Effect.gen(function* () {
        const whole = Buffer.concat([
          H2.frame(H2.type.headers, H2.endHeaders, 1, H2.headerBlock(headers)),
          H2.frame(H2.type.data, 0, 1, answer),
          H2.frame(H2.type.headers, H2.endHeaders | H2.endStream, 1, H2.headerBlock([["grpc-status", "0"]]))
        ])
        const { port } = yield* listen((socket) => {
          socket.write(Buffer.concat([H2.settings([6, 100]), H2.frame(H2.type.settings, H2.ack, 0)]))
          H2.onFrames(socket, ({ type }) => type === H2.type.headers && socket.write(whole), H2.preface.length)
        })
        const client = yield* on(insecure)(Transport.client(EchoService, `127.0.0.1:${port}`))
        const tooLarge = yield* Effect.flip(client.echo({}, { metadata: Metadata.make({ "x-some": "thing" }) }))
        expect(tooLarge).toMatchObject({ _tag: "ResourceExhausted" })
        expect(yield* client.echo({})).toMatchObject({ message: "hello" })
      })
    )
  )

  it.live("fails the calls that wait for a stream when the server goes away", () =>
    leavesNothing(
      Effect.gen(function* () {
        const begun = yield* Deferred.make<NodeHttp2.Http2Session>()
        const server = yield* H2.server(
          (stream) => {
            const { session } = stream
            if (session !== undefined) {
              Deferred.unsafeDone(begun, Effect.succeed(session))
            }
          },
          { settings: { maxConcurrentStreams: 1 } }
        )
        const client = yield* on(insecure)(Transport.client(EchoService, server.target))
        const first = yield* Effect.fork(client.echo({}))
        const session = yield* Deferred.await(begun)
        const waiting = yield* Effect.fork(Effect.flip(client.echo({})))
        yield* Effect.yieldNow()
        session.goaway(0, 1)
        expect(yield* soon(Fiber.join(waiting))).toMatchObject({ _tag: "Unavailable", processed: "no" })
        yield* Fiber.interrupt(first)
      })
    )
  )
})

describe("99 streams that nobody reads", () => {
  const slow = 99

  for (const [size, fast] of [
    [0, 300],
    [100, 3000],
    [10_000, 1000],
    [60_000, 200],
    [1_000_000, 20]
  ] as const) {
    const payload = new Uint8Array(size)
    // Empty messages fill a window by the ten thousand, which takes a while.
    const many = size === 0 ? Stream.take(Stream.repeatValue({ payload }), 700) : Stream.repeatValue({ payload })
    const isFast = ({ metadata }: { readonly metadata: Metadata.Metadata }) =>
      Option.isSome(Metadata.get(metadata, "x-fast"))
    const metadata = Metadata.make({ "x-fast": "yes" })

    // Of larger ones a listener sends no more than `maxUnsentBytes` at a time, whoever reads.
    const itSends = size > 60_000 ? it.live.skip : it.live

    itSends(`hold up no other that a client reads, with messages of ${size} bytes`, () =>
      leavesNothing(
        Effect.gen(function* () {
          const listening = Transport.listen([
            echoHandlers({
              echoServerStream: (_, call) => (isFast(call) ? Stream.take(many, fast) : many)
            })
          ])
          const { target } = yield* on(insecure)(listening)
          const client = yield* on(insecure)(Transport.client(EchoService, target))
          const begun = yield* Deferred.make<void>()
          let reading = 0
          const unread = Stream.tap(client.echoServerStream({}), () => {
            reading += 1
            return Effect.zipRight(reading === slow ? Deferred.succeed(begun, undefined) : Effect.void, Effect.never)
          })
          const held = yield* Effect.forkAll(Array.from({ length: slow }, () => Stream.runDrain(unread)))
          yield* within(Deferred.await(begun), "10 seconds")
          const read = client.echoServerStream({}, { metadata })
          expect(yield* within(Stream.runCount(read), "10 seconds")).toBe(fast)
          yield* Fiber.interrupt(held)
        })
      )
    )

    it.live(`hold up no other that a listener reads, with messages of ${size} bytes`, () =>
      leavesNothing(
        Effect.gen(function* () {
          const begun = yield* Deferred.make<void>()
          let reading = 0
          const listening = Transport.listen([
            echoHandlers({
              echoClientStream: (requests, call) =>
                isFast(call)
                  ? Effect.map(Stream.runCount(requests), (index) => ({ index }))
                  : Stream.runDrain(
                      Stream.tap(requests, () => {
                        reading += 1
                        return Effect.zipRight(
                          reading === slow ? Deferred.succeed(begun, undefined) : Effect.void,
                          Effect.never
                        )
                      })
                    ).pipe(Effect.as({}))
            })
          ])
          const { target } = yield* on(insecure)(listening)
          const client = yield* on(insecure)(Transport.client(EchoService, target))
          const held = yield* Effect.forkAll(Array.from({ length: slow }, () => client.echoClientStream(many)))
          yield* within(Deferred.await(begun), "10 seconds")
          const answer = yield* within(client.echoClientStream(Stream.take(many, fast), { metadata }), "10 seconds")
          expect(answer.index).toBe(fast)
          yield* Fiber.interrupt(held)
        })
      )
    )
  }
})
