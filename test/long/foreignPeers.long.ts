/** Other implementations of gRPC as the peer of GrpcLive, on either side. */
import { createClient, type Interceptor } from "@connectrpc/connect"
import { compressionGzip, createGrpcTransport } from "@connectrpc/connect-node"
import { describe, expect, it } from "@effect/vitest"
import * as GrpcJs from "@grpc/grpc-js"
import * as Chunk from "effect/Chunk"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Option from "effect/Option"
import * as Redacted from "effect/Redacted"
import * as Stream from "effect/Stream"
import { DevCa, ErrorDetails, Metadata, Service, Transport, TransportError } from "effect-transport"
import { describeEngines } from "../fixtures/describeEngines.js"
import * as Foreign from "../fixtures/foreign.js"
import { echoHandlers, insecure } from "../fixtures/grpc.js"
import { rawMaterial } from "../suite/fixtures/certificates.js"
import { EchoService } from "../suite/fixtures/echo.js"
import { leavesNothing, soon } from "../suite/fixtures/expect.js"
import { follow } from "../suite/fixtures/observe.js"

const names = ["localhost", "127.0.0.1"]
const ca = await Effect.runPromise(DevCa.make())
const [ours, theirs] = await Effect.runPromise(
  Effect.all([ca.issue({ names }), ca.issue({ names, commonName: "foreign" })])
)

const codes = Object.keys(TransportError.statusErrors).map(Number)
const proof = Uint8Array.of(0, 1, 254, 255)
const text = "naïve 100% \n%41 日本語 🚀"
const details = [ErrorDetails.pack(ErrorDetails.ErrorInfo, { reason: "BUSY", domain: "test", metadata: { a: text } })]
const payloadOf = (size: number) => Buffer.alloc(size, "payload ")
const none = new GrpcJs.Metadata()
const algorithms = ["gzip", "deflate"] as const

const wires = [
  ["mutual TLS", rawMaterial(ours, ca.ca), { ca: ca.ca, issued: theirs }],
  ["insecure", insecure, undefined]
] as const

describeEngines(({ limits, on }) => {
  describe.each(wires)("over %s", (_, material, side) => {
    const open = on(material)
    const unread = limits.gzip === undefined ? (["deflate"] as const) : algorithms

    describe("a client on plain grpc-js", () => {
      /** A listener of ours, and a foreign client of it. */
      const between = (
        implementation: Partial<Transport.Implementation<typeof EchoService>>,
        options?: GrpcJs.ClientOptions
      ) =>
        Effect.gen(function* () {
          const listener = yield* Transport.listen([echoHandlers(implementation)])
          return yield* Foreign.client(listener.target, side, options)
        }).pipe(open)

      const unary = (
        client: Foreign.EchoClient,
        request: Foreign.Request,
        metadata = none,
        options: GrpcJs.CallOptions = {}
      ) => Foreign.outcome((callback) => client.echo(request, metadata, options, callback))

      it.live("calls all four shapes", () =>
        leavesNothing(
          Effect.gen(function* () {
            const client = yield* between({})
            expect(yield* unary(client, { message: "hello", payload: payloadOf(10) })).toMatchObject({
              response: { message: "hello", payload: payloadOf(10), index: 0 },
              status: { code: 0 }
            })
            const streamed = yield* Foreign.outcome(() => client.echoServerStream({ message: "a", repeat: 3 }))
            expect(streamed.responses.map(({ index }) => index)).toEqual([0, 1, 2])
            const uploaded = yield* Foreign.outcome((callback) => {
              const call = client.echoClientStream(none, {}, callback)
              for (const message of ["1", "2", "3"]) {
                call.write({ message })
              }
              call.end()
              return call
            })
            expect(uploaded.response).toMatchObject({ message: "123", index: 3 })
            const both = yield* Foreign.outcome(() => {
              const call = client.echoBidi()
              for (const message of ["1", "2", "3"]) {
                call.write({ message })
              }
              call.end()
              return call
            })
            expect(both.responses.map(({ message }) => message)).toEqual(["1", "2", "3"])
            expect(both.status.code).toBe(0)
          })
        )
      )

      it.live("sends metadata and reads headers and trailers", () =>
        leavesNothing(
          Effect.gen(function* () {
            const seen = yield* Deferred.make<Transport.Call>()
            const client = yield* between({
              echo: (_, call) =>
                Effect.gen(function* () {
                  yield* Deferred.succeed(seen, call)
                  yield* call.setHeaders({ "x-head": "1", "x-head-bin": proof })
                  yield* call.setTrailers({ "x-tail": ["2", "3"], "x-tail-bin": [proof, Uint8Array.of()] })
                  return {}
                })
            })
            const metadata = new GrpcJs.Metadata()
            metadata.add("x-text", "text")
            metadata.add("x-many", "1")
            metadata.add("x-many", "2")
            metadata.add("x-proof-bin", Buffer.from(proof))
            const { headers, status } = yield* unary(client, {}, metadata)
            const call = yield* Deferred.await(seen)
            expect(Metadata.getAll(call.metadata, "x-text")).toEqual(["text"])
            expect(Metadata.getAll(call.metadata, "x-many").join(", ")).toBe("1, 2")
            expect(Metadata.getAll(call.metadata, "x-proof-bin")).toEqual([proof])
            expect(call.metadata.entries.filter(([key]) => key.startsWith("grpc-"))).toEqual([])
            expect(headers?.get("x-head")).toEqual(["1"])
            expect(headers?.get("x-head-bin")).toEqual([Buffer.from(proof)])
            expect(status.metadata.get("x-tail").join(", ")).toBe("2, 3")
            expect(status.metadata.get("x-tail-bin")).toEqual([Buffer.from(proof), Buffer.of()])
          })
        )
      )

      it.live("gets every status with its text and details", () =>
        leavesNothing(
          Effect.gen(function* () {
            const fail = (code: number) => Effect.fail(TransportError.fromCode(code, { message: text, details }))
            const client = yield* between({
              echo: ({ repeat }) => fail(repeat),
              echoServerStream: ({ repeat }) =>
                Stream.concat(Stream.make({ message: "first" }), Stream.fromEffect(fail(repeat)))
            })
            for (const code of codes) {
              const unaryCall = yield* unary(client, { repeat: code })
              const streaming = yield* Foreign.outcome(() => client.echoServerStream({ repeat: code }))
              expect(streaming.responses).toHaveLength(1)
              for (const { status } of [unaryCall, streaming]) {
                expect(status).toMatchObject({ code, details: text })
                const [packed] = status.metadata.get("grpc-status-details-bin")
                expect(ErrorDetails.decodeStatus(Buffer.from(packed ?? ""))).toEqual(details)
              }
            }
          })
        )
      )

      it.live("and our handler both see its deadline", () =>
        leavesNothing(
          Effect.gen(function* () {
            const handler = yield* follow
            const seen = yield* Deferred.make<number>()
            const client = yield* between({
              echo: (_, call) => Effect.zipRight(Deferred.succeed(seen, call.deadline), handler.run(Effect.never))
            })
            const before = Date.now()
            const { status } = yield* unary(client, {}, none, { deadline: before + 200 })
            expect(status.code).toBe(GrpcJs.status.DEADLINE_EXCEEDED)
            expect(Math.abs((yield* Deferred.await(seen)) - (before + 200))).toBeLessThan(750)
            expect(yield* handler.ended).toBe("interrupted")
          })
        )
      )

      it.live("interrupts our handler by cancelling, and is told when our handler gives up", () =>
        leavesNothing(
          Effect.gen(function* () {
            const cancelled = yield* follow
            const streaming = yield* follow
            const client = yield* between({
              echo: ({ message }) => (message === "give up" ? Effect.interrupt : cancelled.run(Effect.never)),
              echoBidi: () => Stream.fromEffect(streaming.run(Effect.never))
            })
            const fiber = yield* Effect.fork(unary(client, {}))
            yield* cancelled.started
            yield* Fiber.interrupt(fiber)
            expect(yield* cancelled.ended).toBe("interrupted")
            const stream = yield* Effect.fork(Foreign.outcome(() => client.echoBidi()))
            yield* streaming.started
            yield* Fiber.interrupt(stream)
            expect(yield* streaming.ended).toBe("interrupted")
            expect((yield* unary(client, { message: "give up" })).status.code).toBe(GrpcJs.status.CANCELLED)
          })
        )
      )

      it.live("does not have requests taken for all that it breaks off, though Node ends them first", () =>
        leavesNothing(
          Effect.gen(function* () {
            for (const shape of ["echoClientStream", "echoBidi"] as const) {
              const handler = yield* follow
              const client = yield* between({
                echoClientStream: (requests) => Effect.as(handler.run(Stream.runDrain(requests)), {}),
                echoBidi: (requests) => Stream.drain(Stream.fromEffect(handler.run(Stream.runDrain(requests))))
              })
              const upload = yield* Effect.fork(
                Foreign.outcome((callback) => {
                  const call = shape === "echoBidi" ? client.echoBidi() : client.echoClientStream(none, {}, callback)
                  call.write({ message: "half" })
                  return call
                })
              )
              yield* handler.started
              yield* Fiber.interrupt(upload)
              expect(yield* handler.ended).toBe("interrupted")
            }
          })
        )
      )

      it.live("is told of methods that nobody handles", () =>
        leavesNothing(
          Effect.gen(function* () {
            const client = yield* between({})
            for (const path of ["/echo.v1.EchoService/Nothing", "/no.Such/Thing", "/"]) {
              const { status } = yield* Foreign.outcome((callback) =>
                client.makeUnaryRequest(
                  path,
                  () => Buffer.of(),
                  () => ({}),
                  {},
                  none,
                  {},
                  callback
                )
              )
              expect(status.code).toBe(GrpcJs.status.UNIMPLEMENTED)
            }
          })
        )
      )

      it.live("moves big messages, and is refused those above the limits", () =>
        leavesNothing(
          Effect.gen(function* () {
            const client = yield* between(
              {},
              { "grpc.max_receive_message_length": -1, "grpc.max_send_message_length": -1 }
            )
            const payload = payloadOf(3_000_000)
            const answer = (yield* unary(client, { payload })).response?.payload
            expect(Buffer.compare(answer ?? Buffer.of(), payload)).toBe(0)
            const tooLarge = yield* unary(client, { payload: payloadOf(5_000_000) })
            expect(tooLarge.status.code).toBe(GrpcJs.status.RESOURCE_EXHAUSTED)
            expect((yield* unary(client, { message: "still" })).response?.message).toBe("still")
          })
        )
      )

      it.live.each(unread)("that compresses its requests with %s is told what is read", (algorithm) =>
        leavesNothing(
          Effect.gen(function* () {
            const client = yield* between(
              {},
              {
                "grpc.default_compression_algorithm": GrpcJs.compressionAlgorithms[algorithm],
                "grpc.max_send_message_length": -1
              }
            )
            const answer = yield* unary(client, { payload: payloadOf(100_000) })
            expect(answer.status.code).toBe(GrpcJs.status.UNIMPLEMENTED)
            expect(answer.status.details).toContain(algorithm)
            expect(answer.status.metadata.get("grpc-accept-encoding")).toEqual([
              limits.gzip === undefined ? expect.stringContaining("gzip") : "identity"
            ])
            // A bomb: small on the wire, too large when unpacked.
            const bomb = yield* unary(client, { payload: Buffer.alloc(6_000_000) })
            expect(bomb.status.code).toBe(GrpcJs.status.UNIMPLEMENTED)
            const streamed = yield* Foreign.outcome(() => {
              const call = client.echoBidi()
              call.write({ message: "a".repeat(1000) })
              call.end()
              return call
            })
            expect(streamed.status.code).toBe(GrpcJs.status.UNIMPLEMENTED)
          })
        )
      )

      it.live.runIf(limits.gzip === undefined)(
        "that compresses its requests with gzip is understood, up to the limit",
        () =>
          leavesNothing(
            Effect.gen(function* () {
              const client = yield* between(
                {},
                {
                  "grpc.default_compression_algorithm": GrpcJs.compressionAlgorithms.gzip,
                  "grpc.max_send_message_length": -1
                }
              )
              const payload = payloadOf(100_000)
              const answer = (yield* unary(client, { payload })).response?.payload
              expect(Buffer.compare(answer ?? Buffer.of(), payload)).toBe(0)
              const bomb = yield* unary(client, { payload: Buffer.alloc(6_000_000) })
              expect(bomb.status.code).toBe(GrpcJs.status.RESOURCE_EXHAUSTED)
              const streamed = yield* Foreign.outcome(() => {
                const call = client.echoBidi()
                call.write({ message: "a".repeat(1000) })
                call.end()
                return call
              })
              expect(streamed.responses.map(({ message }) => message)).toEqual(["a".repeat(1000)])
            })
          )
      )
    })

    describe("a server on plain grpc-js", () => {
      /** A foreign server, and a client of ours. */
      const between = (handlers: Partial<Foreign.EchoHandlers>, options?: GrpcJs.ServerOptions) =>
        Effect.gen(function* () {
          const { target } = yield* Foreign.server({ ...Foreign.handlers, ...handlers }, side, options)
          return { client: yield* Transport.client(EchoService, target), target }
        }).pipe(open)

      it.live("is called in all four shapes", () =>
        leavesNothing(
          Effect.gen(function* () {
            const { client } = yield* between({})
            const requests = Stream.make({ message: "1" }, { message: "2" }, { message: "3" })
            expect(yield* client.echo({ message: "hello", payload: Uint8Array.of(1) })).toMatchObject({
              message: "hello",
              payload: Uint8Array.of(1)
            })
            const streamed = yield* Stream.runCollect(client.echoServerStream({ repeat: 3 }))
            expect(Chunk.toReadonlyArray(streamed).map(({ index }) => index)).toEqual([0, 1, 2])
            expect(yield* client.echoClientStream(requests)).toMatchObject({ message: "123", index: 3 })
            const both = yield* Stream.runCollect(client.echoBidi(requests))
            expect(Chunk.toReadonlyArray(both).map(({ message }) => message)).toEqual(["1", "2", "3"])
          })
        )
      )

      it.live("gets our metadata and sends headers and trailers", () =>
        leavesNothing(
          Effect.gen(function* () {
            const seen = yield* Deferred.make<GrpcJs.Metadata>()
            const { client } = yield* between({
              echo: (call, callback) => {
                Deferred.unsafeDone(seen, Effect.succeed(call.metadata))
                const headers = new GrpcJs.Metadata()
                headers.add("x-head", "1")
                headers.add("x-head-bin", Buffer.from(proof))
                call.sendMetadata(headers)
                const trailers = new GrpcJs.Metadata()
                trailers.add("x-tail", "2")
                trailers.add("x-tail-bin", Buffer.from(proof))
                callback(null, {}, trailers)
              }
            })
            const got: Array<ReadonlyArray<Metadata.Entry>> = []
            const see = ({ entries }: Metadata.Metadata) => got.push(entries)
            yield* client.echo(
              {},
              {
                metadata: { "x-text": "text", "x-proof-bin": proof },
                onHeaders: see,
                onTrailers: see,
                timeout: "9 seconds"
              }
            )
            const metadata = yield* Deferred.await(seen)
            expect(metadata.get("x-text")).toEqual(["text"])
            expect(metadata.get("x-proof-bin")).toEqual([Buffer.from(proof)])
            expect(got).toEqual([
              [
                ["x-head", "1"],
                ["x-head-bin", proof]
              ],
              [
                ["x-tail", "2"],
                ["x-tail-bin", proof]
              ]
            ])
          })
        )
      )

      it.live("answers with every status, its text and its details", () =>
        leavesNothing(
          Effect.gen(function* () {
            const { client, target } = yield* between({
              echo: ({ request }, callback) => {
                const code: number = request.repeat ?? 0
                const metadata = new GrpcJs.Metadata()
                metadata.add("x-tail", "yes")
                metadata.add(
                  "grpc-status-details-bin",
                  Buffer.from(ErrorDetails.encodeStatus(TransportError.fromCode(code, { message: text, details })))
                )
                callback({ code, details: text, metadata })
              }
            })
            for (const code of codes) {
              const error = yield* Effect.flip(client.echo({ repeat: code }))
              expect(error).toMatchObject({ code, message: text, peer: target, method: "/echo.v1.EchoService/Echo" })
              expect(TransportError.isStatusError(error) && error.details).toEqual(details)
              expect(TransportError.isStatusError(error) && error.metadata.entries).toEqual([["x-tail", "yes"]])
              expect(
                Option.getOrThrow(ErrorDetails.get(error as TransportError.StatusError, ErrorDetails.ErrorInfo))
              ).toMatchObject({ reason: "BUSY" })
            }
            expect(yield* Effect.flip(client.echo({ repeat: 99 }))).toMatchObject({ _tag: "Unknown", code: 2 })
          })
        )
      )

      it.live("and our caller both see the deadline", () =>
        leavesNothing(
          Effect.gen(function* () {
            const seen = yield* Deferred.make<GrpcJs.Deadline>()
            const cancelled = yield* Deferred.make<void>()
            const { client } = yield* between({
              echo: (call) => {
                Deferred.unsafeDone(seen, Effect.succeed(call.getDeadline()))
                call.on("cancelled", () => Deferred.unsafeDone(cancelled, Effect.void))
              }
            })
            const before = Date.now()
            const error = yield* Effect.flip(client.echo({}, { timeout: "200 millis" }))
            expect(error).toMatchObject({ _tag: "DeadlineExceeded", code: 4 })
            expect(Math.abs(Number(yield* Deferred.await(seen)) - (before + 200))).toBeLessThan(750)
            yield* soon(Deferred.await(cancelled))
          })
        )
      )

      it.live("sees our cancellation", () =>
        leavesNothing(
          Effect.gen(function* () {
            const started = yield* Deferred.make<void>()
            const cancelled = yield* Deferred.make<void>()
            const { client } = yield* between({
              echo: (call) => {
                Deferred.unsafeDone(started, Effect.void)
                call.on("cancelled", () => Deferred.unsafeDone(cancelled, Effect.void))
              }
            })
            const fiber = yield* Effect.fork(client.echo({}))
            yield* soon(Deferred.await(started))
            yield* Fiber.interrupt(fiber)
            yield* soon(Deferred.await(cancelled))
          })
        )
      )

      it.live("is not called with what it does not know", () =>
        leavesNothing(
          Effect.gen(function* () {
            const { target } = yield* Foreign.server(Foreign.handlers, side)
            const codec = { encode: () => Uint8Array.of(), decode: () => undefined }
            const nothing = Service.make("echo.v1.EchoService", {
              nothing: { path: "/echo.v1.EchoService/Nothing", shape: "unary", input: codec, output: codec }
            })
            const client = yield* open(Transport.client(nothing, target))
            expect(yield* Effect.flip(client.nothing(undefined))).toMatchObject({ _tag: "Unimplemented" })
          })
        )
      )

      it.live("moves big messages, and those above the limits are refused", () =>
        leavesNothing(
          Effect.gen(function* () {
            const { client } = yield* between(
              {
                echoServerStream: (call) => {
                  call.write({ payload: payloadOf(5_000_000) })
                  call.end()
                }
              },
              { "grpc.max_receive_message_length": -1, "grpc.max_send_message_length": -1 }
            )
            const payload = payloadOf(3_000_000)
            expect(Buffer.compare((yield* client.echo({ payload })).payload, payload)).toBe(0)
            expect(yield* Effect.flip(client.echo({ payload: payloadOf(5_000_000) }))).toMatchObject({
              _tag: "ResourceExhausted"
            })
            expect(yield* Effect.flip(Stream.runDrain(client.echoServerStream({})))).toMatchObject({
              _tag: "ResourceExhausted"
            })
            expect((yield* client.echo({ message: "still" })).message).toBe("still")
          })
        )
      )
    })

    it.live("a client of connect-node calls our listener", () =>
      leavesNothing(
        Effect.gen(function* () {
          const listener = yield* Transport.listen([
            echoHandlers({
              echo: (request, call) =>
                Effect.as(call.setTrailers({ "x-tail": "yes" }), {
                  message: `${request.message} ${Option.getOrElse(Metadata.get(call.metadata, "x-text"), () => "")}`
                }),
              echoServerStream: () => Stream.fail(new TransportError.NotFound({ message: text, details }))
            })
          ]).pipe(open)
          const trailers: Array<string | null> = []
          const see: Interceptor = (next) => async (request) => {
            const response = await next(request)
            trailers.push(response.trailer.get("x-tail"))
            return response
          }
          const tls =
            side === undefined ? {} : { ca: side.ca, cert: side.issued.cert, key: Redacted.value(side.issued.key) }
          const client = createClient(
            EchoService,
            createGrpcTransport({
              baseUrl: `${side === undefined ? "http" : "https"}://${listener.target}`,
              nodeOptions: tls,
              interceptors: [see],
              // A session that stays open for reuse would hold up the listener.
              idleConnectionTimeoutMs: 1
            })
          )
          const answer = yield* Effect.promise(() =>
            client.echo({ message: "hello" }, { headers: { "x-text": "text" } })
          )
          expect(answer.message).toBe("hello text")
          expect(trailers).toEqual(["yes"])
          const requests = async function* () {
            yield { message: "1" }
            yield { message: "2" }
          }
          const joined = yield* Effect.promise(() => client.echoClientStream(requests()))
          expect(joined).toMatchObject({ message: "12", index: 2 })
          const both = yield* Effect.promise(async () => {
            const all: Array<string> = []
            for await (const { message } of client.echoBidi(requests())) {
              all.push(message)
            }
            return all
          })
          expect(both).toEqual(["1", "2"])
          const failure = yield* Effect.promise(async () => {
            try {
              for await (const _ of client.echoServerStream({})) {
              }
            } catch (error) {
              return error
            }
          })
          expect(failure).toMatchObject({ code: 5, rawMessage: text })
          const compressing = createClient(
            EchoService,
            createGrpcTransport({
              baseUrl: `${side === undefined ? "http" : "https"}://${listener.target}`,
              nodeOptions: tls,
              idleConnectionTimeoutMs: 1,
              sendCompression: compressionGzip,
              compressMinBytes: 1
            })
          )
          const message = "hello".repeat(1000)
          const compressed = yield* Effect.either(Effect.tryPromise(() => compressing.echo({ message })))
          expect(compressed).toMatchObject(
            limits.gzip === undefined ? { right: { message: `${message} ` } } : { left: { cause: { code: 12 } } }
          )
        })
      )
    )
  })
})
