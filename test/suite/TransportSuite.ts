import * as Fs from "node:fs/promises"
import * as Os from "node:os"
import * as Path from "node:path"
import { inspect } from "node:util"
import { create, type DescMessage, fromBinary, type MessageInitShape, toBinary } from "@bufbuild/protobuf"
import { ListValueSchema, SourceCodeInfo_LocationSchema, StructSchema } from "@bufbuild/protobuf/wkt"
import { describe, expect, it } from "@effect/vitest"
import * as Cause from "effect/Cause"
import * as Chunk from "effect/Chunk"
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Deferred from "effect/Deferred"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as ExecutionStrategy from "effect/ExecutionStrategy"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as FiberId from "effect/FiberId"
import * as FiberRef from "effect/FiberRef"
import * as Layer from "effect/Layer"
import * as Metric from "effect/Metric"
import * as Option from "effect/Option"
import * as Queue from "effect/Queue"
import * as Ref from "effect/Ref"
import * as Runtime from "effect/Runtime"
import * as Schedule from "effect/Schedule"
import * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import type { YieldWrap } from "effect/Utils"
import {
  Aborted,
  type BindError,
  Cancelled,
  type Deadline,
  DeadlineExceeded,
  ErrorDetails,
  Internal,
  InvalidArgument,
  Metadata,
  type Method,
  NotFound,
  PermissionDenied,
  Service,
  Transport,
  TransportError,
  TransportMetrics,
  type TransportOptions,
  Unavailable
} from "effect-transport"
import { type EchoRequest, EchoRequestSchema } from "../../examples/gen/echo/v1/echo_pb.js"
import { EchoService, echo, serveEcho } from "./fixtures/echo.js"
import { eventually, leavesNothing, soon, within } from "./fixtures/expect.js"
import { captureLog, captureSpans, follow } from "./fixtures/observe.js"
import { metadataSuite } from "./metadataRule.js"

/** What a transport may do without. */
export interface SuiteOptions {
  /** Whether it listens on unix sockets. Default true. */
  readonly unixSockets?: boolean | undefined
  /** Whether responses of more than 128 fields arrive. Default true. */
  readonly manyResponseFields?: boolean | undefined
}

const echoPath = "/echo.v1.EchoService/Echo"

/** Bytes that compression makes nothing of, and that show where they were cut. */
const payloadOf = (size: number) => Uint8Array.from({ length: size }, (_, i) => (i * 31 + (i >> 8)) & 0xff)

const sizeOf = (request: MessageInitShape<typeof EchoRequestSchema>) =>
  toBinary(EchoRequestSchema, create(EchoRequestSchema, request)).length

/** A request that is exactly so many bytes when encoded. */
const requestOf = (size: number) => {
  const overhead = sizeOf({ payload: payloadOf(size) }) - size
  const payload = payloadOf(size - overhead)
  expect(sizeOf({ payload })).toBe(size)
  return { payload }
}

const numbered = (n: number) => Stream.map(Stream.range(1, n), (i) => ({ message: String(i) }))

const messages = <E, R>(stream: Stream.Stream<{ readonly message: string }, E, R>) =>
  Effect.map(Stream.runCollect(stream), (all) => Chunk.toReadonlyArray(Chunk.map(all, (each) => each.message)))

const upTo = (n: number) => Array.from({ length: n }, (_, i) => String(i + 1))

const codec = {
  encode: (text: string) => new TextEncoder().encode(text),
  decode: (bytes: Uint8Array) => new TextDecoder().decode(bytes)
}

const method = <const S extends "unary" | "serverStreaming" | "clientStreaming" | "bidiStreaming">(
  path: string,
  shape: S
) => ({ path, shape, input: codec, output: codec })

/** Opens something in a scope of its own, which the test closes when it wants to. */
const closable = <A, E, R>(effect: Effect.Effect<A, E, R>) =>
  Effect.gen(function* () {
    const scope = yield* Effect.flatMap(Effect.scope, (parent) => Scope.fork(parent, ExecutionStrategy.sequential))
    return [yield* Scope.extend(effect, scope), Scope.close(scope, Exit.void)] as const
  })

/** Messages of many elements, by what those are: the type, an element, and whether that stands in a packed list. */
const manyElements: Record<string, readonly [DescMessage, ReadonlyArray<number>, "packed"?]> = {
  "unknown fields": [EchoRequestSchema, [0x78, 0]],
  "unknown groups": [EchoRequestSchema, [0x7b, 0x7c]],
  "fields in an unknown group": [EchoRequestSchema, [0x7b, 0x78, 0, 0x78, 0, 0x78, 0, 0x7c]],
  "one field again and again": [EchoRequestSchema, [0x0a, 0]],
  "empty submessages": [ListValueSchema, [0x0a, 0]],
  "entries of a map": [StructSchema, [0x0a, 0]],
  "packed numbers": [SourceCodeInfo_LocationSchema, [1], "packed"],
  "numbers that are not packed": [SourceCodeInfo_LocationSchema, [0x08, 1]],
  "strings of a list": [SourceCodeInfo_LocationSchema, [0x32, 0]]
}

const repeated = (element: ReadonlyArray<number>, times: number, isPacked: boolean) => {
  const bytes = Buffer.alloc(element.length * times, Uint8Array.from(element))
  // The number of the field, and its length in four bytes.
  const length = [0, 7, 14, 21].map((shift) => ((bytes.length >> shift) & 0x7f) | (shift < 21 ? 0x80 : 0))
  return isPacked ? Buffer.concat([Uint8Array.of(0x0a, ...length), bytes]) : bytes
}

const raw = { encode: (bytes: Uint8Array) => bytes, decode: (bytes: Uint8Array) => bytes }

/** A service of that message, both ways; what is sent and received of it is as `request` and `answer` say. */
const carrying = <II, I, OO, O>(request: Method.Codec<II, I>, answer: Method.Codec<OO, O>) =>
  Service.make("test.Many", {
    unary: { path: "/test.Many/Unary", shape: "unary", input: request, output: answer },
    stream: { path: "/test.Many/Stream", shape: "bidiStreaming", input: request, output: answer }
  })

/** A service that no descriptor knows, with text for messages. */
const Shout = Service.make("test.Shout", {
  shout: method("/test.Shout/Shout", "unary")
})

/**
 * The contract of every transport. `transport` makes the layer under test; a test that is about an option gives it.
 *
 * Nothing here knows a wire: listeners bind 127.0.0.1 and a port that the system chooses, and clients are given the
 * listener's `target`.
 */
export const transportSuite = <E>(
  name: string,
  transport: (options?: TransportOptions.TransportOptions) => Layer.Layer<Transport.Transport, E>,
  options: SuiteOptions = {}
): void => {
  const memoMap = Effect.runSync(Layer.makeMemoMap)

  /** The layer, once more or with other options. Whatever it is built on is built once in a test (the trust in a CA). */
  const build = (options?: TransportOptions.TransportOptions) =>
    Effect.flatMap(Effect.scope, (scope) => Layer.buildWithMemoMap(transport(options), memoMap, scope))

  const withOptions =
    (options: TransportOptions.TransportOptions) =>
    <A, E2, R>(effect: Effect.Effect<A, E2, R | Transport.Transport>) =>
      Effect.flatMap(build(options), (context) => Effect.provide(effect, context))

  const test = (
    title: string,
    body: () => Generator<YieldWrap<Effect.Effect<unknown, unknown, Transport.Transport | Scope.Scope>>, void, never>,
    mode: boolean | "fails" = true
  ) =>
    (mode === "fails" ? it.live.fails : it.live.runIf(mode))(
      title,
      () => leavesNothing(Effect.flatMap(build(), (context) => Effect.provide(Effect.gen(body), context))),
      20_000
    )

  describe(name, () => {
    describe("calls", () => {
      test("unary: one request, one answer", function* () {
        const { client } = yield* serveEcho(Transport.handlers(EchoService, echo))
        const answer = yield* client.echo({ message: "hello", payload: payloadOf(300) })
        expect(answer).toMatchObject({ $typeName: "echo.v1.EchoResponse", message: "hello", index: 0 })
        expect(answer.payload).toEqual(payloadOf(300))
      })

      test("server streaming: one request, many answers", function* () {
        const { client } = yield* serveEcho(Transport.handlers(EchoService, echo))
        const answers = yield* Stream.runCollect(client.echoServerStream({ message: "a", repeat: 3 }))
        expect(Chunk.toReadonlyArray(answers).map(({ message, index }) => `${message}${index}`)).toEqual([
          "a0",
          "a1",
          "a2"
        ])
      })

      test("client streaming: many requests, one answer", function* () {
        const { client } = yield* serveEcho(Transport.handlers(EchoService, echo))
        expect(yield* client.echoClientStream(numbered(3))).toMatchObject({ message: "123", index: 3 })
      })

      test("bidirectional: many requests, many answers", function* () {
        const { client } = yield* serveEcho(Transport.handlers(EchoService, echo))
        expect(yield* messages(client.echoBidi(numbered(3)))).toEqual(["1", "2", "3"])
      })

      test("a stream may be empty, in each direction", function* () {
        const { client } = yield* serveEcho(
          Transport.handlers(EchoService, { ...echo, echoServerStream: () => Stream.empty })
        )
        expect(yield* messages(client.echoServerStream({}))).toEqual([])
        expect(yield* client.echoClientStream(Stream.empty)).toMatchObject({ message: "", index: 0 })
        expect(yield* messages(client.echoBidi(Stream.empty))).toEqual([])
      })

      test("1,000 messages arrive in order, in each direction", function* () {
        const { client } = yield* serveEcho(
          Transport.handlers(EchoService, { ...echo, echoServerStream: () => numbered(1000) })
        )
        expect(yield* messages(client.echoServerStream({}))).toEqual(upTo(1000))
        expect(yield* client.echoClientStream(numbered(1000))).toMatchObject({
          message: upTo(1000).join(""),
          index: 1000
        })
        expect(yield* messages(client.echoBidi(numbered(1000)))).toEqual(upTo(1000))
      })

      test("an effect is a stream of one message", function* () {
        const { client } = yield* serveEcho(
          Transport.handlers(EchoService, {
            ...echo,
            echoServerStream: ({ message }) => Effect.succeed({ message }),
            echoBidi: () => Effect.fail(new NotFound({ message: "none" }))
          })
        )
        expect(yield* messages(client.echoServerStream({ message: "one" }))).toEqual(["one"])
        expect(yield* client.echoClientStream(Effect.succeed({ message: "one" }))).toMatchObject({ index: 1 })
        expect(yield* Effect.flip(messages(client.echoBidi(Effect.never)))).toMatchObject({ _tag: "NotFound" })
      })

      test("a call is an effect: it can be run again", function* () {
        const calls = yield* Ref.make(0)
        const { client } = yield* serveEcho(
          Transport.handlers(EchoService, {
            ...echo,
            echo: () =>
              Effect.map(
                Ref.updateAndGet(calls, (n) => n + 1),
                (index) => ({ index })
              )
          })
        )
        const call = client.echo({})
        expect(yield* Ref.get(calls)).toBe(0)
        expect([(yield* call).index, (yield* call).index]).toEqual([1, 2])
        const stream = client.echoBidi(numbered(2))
        expect([yield* messages(stream), yield* messages(stream)]).toEqual([upTo(2), upTo(2)])
      })

      test("200 calls at once get each its own answer", function* () {
        const { client } = yield* serveEcho(Transport.handlers(EchoService, echo))
        const answers = yield* Effect.forEach(upTo(200), (message) => client.echo({ message }), {
          concurrency: "unbounded"
        })
        expect(answers.map(({ message }) => message)).toEqual(upTo(200))
      })

      test("requests and answers go back and forth without waiting for more", function* () {
        const { client } = yield* serveEcho(Transport.handlers(EchoService, echo))
        const requests = yield* Queue.unbounded<string>()
        yield* Queue.offer(requests, "0")
        const seen = yield* client.echoBidi(Stream.map(Stream.fromQueue(requests), (message) => ({ message }))).pipe(
          Stream.tap(({ message }) => Queue.offer(requests, String(Number(message) + 1))),
          Stream.take(100),
          messages
        )
        expect(seen).toEqual(Array.from({ length: 100 }, (_, i) => String(i)))
      })

      test("an answer arrives when it is given, not when the stream ends", function* () {
        const { client } = yield* serveEcho(
          Transport.handlers(EchoService, {
            ...echo,
            echoServerStream: () => Stream.concat(Stream.make({ message: "now" }), Stream.never)
          })
        )
        const first = yield* soon(Stream.runHead(client.echoServerStream({})))
        expect(Option.getOrThrow(first).message).toBe("now")
      })

      test("a request arrives when it is sent, not when the stream ends", function* () {
        const { client } = yield* serveEcho(
          Transport.handlers(EchoService, {
            ...echo,
            echoClientStream: (requests) =>
              Effect.map(Stream.runHead(requests), (first) => ({ message: Option.getOrThrow(first).message }))
          })
        )
        const requests = Stream.concat(Stream.make({ message: "now" }), Stream.never)
        expect((yield* soon(client.echoClientStream(requests))).message).toBe("now")
      })

      test("an early answer ends the call, and the requests that still flow", function* () {
        const requests = yield* follow
        const { client } = yield* serveEcho(
          Transport.handlers(EchoService, {
            ...echo,
            echoClientStream: () => Effect.succeed({ message: "enough" }),
            echoBidi: () => Stream.make({ message: "enough" }, { message: "really" })
          })
        )
        const endless = Stream.drain(Stream.fromEffect(requests.run(Effect.never)))
        expect((yield* soon(client.echoClientStream(endless))).message).toBe("enough")
        expect(yield* requests.ended).toBe("interrupted")
        const chatter = Stream.forever(Stream.make({ payload: payloadOf(1024) }))
        expect((yield* soon(client.echoClientStream(chatter))).message).toBe("enough")
        expect(yield* soon(messages(client.echoBidi(chatter)))).toEqual(["enough", "really"])
        expect(yield* soon(messages(client.echoBidi(Stream.never)))).toEqual(["enough", "really"])
      })

      test("several services share one listener", function* () {
        const listener = yield* Transport.listen([
          Transport.handlers(EchoService, echo),
          Transport.handlers(Shout, { shout: (text) => Effect.succeed(`${text.toUpperCase()}!`) })
        ])
        const client = yield* Transport.client(EchoService, listener.target)
        const shout = yield* Transport.client(Shout, listener.target)
        expect((yield* client.echo({ message: "quiet" })).message).toBe("quiet")
        expect(yield* shout.shout("loud")).toBe("LOUD!")
      })

      test("two handlers for one method are a mistake in the program", function* () {
        const handlers = Transport.handlers(EchoService, echo)
        const exit = yield* Effect.exit(Transport.listen([handlers, handlers]))
        expect(Exit.isFailure(exit) && Cause.isDie(exit.cause)).toBe(true)
        expect(inspect(exit)).toContain(echoPath)
      })

      test("an unknown service or method is Unimplemented", function* () {
        const { client, listener } = yield* serveEcho(Transport.handlers(EchoService, echo))
        const unknown = yield* Transport.client(
          Service.make("echo.v1.EchoService", {
            method: method("/echo.v1.EchoService/Nothing", "unary"),
            service: method("/no.Such/Thing", "bidiStreaming")
          }),
          listener.target
        )
        expect(yield* Effect.flip(unknown.method("?"))).toMatchObject({
          _tag: "Unimplemented",
          code: 12,
          peer: listener.target,
          method: "/echo.v1.EchoService/Nothing"
        })
        expect(yield* Effect.flip(Stream.runDrain(unknown.service(Stream.never)))).toMatchObject({
          _tag: "Unimplemented",
          method: "/no.Such/Thing"
        })
        expect((yield* client.echo({ message: "still here" })).message).toBe("still here")
      })

      test("too many or too few messages are Unimplemented", function* () {
        const started = yield* Ref.make(0)
        const count = Ref.update(started, (n) => n + 1)
        const listener = yield* Transport.listen([
          Transport.handlers(
            Service.make("test.Many", {
              unary: method("/test.Many/Unary", "unary"),
              streaming: method("/test.Many/Streaming", "bidiStreaming")
            }),
            {
              unary: () => Effect.as(count, "one"),
              streaming: (requests) => requests
            }
          )
        ])
        const client = yield* Transport.client(
          Service.make("test.Many", {
            unary: method("/test.Many/Unary", "clientStreaming"),
            streaming: method("/test.Many/Streaming", "clientStreaming")
          }),
          listener.target
        )
        const texts = [[], ["1", "2"]].map((texts) => Stream.fromIterable(texts))
        for (const requests of texts) {
          expect(yield* Effect.flip(client.unary(requests))).toMatchObject({ _tag: "Unimplemented", code: 12 })
          expect(yield* Effect.flip(client.streaming(requests))).toMatchObject({ _tag: "Unimplemented", code: 12 })
        }
        expect(yield* Ref.get(started)).toBe(0)
        expect(yield* client.unary(Stream.make("1"))).toBe("one")
        expect(yield* client.streaming(Stream.make("1"))).toBe("1")
      })

      test("a message that can't be read is Internal to the caller, and the connection goes on", function* () {
        const { client, listener } = yield* serveEcho(Transport.handlers(EchoService, echo))
        const raw = yield* Transport.client(
          Service.make("echo.v1.EchoService", { echo: method(echoPath, "unary") }),
          listener.target
        )
        expect(yield* Effect.flip(raw.echo("\x0a\x7f"))).toMatchObject({ _tag: "Internal", code: 13 })
        expect((yield* client.echo({ message: "fine" })).message).toBe("fine")
      })
    })

    describe("messages", () => {
      test("unknown fields survive a relay", function* () {
        // Field 99, a string, which this version of the contract does not have.
        const unknown = Uint8Array.of(0x9a, 0x06, 0x03, 0x6e, 0x65, 0x77)
        const received = yield* Deferred.make<Uint8Array>()
        const last = yield* serveEcho(
          Transport.handlers(EchoService, {
            ...echo,
            echo: (request) =>
              Effect.as(Deferred.succeed(received, toBinary(EchoRequestSchema, request)), { message: "got it" })
          })
        )
        const relay = yield* serveEcho(
          Transport.handlers(EchoService, { ...echo, echo: (request) => last.client.echo(request) })
        )
        const request = toBinary(EchoRequestSchema, create(EchoRequestSchema, { message: "hello" }))
        const newer = Uint8Array.of(...request, ...unknown)
        expect(yield* relay.client.echo(fromBinary(EchoRequestSchema, newer))).toMatchObject({ message: "got it" })
        expect(yield* Deferred.await(received)).toEqual(newer)
      })

      test("the handler has a message of its own, not the caller's", function* () {
        const { client } = yield* serveEcho(
          Transport.handlers(EchoService, {
            ...echo,
            echo: (request) => {
              request.payload.fill(7)
              return Effect.succeed({ payload: request.payload })
            }
          })
        )
        const request = create(EchoRequestSchema, { payload: Uint8Array.of(1, 2, 3) })
        expect((yield* client.echo(request)).payload).toEqual(Uint8Array.of(7, 7, 7))
        expect(request.payload).toEqual(Uint8Array.of(1, 2, 3))
      })

      test("a message just below the default limit passes", function* () {
        const { client } = yield* serveEcho(Transport.handlers(EchoService, echo))
        const { payload } = requestOf(4 * 1024 * 1024)
        expect(Buffer.compare((yield* client.echo({ payload })).payload, payload)).toBe(0)
      })

      const small = { maxSendMessageSize: 1000, maxReceiveMessageSize: 1000 }
      const large = { maxSendMessageSize: 1_000_000, maxReceiveMessageSize: 1_000_000 }

      /** An echo server and a client of it, of which each has its own limits. */
      const limited = Effect.fnUntraced(function* (
        server: TransportOptions.TransportOptions,
        client: TransportOptions.TransportOptions
      ) {
        const received = yield* Ref.make(0)
        const ended = yield* follow
        const count = Ref.update(received, (n) => n + 1)
        const listener = yield* withOptions(server)(
          Transport.listen([
            Transport.handlers(EchoService, {
              ...echo,
              echo: (request) => Effect.zipRight(count, echo.echo(request)),
              echoBidi: (requests) =>
                Stream.unwrap(
                  Effect.as(
                    Effect.zipRight(Effect.fork(ended.run(Effect.never)), ended.started),
                    Stream.map(requests, ({ message, payloadSize }) => ({ message, payload: payloadOf(payloadSize) }))
                  )
                )
            })
          ])
        )
        const echoClient = yield* withOptions(client)(Transport.client(EchoService, listener.target))
        /** What is seen of a stream whose third message is too large: those before it, and the error. */
        const third = (message: MessageInitShape<typeof EchoRequestSchema>) =>
          Effect.gen(function* () {
            const seen: Array<string> = []
            // A call that is cancelled at once may never reach its handler: over QUIC a reset overtakes what was sent.
            const last = Stream.fromEffect(Effect.as(ended.started, message))
            const requests = Stream.concat(Stream.concat(numbered(2), last), Stream.never)
            const error = yield* Effect.flip(
              Stream.runForEach(echoClient.echoBidi(requests), ({ message }) => Effect.sync(() => seen.push(message)))
            )
            expect(error).toMatchObject({
              _tag: "ResourceExhausted",
              code: 8,
              peer: listener.target,
              method: "/echo.v1.EchoService/EchoBidi"
            })
            expect(yield* ended.ended).toBe("interrupted")
            return seen
          })
        return { client: echoClient, received: Ref.get(received), third, peer: listener.target }
      })

      const goesOn = (client: Transport.Client<typeof EchoService>) =>
        Effect.map(client.echo({ message: "and on it goes" }), ({ message }) => expect(message).toBe("and on it goes"))

      test("a request above the caller's limit is ResourceExhausted and never sent", function* () {
        const { client, peer, received, third } = yield* limited(large, small)
        expect(yield* Effect.flip(client.echo(requestOf(1001)))).toMatchObject({
          _tag: "ResourceExhausted",
          code: 8,
          peer,
          method: echoPath
        })
        expect(yield* received).toBe(0)
        expect(yield* client.echo({ ...requestOf(990), message: "" })).toMatchObject({ index: 0 })
        expect(["1", "2"]).toEqual(expect.arrayContaining(yield* third(requestOf(1001))))
        yield* goesOn(client)
      })

      test("a request above the listener's limit is ResourceExhausted", function* () {
        const { client, peer, received, third } = yield* limited(small, large)
        expect(yield* Effect.flip(client.echo(requestOf(1001)))).toMatchObject({
          _tag: "ResourceExhausted",
          code: 8,
          peer,
          method: echoPath
        })
        expect(yield* received).toBe(0)
        expect(["1", "2"]).toEqual(expect.arrayContaining(yield* third(requestOf(1001))))
        yield* goesOn(client)
      })

      test("an answer above the listener's limit is ResourceExhausted", function* () {
        const { client, third } = yield* limited({ ...large, maxSendMessageSize: 1000 }, large)
        const error = yield* Effect.flip(client.echo(requestOf(1100)))
        expect(error).toMatchObject({ _tag: "ResourceExhausted", code: 8, method: echoPath })
        expect(yield* third({ payloadSize: 1001 })).toEqual(["1", "2"])
        yield* goesOn(client)
      })

      test("an answer above the caller's limit is ResourceExhausted", function* () {
        const { client, third } = yield* limited(large, { ...large, maxReceiveMessageSize: 1000 })
        const error = yield* Effect.flip(client.echo(requestOf(1100)))
        expect(error).toMatchObject({ _tag: "ResourceExhausted", code: 8, method: echoPath })
        expect(yield* third({ payloadSize: 1001 })).toEqual(["1", "2"])
        yield* goesOn(client)
      })

      for (const [what, [desc, element, packed]] of Object.entries(manyElements)) {
        const protobuf = Service.protobufCodec(desc)
        const decoded = { encode: raw.encode, decode: protobuf.decode, countElements: protobuf.countElements }
        const elements = element.length > 3 ? element.length / 2 : 1
        const of = (count: number) => repeated(element, Math.floor(count / elements), packed === "packed")
        const tooMany = [of(65_536 + elements), of(Math.floor((elements * 4_000_000) / element.length))]

        test(`more elements than the listener's limit are ResourceExhausted: ${what}`, function* () {
          let received = 0
          const count = Effect.sync(() => {
            received += 1
          })
          const listener = yield* Transport.listen([
            Transport.handlers(carrying(decoded, raw), {
              unary: () => Effect.as(count, new Uint8Array(0)),
              stream: (requests) => Stream.map(requests, () => new Uint8Array(1))
            }),
            Transport.handlers(EchoService, echo)
          ])
          const client = yield* Transport.client(carrying(raw, raw), listener.target)
          expect(yield* client.unary(of(65_536))).toHaveLength(0)
          expect(received).toBe(1)
          for (const bytes of tooMany) {
            const error = { _tag: "ResourceExhausted", code: 8, peer: listener.target }
            expect(yield* Effect.flip(client.unary(bytes))).toMatchObject({ ...error, method: "/test.Many/Unary" })
            const answers = client.stream(Stream.make(of(65_536), bytes))
            expect(yield* Effect.flip(Stream.runDrain(answers))).toMatchObject({
              ...error,
              method: "/test.Many/Stream"
            })
          }
          expect(received).toBe(1)
          const other = yield* Transport.client(EchoService, listener.target)
          yield* goesOn(other)
        })

        test(`more elements than the caller's limit are ResourceExhausted: ${what}`, function* () {
          let answer: Uint8Array = of(65_536)
          const { target } = yield* Transport.listen([
            Transport.handlers(carrying(raw, raw), {
              unary: () => Effect.sync(() => answer),
              stream: () => Stream.fromEffect(Effect.sync(() => answer))
            })
          ])
          const client = yield* Transport.client(carrying(raw, decoded), target)
          yield* client.unary(new Uint8Array(0))
          expect(yield* Stream.runCollect(client.stream(Stream.never))).toHaveLength(1)
          for (const bytes of tooMany) {
            answer = bytes
            const failed = Effect.flip(Effect.asVoid(client.unary(new Uint8Array(0))))
            expect(yield* failed).toMatchObject({ _tag: "ResourceExhausted" })
            expect(yield* Effect.flip(Stream.runDrain(client.stream(Stream.never)))).toMatchObject({
              _tag: "ResourceExhausted",
              code: 8,
              peer: target
            })
          }
          answer = of(65_536)
          yield* client.unary(new Uint8Array(0))
        })
      }

      test("how many elements a message may have is an option of each end", function* () {
        const protobuf = Service.protobufCodec(SourceCodeInfo_LocationSchema)
        const service = carrying(protobuf, protobuf)
        const listen = (options: TransportOptions.TransportOptions) =>
          withOptions(options)(
            Transport.listen([
              Transport.handlers(service, { unary: ({ path }) => Effect.succeed({ path }), stream: () => Stream.empty })
            ])
          )
        const call = (target: string, options: TransportOptions.TransportOptions, numbers: number) =>
          Effect.flatMap(withOptions(options)(Transport.client(service, target)), (client) =>
            Effect.map(client.unary({ path: Array.from({ length: numbers }, () => 1) }), ({ path }) => path.length)
          )
        const strict = yield* listen({ maxMessageElements: 100 })
        expect(yield* call(strict.target, {}, 100)).toBe(100)
        expect(yield* Effect.flip(call(strict.target, {}, 101))).toMatchObject({ _tag: "ResourceExhausted" })
        expect(yield* Effect.flip(call(strict.target, { maxMessageElements: 99 }, 100))).toMatchObject({
          _tag: "ResourceExhausted"
        })
        const wide = yield* listen({ maxMessageElements: 1_000_000 })
        expect(yield* call(wide.target, { maxMessageElements: 1_000_000 }, 500_000)).toBe(500_000)
        expect(yield* Effect.flip(call(wide.target, {}, 500_000))).toMatchObject({ _tag: "ResourceExhausted" })
      })

      test("a codec of another contract language counts by its own rule, and may throw", function* () {
        const lines = {
          ...codec,
          countElements: (bytes: Uint8Array) => {
            const text = new TextDecoder().decode(bytes)
            if (text === "throw") {
              throw new Error("no count")
            }
            return text === "malformed" ? -1 : text.length
          }
        }
        const { target } = yield* withOptions({ maxMessageElements: 10 })(
          Transport.listen([
            Transport.handlers(carrying(lines, codec), {
              unary: (text) => Effect.succeed(text),
              stream: () => Stream.empty
            })
          ])
        )
        const client = yield* Transport.client(carrying(codec, codec), target)
        expect(yield* client.unary("0123456789")).toBe("0123456789")
        expect(yield* Effect.flip(client.unary("0123456789a"))).toMatchObject({ _tag: "ResourceExhausted" })
        expect(yield* Effect.flip(client.unary("malformed"))).toMatchObject({ _tag: "Internal" })
        expect(yield* Effect.flip(client.unary("throw"))).toMatchObject({ _tag: "Internal" })
        expect(yield* client.unary("still here")).toBe("still here")
      })

      test("a message of exactly the limit passes", function* () {
        const { client } = yield* limited(small, small)
        const request = requestOf(1000)
        expect((yield* client.echo(request)).payload).toEqual(request.payload)
      })
    })

    describe("metadata", () => {
      const bytes = [Uint8Array.of(0, 1, 2, 254, 255), Uint8Array.of(), Uint8Array.of(0x2c, 0x2c)]
      const sent = {
        "x-text": "a, b; c=~!",
        "X-Upper": "kept as It Is",
        "x-many": ["1", "2", "3"],
        "x-one-bin": Uint8Array.of(255),
        "x-many-bin": bytes
      }

      /** Repeated text may arrive joined, which gRPC holds to be the same; bytes may not. */
      const check = (metadata: Metadata.Metadata) => {
        expect(Metadata.getAll(metadata, "x-text")).toEqual(["a, b; c=~!"])
        expect(Metadata.getAll(metadata, "x-upper")).toEqual(["kept as It Is"])
        expect(Metadata.getAll(metadata, "x-many").join(", ")).toBe("1, 2, 3")
        expect(Metadata.getAll(metadata, "x-one-bin")).toEqual([Uint8Array.of(255)])
        expect(Metadata.getAll(metadata, "x-many-bin")).toEqual(bytes)
      }

      const keys = (metadata: Metadata.Metadata) => [...new Set(metadata.entries.map(([key]) => key))].sort()

      const sentKeys = ["x-many", "x-many-bin", "x-one-bin", "x-text", "x-upper"]

      test("goes with the request, text and bytes, several values under a key", function* () {
        const seen = yield* Queue.unbounded<Metadata.Metadata>()
        const see = (call: Transport.Call) => Queue.offer(seen, call.metadata)
        const { client } = yield* serveEcho(
          Transport.handlers(EchoService, {
            echo: (_, call) => Effect.as(see(call), {}),
            echoServerStream: (_, call) => Stream.drain(Stream.fromEffect(see(call))),
            echoClientStream: (_, call) => Effect.as(see(call), {}),
            echoBidi: (_, call) => Stream.drain(Stream.fromEffect(see(call)))
          })
        )
        yield* client.echo({}, { metadata: sent })
        yield* Stream.runDrain(client.echoServerStream({}, { metadata: sent }))
        yield* client.echoClientStream(Stream.empty, { metadata: sent })
        yield* Stream.runDrain(client.echoBidi(Stream.empty, { metadata: sent }))
        const all = yield* Queue.takeAll(seen)
        expect(all.length).toBe(4)
        for (const metadata of all) {
          check(metadata)
        }
      })

      test("of the client and of the call go both", function* () {
        const { client } = yield* serveEcho(
          Transport.handlers(EchoService, {
            ...echo,
            echo: (_, { metadata }) =>
              Effect.succeed({
                message: [Metadata.getAll(metadata, "x-both").join(", "), ...Metadata.getAll(metadata, "x-call")].join()
              })
          }),
          { client: { metadata: { "x-both": "client" } } }
        )
        expect((yield* client.echo({})).message).toBe("client")
        const answer = yield* client.echo({}, { metadata: { "x-both": "call", "x-call": "own" } })
        expect(answer.message).toBe("client, call,own")
      })

      test("of a call can be sent on as it came", function* () {
        const seen = yield* Deferred.make<Metadata.Metadata>()
        const last = yield* serveEcho(
          Transport.handlers(EchoService, {
            ...echo,
            echo: (_, call) => Effect.as(Deferred.succeed(seen, call.metadata), {})
          })
        )
        const relay = yield* serveEcho(
          Transport.handlers(EchoService, {
            ...echo,
            echo: (request, call) =>
              Effect.zipRight(
                Effect.sync(() => expect(Metadata.make(call.metadata.entries).entries).toEqual(call.metadata.entries)),
                last.client.echo(request, { metadata: call.metadata })
              )
          })
        )
        yield* relay.client.echo({}, { metadata: sent })
        check(yield* Deferred.await(seen))
      })

      test("comes back as headers and trailers, of every shape, and nothing that the handler did not set", function* () {
        const answer = (call: Transport.Call) =>
          Effect.all([call.setHeaders(sent), call.setTrailers({ "x-after": "all", "x-sum-bin": bytes })])
        const { client } = yield* serveEcho(
          Transport.handlers(EchoService, {
            echo: (_, call) => Effect.as(answer(call), {}),
            echoServerStream: (_, call) => Stream.as(Stream.fromEffect(answer(call)), {}),
            echoClientStream: (_, call) => Effect.as(answer(call), {}),
            echoBidi: (_, call) => Stream.as(Stream.fromEffect(answer(call)), {})
          })
        )
        const observed = <A, E2>(run: (options: Transport.CallOptions) => Effect.Effect<A, E2>) =>
          Effect.gen(function* () {
            const headers: Array<Metadata.Metadata> = []
            const trailers: Array<Metadata.Metadata> = []
            yield* run({
              onHeaders: (metadata) => headers.push(metadata),
              onTrailers: (metadata) => trailers.push(metadata)
            })
            expect([headers.length, trailers.length]).toEqual([1, 1])
            for (const metadata of headers) {
              check(metadata)
              expect(keys(metadata)).toEqual(sentKeys)
            }
            for (const metadata of trailers) {
              expect(keys(metadata)).toEqual(["x-after", "x-sum-bin"])
              expect(Metadata.getAll(metadata, "x-after")).toEqual(["all"])
              expect(Metadata.getAll(metadata, "x-sum-bin")).toEqual(bytes)
            }
          })
        yield* observed((options) => client.echo({}, options))
        yield* observed((options) => Stream.runDrain(client.echoServerStream({}, options)))
        yield* observed((options) => client.echoClientStream(numbered(2), options))
        yield* observed((options) => Stream.runDrain(client.echoBidi(numbered(2), options)))
      })

      test("set in parts adds up", function* () {
        const { client } = yield* serveEcho(
          Transport.handlers(EchoService, {
            ...echo,
            echo: (_, call) =>
              Effect.as(
                Effect.all([
                  call.setHeaders({ "x-a": "1" }),
                  call.setHeaders({ "x-b": "2" }),
                  call.setTrailers({ "x-c": "3" }),
                  call.setTrailers({ "x-c": "4" })
                ]),
                {}
              )
          })
        )
        const seen: Array<Metadata.Metadata> = []
        const see = (metadata: Metadata.Metadata) => seen.push(metadata)
        yield* client.echo({}, { onHeaders: see, onTrailers: see })
        expect(seen.map(keys)).toEqual([["x-a", "x-b"], ["x-c"]])
        expect(seen.flatMap((metadata) => Metadata.getAll(metadata, "x-c")).join(", ")).toBe("3, 4")
      })

      test("response headers arrive before the first message does", function* () {
        const { client } = yield* serveEcho(
          Transport.handlers(EchoService, {
            ...echo,
            echoServerStream: (_, call) =>
              Stream.concat(
                Stream.as(Stream.fromEffect(call.setHeaders({ "x-early": "yes" })), { message: "1" }),
                Stream.never
              )
          })
        )
        const seen: Array<string> = []
        yield* client
          .echoServerStream({}, { onHeaders: (headers) => seen.push(...Metadata.getAll(headers, "x-early")) })
          .pipe(
            Stream.tap(({ message }) => Effect.sync(() => seen.push(message))),
            Stream.runHead
          )
        expect(seen).toEqual(["yes", "1"])
      })

      test("set as headers after the first message is dropped with a warning", function* () {
        const log = yield* captureLog
        const { client } = yield* serveEcho(
          Transport.handlers(EchoService, {
            ...echo,
            echoServerStream: (_, call) =>
              Stream.concat(
                Stream.make({ message: "1" }),
                Stream.as(Stream.fromEffect(call.setHeaders({ "x-late": "yes" })), { message: "2" })
              )
          })
        ).pipe(Effect.provide(log.layer))
        const headers: Array<Metadata.Metadata> = []
        const answers = yield* messages(
          client.echoServerStream({}, { onHeaders: (metadata) => headers.push(metadata) })
        )
        expect(answers).toEqual(["1", "2"])
        expect(headers.map(keys)).toEqual([[]])
        expect(log.lines.filter(({ level }) => level === "WARN")).toEqual([
          expect.objectContaining({ text: expect.stringContaining("/echo.v1.EchoService/EchoServerStream") })
        ])
      })

      test("comes with an error too", function* () {
        const { client } = yield* serveEcho(
          Transport.handlers(EchoService, {
            ...echo,
            echo: (_, call) =>
              Effect.zipRight(
                Effect.all([call.setHeaders({ "x-head": "1" }), call.setTrailers({ "x-set": "2" })]),
                new NotFound({ message: "no", metadata: Metadata.make({ "x-own": "3", "x-own-bin": bytes }) })
              )
          })
        )
        const headers: Array<Metadata.Metadata> = []
        const trailers: Array<Metadata.Metadata> = []
        const error = yield* Effect.flip(
          client.echo(
            {},
            {
              onHeaders: (metadata) => headers.push(metadata),
              onTrailers: (metadata) => trailers.push(metadata)
            }
          )
        )
        expect(error).toBeInstanceOf(NotFound)
        expect(headers.map(keys)).toEqual([["x-head"]])
        expect(trailers.map(keys)).toEqual([["x-own", "x-own-bin", "x-set"]])
        const { metadata } = error as NotFound
        expect(keys(metadata)).toEqual(["x-own", "x-own-bin", "x-set"])
        expect(Metadata.getAll(metadata, "x-own-bin")).toEqual(bytes)
      })

      test("that can't travel is InvalidArgument, and no call is made", function* () {
        const handler = yield* follow
        const { client, listener } = yield* serveEcho(
          Transport.handlers(EchoService, {
            ...echo,
            echo: () => handler.run(Effect.succeed({})),
            echoBidi: () => Stream.drain(Stream.fromEffect(handler.run(Effect.void)))
          })
        )
        for (const metadata of [
          { "grpc-timeout": "1S" },
          { "bad key": "x" },
          { "x-text": "ü" },
          { "x-raw-bin": "text" },
          { "x-text": Uint8Array.of(1) }
        ]) {
          const error = { _tag: "InvalidArgument", code: 3, peer: listener.target }
          expect(yield* Effect.flip(client.echo({}, { metadata }))).toMatchObject({ ...error, method: echoPath })
          expect(yield* Effect.flip(Stream.runDrain(client.echoBidi(Stream.never, { metadata })))).toMatchObject(error)
        }
        expect(yield* handler.isStarted).toBe(false)
      })

      test("that is too large is ResourceExhausted, and the connection goes on", function* () {
        const { client, listener } = yield* serveEcho(Transport.handlers(EchoService, echo))
        const metadata = { "x-large": "x".repeat(20 * 1024) }
        expect(yield* Effect.flip(client.echo({}, { metadata }))).toMatchObject({
          _tag: "ResourceExhausted",
          code: 8,
          peer: listener.target,
          method: echoPath
        })
        expect(yield* Effect.flip(Stream.runDrain(client.echoBidi(Stream.never, { metadata })))).toMatchObject({
          _tag: "ResourceExhausted"
        })
        const fits = { "x-large": "x".repeat(10 * 1024) }
        expect((yield* client.echo({ message: "fits" }, { metadata: fits })).message).toBe("fits")
      })

      test("that a handler may not send makes the call Internal", function* () {
        const log = yield* captureLog
        const { client } = yield* serveEcho(
          Transport.handlers(EchoService, {
            ...echo,
            echo: (_, call) => Effect.as(call.setHeaders({ "grpc-status": "0" }), {}),
            echoClientStream: (_, call) => Effect.as(call.setTrailers({ "x-text": "ü" }), {})
          })
        ).pipe(Effect.provide(log.layer))
        expect(yield* Effect.flip(client.echo({}))).toMatchObject({ _tag: "Internal" })
        expect(yield* Effect.flip(client.echoClientStream(Stream.empty))).toMatchObject({ _tag: "Internal" })
        expect(log.lines.map(({ text }) => text).join("\n")).toContain("grpc-status")
      })
    })

    metadataSuite({ test, withOptions, manyResponseFields: options.manyResponseFields ?? true })

    describe("errors", () => {
      const text = "naïve 100% \n\t%41 日本語 🚀\r\nend"
      const details = [
        ErrorDetails.pack(ErrorDetails.ErrorInfo, { reason: "BUSY", domain: "test", metadata: { ключ: text } }),
        ErrorDetails.pack(ErrorDetails.RetryInfo, { retryDelay: { seconds: 2n, nanos: 5 } })
      ]
      const proof = Uint8Array.of(0, 255)

      test("each of the 16 statuses arrives as it was raised", function* () {
        const fail = ({ repeat }: EchoRequest) =>
          Effect.fail(
            TransportError.fromCode(repeat, {
              message: text,
              metadata: Metadata.make({ "x-proof-bin": proof }),
              details,
              cause: new Error("only known here")
            })
          )
        const { client, listener } = yield* serveEcho(
          Transport.handlers(EchoService, {
            ...echo,
            echo: fail,
            echoServerStream: (request) => Stream.fromEffect(fail(request))
          })
        )
        for (const [key, clazz] of Object.entries(TransportError.statusErrors)) {
          const code = Number(key)
          for (const [path, call] of [
            [echoPath, client.echo({ repeat: code })],
            ["/echo.v1.EchoService/EchoServerStream", Stream.runDrain(client.echoServerStream({ repeat: code }))]
          ] as const) {
            const error = yield* Effect.flip(call)
            expect(error).toBeInstanceOf(clazz)
            expect(error).toMatchObject({ code, message: text, peer: listener.target, method: path })
            expect(error.cause).toBeUndefined()
            if (!TransportError.isStatusError(error)) {
              throw error
            }
            expect(error.metadata.entries).toEqual([["x-proof-bin", proof]])
            expect(error.details).toEqual(details)
            expect(Option.getOrThrow(ErrorDetails.get(error, ErrorDetails.RetryInfo)).retryDelay).toMatchObject({
              seconds: 2n,
              nanos: 5
            })
            if (error._tag === "Unavailable" || error._tag === "Cancelled") {
              expect(error.processed).toBe("unknown")
            }
          }
        }
      })

      test("a status without a message, metadata or details has none", function* () {
        const { client } = yield* serveEcho(
          Transport.handlers(EchoService, { ...echo, echo: () => new PermissionDenied({ message: "" }) })
        )
        const error = yield* Effect.flip(client.echo({}))
        expect(error).toMatchObject({ _tag: "PermissionDenied", message: "", details: [] })
        expect((error as PermissionDenied).metadata.entries).toEqual([])
      })

      test("a status too long to travel loses its text, not its kind", function* () {
        const { client } = yield* serveEcho(
          Transport.handlers(EchoService, {
            ...echo,
            echo: () => new NotFound({ message: "long ".repeat(50_000) }),
            echoServerStream: () =>
              Stream.concat(numbered(2), Stream.fail(new Aborted({ message: "x".repeat(250_000) })))
          })
        )
        expect(yield* Effect.flip(client.echo({}))).toMatchObject({
          _tag: "NotFound",
          message: expect.stringMatching(/^long long/)
        })
        const seen: Array<string> = []
        const error = yield* Effect.flip(
          Stream.runForEach(client.echoServerStream({}), ({ message }) => Effect.sync(() => seen.push(message)))
        )
        expect(error._tag).toBe("Aborted")
        expect(seen).toEqual(upTo(2))
        expect((yield* client.echoClientStream(numbered(1))).message).toBe("1")
      })

      test("any other failure is Internal without its text, which is logged here", function* () {
        const secret = "hunter2"
        const log = yield* captureLog
        const raise = (request: EchoRequest): Effect.Effect<never, unknown> => {
          switch (request.message) {
            case "failure":
              return Effect.fail(new Error(secret))
            case "value":
              return Effect.fail({ _tag: "Internal", code: 13, message: secret, details: [secret] })
            case "defect":
              return Effect.dieMessage(secret)
            case "refusal":
              return new TransportError.HandshakeFailed({ message: secret, reason: "Refused", refusedBy: "remote" })
            default:
              throw new Error(secret)
          }
        }
        const { client } = yield* serveEcho(
          Transport.handlers(EchoService, {
            echo: raise,
            echoServerStream: (request) => Stream.fromEffect(raise(request)),
            echoClientStream: (requests) =>
              Effect.flatMap(Stream.runHead(requests), (first) => raise(Option.getOrThrow(first))),
            echoBidi: (requests) => Stream.mapEffect(requests, raise)
          })
        ).pipe(Effect.provide(log.layer))
        for (const message of ["failure", "value", "defect", "refusal", "throw"]) {
          for (const call of [
            client.echo({ message }),
            Stream.runDrain(client.echoServerStream({ message })),
            client.echoClientStream(Stream.make({ message })),
            Stream.runDrain(client.echoBidi(Stream.make({ message })))
          ]) {
            log.lines.length = 0
            const error = yield* Effect.flip(call)
            expect(error).toBeInstanceOf(Internal)
            expect(error).toMatchObject({ _tag: "Internal", code: 13, details: [] })
            const everything = [inspect(error, { depth: 20, showHidden: true }), JSON.stringify(error), String(error)]
            expect(everything.join("\n")).not.toContain(secret)
            const logged = log.lines.filter(({ level }) => level === "ERROR")
            expect(logged).toHaveLength(1)
            expect(logged[0]?.text).toContain(secret)
          }
        }
      })

      test("a handler that interrupts itself is Cancelled to its caller", function* () {
        const { client } = yield* serveEcho(
          Transport.handlers(EchoService, {
            ...echo,
            echo: () => Effect.interrupt,
            echoServerStream: () => Stream.fromEffect(Effect.interrupt)
          })
        )
        expect(yield* Effect.flip(client.echo({}))).toMatchObject({ _tag: "Cancelled", code: 1 })
        expect(yield* Effect.flip(Stream.runDrain(client.echoServerStream({})))).toMatchObject({ _tag: "Cancelled" })
      })

      test("what was sent before a failure arrives before it", function* () {
        const failing = Stream.concat(numbered(20), Stream.fail(new Aborted({ message: "no more" })))
        const { client } = yield* serveEcho(
          Transport.handlers(EchoService, {
            ...echo,
            echoServerStream: () => failing,
            echoBidi: (requests) => Stream.drain(requests).pipe(Stream.concat(failing))
          })
        )
        for (const stream of [client.echoServerStream({}), client.echoBidi(numbered(3))]) {
          const seen: Array<string> = []
          const error = yield* Effect.flip(
            Stream.runForEach(stream, ({ message }) => Effect.sync(() => seen.push(message)))
          )
          expect(error).toMatchObject({ _tag: "Aborted", message: "no more" })
          expect(seen).toEqual(upTo(20))
        }
      })

      test("a failure of the requests' own ends the call with just that, and interrupts the handler", function* () {
        class OutOfPaper {
          readonly _tag = "OutOfPaper"
        }
        const failure = new OutOfPaper()
        for (const shape of ["clientStreaming", "bidiStreaming"] as const) {
          const handler = yield* follow
          const { client } = yield* serveEcho(
            Transport.handlers(EchoService, {
              ...echo,
              echoClientStream: (requests) => Effect.as(handler.run(Stream.runDrain(requests)), {}),
              echoBidi: (requests) => Stream.drain(Stream.fromEffect(handler.run(Stream.runDrain(requests))))
            })
          )
          const requests = Stream.concat(numbered(3), Stream.fail(failure)).pipe(
            // Only a handler that has started can be interrupted.
            Stream.tap(({ message }) => (message === "3" ? handler.started : Effect.void))
          )
          const call =
            shape === "clientStreaming" ? client.echoClientStream(requests) : Stream.runDrain(client.echoBidi(requests))
          expect(yield* Effect.flip(call)).toBe(failure)
          expect(yield* handler.ended).toBe("interrupted")
        }
      })

      test("a defect of the requests is a defect of the call", function* () {
        const { client } = yield* serveEcho(Transport.handlers(EchoService, echo))
        const exit = yield* Effect.exit(client.echoClientStream(Stream.concat(numbered(2), Stream.dieMessage("oops"))))
        expect(Exit.isFailure(exit) && Cause.isDie(exit.cause) && Cause.pretty(exit.cause)).toContain("oops")
      })
    })

    describe("deadlines", () => {
      const near = (deadline: Deadline.Deadline, expected: number) => {
        expect(deadline).toBeGreaterThan(expected - 500)
        expect(deadline).toBeLessThan(expected + 1500)
      }

      /** A listener whose handlers tell the deadline they were given. */
      const deadlines = Effect.gen(function* () {
        const seen = yield* Queue.unbounded<Deadline.Deadline>()
        const see = (call: Transport.Call) => Queue.offer(seen, call.deadline)
        const handlers = Transport.handlers(EchoService, {
          ...echo,
          echo: (_, call) => Effect.as(see(call), {}),
          echoServerStream: (_, call) => Stream.drain(Stream.fromEffect(see(call)))
        })
        return { handlers, seen: soon(Queue.take(seen)) }
      })

      test("the caller gives up when the time is over, and the handler is interrupted", function* () {
        const unary = yield* follow
        const streaming = yield* follow
        const { client, listener } = yield* serveEcho(
          Transport.handlers(EchoService, {
            ...echo,
            echo: () => unary.run(Effect.never),
            echoBidi: () => Stream.fromEffect(streaming.run(Effect.never))
          })
        )
        for (const [handler, path, call] of [
          [unary, echoPath, client.echo({}, { timeout: "100 millis" })],
          [
            streaming,
            "/echo.v1.EchoService/EchoBidi",
            Stream.runDrain(client.echoBidi(Stream.never, { timeout: "100 millis" }))
          ]
        ] as const) {
          const [elapsed, error] = yield* Effect.timed(Effect.flip(call))
          expect(error).toBeInstanceOf(DeadlineExceeded)
          expect(error).toMatchObject({ code: 4, peer: listener.target, method: path })
          expect(Duration.toMillis(elapsed)).toBeGreaterThan(90)
          expect(Duration.toMillis(elapsed)).toBeLessThan(1000)
          expect(yield* handler.ended).toBe("interrupted")
        }
      })

      test("a stream that goes on past its deadline ends there", function* () {
        const seen: Array<string> = []
        const handler = yield* follow
        const { client } = yield* serveEcho(
          Transport.handlers(EchoService, {
            ...echo,
            echoServerStream: () => Stream.concat(numbered(3), Stream.fromEffect(handler.run(Effect.never)))
          })
        )
        const error = yield* client.echoServerStream({}, { timeout: "200 millis" }).pipe(
          Stream.runForEach(({ message }) => Effect.sync(() => seen.push(message))),
          Effect.flip
        )
        expect(error).toMatchObject({ _tag: "DeadlineExceeded" })
        expect(seen).toEqual(upTo(3))
        expect(yield* handler.ended).toBe("interrupted")
      })

      test("the handler knows when the caller stops waiting", function* () {
        const { handlers, seen } = yield* deadlines
        const { client } = yield* serveEcho(handlers)
        const now = yield* Clock.currentTimeMillis
        yield* client.echo({}, { timeout: "5 seconds" })
        near(yield* seen, now + 5_000)
        yield* Stream.runDrain(client.echoServerStream({}, { timeout: "6 minutes" }))
        near(yield* seen, now + 360_000)
      })

      test("a call that names no timeout has its client's, or the transport's", function* () {
        const { handlers, seen } = yield* deadlines
        const listener = yield* Transport.listen([handlers])
        const plain = yield* Transport.client(EchoService, listener.target)
        const patient = yield* Transport.client(EchoService, listener.target, { timeout: "4 minutes" })
        const other = yield* withOptions({ defaultTimeout: "9 seconds" })(
          Transport.client(EchoService, listener.target)
        )
        const now = yield* Clock.currentTimeMillis
        yield* plain.echo({})
        near(yield* seen, now + 30_000)
        yield* patient.echo({})
        near(yield* seen, now + 240_000)
        yield* patient.echo({}, { timeout: "8 seconds" })
        near(yield* seen, now + 8_000)
        yield* other.echo({})
        near(yield* seen, now + 9_000)
      })

      test("an infinite timeout leaves a unary call 5 minutes, and sets a stream no deadline", function* () {
        const { handlers, seen } = yield* deadlines
        const { client } = yield* serveEcho(handlers)
        const now = yield* Clock.currentTimeMillis
        yield* client.echo({}, { timeout: Duration.infinity })
        near(yield* seen, now + 300_000)
        yield* client.echo({}, { timeout: "6 minutes" })
        near(yield* seen, now + 300_000)
        yield* Stream.runDrain(client.echoServerStream({}, { timeout: Duration.infinity }))
        expect(yield* seen).toBe(Number.POSITIVE_INFINITY)
      })

      test("a listener's limit holds for both, and an earlier deadline of the caller's counts", function* () {
        const { handlers, seen } = yield* deadlines
        const { client } = yield* withOptions({ maxCallDuration: "1 minute" })(serveEcho(handlers))
        const now = yield* Clock.currentTimeMillis
        yield* client.echo({}, { timeout: Duration.infinity })
        near(yield* seen, now + 60_000)
        yield* Stream.runDrain(client.echoServerStream({}, { timeout: "2 minutes" }))
        near(yield* seen, now + 60_000)
        yield* client.echo({}, { timeout: "10 seconds" })
        near(yield* seen, now + 10_000)
        const unlimited = yield* withOptions({ maxCallDuration: Duration.infinity })(serveEcho(handlers))
        yield* unlimited.client.echo({}, { timeout: Duration.infinity })
        expect(yield* seen).toBe(Number.POSITIVE_INFINITY)
      })

      test("calls without a deadline don't hold the places of a connection for ever", function* () {
        const count = 100
        let interrupted = 0
        const never = Effect.onInterrupt(Effect.never, () => Effect.sync(() => (interrupted += 1)))
        const { client, listener } = yield* withOptions({ maxCallDuration: "1 second", maxConcurrentStreams: count })(
          serveEcho(
            Transport.handlers(EchoService, {
              ...echo,
              echo: ({ message }) => (message === "never" ? never : Effect.succeed({ message })),
              echoBidi: () => Stream.fromEffect(never)
            })
          )
        )
        const calls = yield* Effect.forEach(
          Array.from({ length: count }, (_, i) => i),
          (i) =>
            Effect.fork(
              Effect.flip(
                i % 2 === 0
                  ? client.echo({ message: "never" }, { timeout: Duration.infinity })
                  : Stream.runDrain(client.echoBidi(Stream.never, { timeout: "1 hour" }))
              )
            )
        )
        expect((yield* within(client.echo({ message: "next" }), "5 seconds")).message).toBe("next")
        for (const error of yield* Effect.forEach(calls, Fiber.join)) {
          expect(error).toMatchObject({ _tag: "DeadlineExceeded", peer: listener.target })
          expect(error.message).toContain("maxCallDuration")
        }
        yield* eventually(Effect.sync(() => expect(interrupted).toBe(count)))
      })

      test("where the time is over already, no call is made", function* () {
        const handler = yield* follow
        const { client, listener } = yield* serveEcho(
          Transport.handlers(EchoService, {
            ...echo,
            echo: () => handler.run(Effect.succeed({})),
            echoBidi: () => Stream.drain(Stream.fromEffect(handler.run(Effect.void)))
          })
        )
        for (const call of [
          client.echo({}, { timeout: 0 }),
          Stream.runDrain(client.echoBidi(Stream.never, { timeout: 0 }))
        ]) {
          expect(yield* Effect.flip(call)).toMatchObject({ _tag: "DeadlineExceeded", peer: listener.target })
        }
        expect((yield* client.echoClientStream(Stream.empty)).index).toBe(0)
        expect(yield* handler.isStarted).toBe(false)
      })

      test("a handler's own calls end no later than the call that it handles, unless it says so", function* () {
        const { handlers, seen } = yield* deadlines
        const last = yield* serveEcho(handlers)
        const relay = yield* serveEcho(
          Transport.handlers(EchoService, {
            ...echo,
            echo: (request) =>
              last.client.echo(
                request,
                request.message === "shorter"
                  ? { timeout: "2 seconds" }
                  : { timeout: "1 minute", inheritDeadline: request.message === "inherit" }
              ),
            echoServerStream: () => Stream.as(last.client.echoServerStream({}), {})
          })
        )
        const now = yield* Clock.currentTimeMillis
        yield* relay.client.echo({ message: "inherit" }, { timeout: "9 seconds" })
        near(yield* seen, now + 9_000)
        yield* Stream.runDrain(relay.client.echoServerStream({}, { timeout: "8 seconds" }))
        near(yield* seen, now + 8_000)
        yield* relay.client.echo({ message: "shorter" }, { timeout: "9 seconds" })
        near(yield* seen, now + 2_000)
        yield* relay.client.echo({ message: "do not" }, { timeout: "9 seconds" })
        near(yield* seen, now + 60_000)
        yield* relay.client.echo({ message: "inherit" }, { timeout: Duration.infinity })
        near(yield* seen, now + 60_000)
      })
    })

    describe("cancellation", () => {
      test("interrupting the caller interrupts the handler, of every shape", function* () {
        const handlers = yield* Effect.all({
          unary: follow,
          serverStreaming: follow,
          clientStreaming: follow,
          bidiStreaming: follow
        })
        const { client } = yield* serveEcho(
          Transport.handlers(EchoService, {
            echo: () => handlers.unary.run(Effect.never),
            echoServerStream: () =>
              Stream.concat(numbered(2), Stream.fromEffect(handlers.serverStreaming.run(Effect.never))),
            echoClientStream: (requests) => Effect.as(handlers.clientStreaming.run(Stream.runDrain(requests)), {}),
            echoBidi: () => Stream.fromEffect(handlers.bidiStreaming.run(Effect.never))
          })
        )
        const calls = {
          unary: client.echo({}),
          serverStreaming: Stream.runDrain(client.echoServerStream({})),
          clientStreaming: client.echoClientStream(Stream.never),
          bidiStreaming: Stream.runDrain(client.echoBidi(Stream.never))
        }
        for (const shape of ["unary", "serverStreaming", "clientStreaming", "bidiStreaming"] as const) {
          const fiber = yield* Effect.fork(calls[shape])
          yield* handlers[shape].started
          const exit = yield* soon(Fiber.interrupt(fiber))
          expect(Exit.isFailure(exit) && Cause.isInterruptedOnly(exit.cause)).toBe(true)
          // Not "succeeded": requests that were broken off must not look as if they had come to their end.
          expect(yield* handlers[shape].ended).toBe("interrupted")
        }
      })

      test("a call that is interrupted in the turn in which it began is cancelled at the peer, or never gets there", function* () {
        const counts = { started: 0, interrupted: 0 }
        const handler = Effect.zipRight(
          Effect.sync(() => {
            counts.started += 1
          }),
          Effect.onInterrupt(Effect.never, () =>
            Effect.sync(() => {
              counts.interrupted += 1
            })
          )
        )
        const { client } = yield* serveEcho(
          Transport.handlers(EchoService, {
            echo: ({ message }) => (message === "good" ? Effect.succeed({ message }) : handler),
            echoServerStream: () => Stream.fromEffect(handler),
            echoClientStream: (requests) => Effect.zipRight(Stream.runDrain(Stream.take(requests, 1)), handler),
            echoBidi: () => Stream.fromEffect(handler)
          })
        )
        const run = Runtime.runFork(yield* Effect.runtime())
        const { value: before } = yield* Metric.value(TransportMetrics.callsInFlight)
        const calls: ReadonlyArray<Effect.Effect<unknown, unknown>> = [
          client.echo({}),
          Stream.runDrain(client.echoServerStream({})),
          client.echoClientStream(Stream.concat(numbered(1), Stream.never)),
          Stream.runDrain(client.echoBidi(Stream.never))
        ]
        for (const turns of [Effect.void, Effect.promise(() => Promise.resolve())]) {
          for (let i = 0; i < 300; i++) {
            const fiber = run(calls[i % calls.length] as Effect.Effect<unknown, unknown>)
            fiber.unsafeInterruptAsFork(FiberId.none)
            yield* turns
          }
          expect((yield* within(client.echo({ message: "good" }), "5 seconds")).message).toBe("good")
        }
        yield* eventually(
          Effect.gen(function* () {
            expect(counts.interrupted).toBe(counts.started)
            expect((yield* Metric.value(TransportMetrics.callsInFlight)).value).toBe(before)
          }),
          "5 seconds"
        )
      })

      test("a handler that cleans up slowly does not hold up the caller that gave up", function* () {
        const handler = yield* follow
        const latch = yield* Deferred.make<void>()
        const { client } = yield* serveEcho(
          Transport.handlers(EchoService, {
            ...echo,
            echo: () => handler.run(Effect.onInterrupt(Effect.never, () => Deferred.await(latch)))
          })
        )
        const fiber = yield* Effect.fork(client.echo({}))
        yield* handler.started
        yield* soon(Fiber.interrupt(fiber))
        yield* Deferred.succeed(latch, undefined)
        expect(yield* handler.ended).toBe("interrupted")
      })

      test("a timeout of the caller's own cancels like any interruption", function* () {
        const handler = yield* follow
        const { client } = yield* serveEcho(
          Transport.handlers(EchoService, { ...echo, echo: () => handler.run(Effect.never) })
        )
        const result = yield* Effect.timeoutOption(client.echo({}), "100 millis")
        expect(result).toEqual(Option.none())
        expect(yield* handler.ended).toBe("interrupted")
      })

      test("the loser of a race is cancelled", function* () {
        const handler = yield* follow
        const { client } = yield* serveEcho(
          Transport.handlers(EchoService, {
            ...echo,
            echo: ({ message }) =>
              message === "slow" ? handler.run(Effect.never) : Effect.as(handler.started, { message })
          })
        )
        const answer = yield* Effect.race(client.echo({ message: "slow" }), client.echo({ message: "fast" }))
        expect(answer.message).toBe("fast")
        expect(yield* handler.ended).toBe("interrupted")
      })

      test("a consumer that has enough ends the handler", function* () {
        const server = yield* follow
        const bidi = yield* follow
        const endless = Stream.map(
          Stream.iterate(1, (n) => n + 1),
          (n) => ({ message: String(n) })
        )
        const { client } = yield* serveEcho(
          Transport.handlers(EchoService, {
            ...echo,
            echoServerStream: () => Stream.merge(endless, Stream.fromEffect(server.run(Effect.never))),
            echoBidi: () => Stream.merge(endless, Stream.fromEffect(bidi.run(Effect.never)))
          })
        )
        expect(yield* messages(Stream.take(client.echoServerStream({}), 3))).toEqual(upTo(3))
        expect(yield* server.ended).toBe("interrupted")
        expect(yield* messages(Stream.take(client.echoBidi(Stream.never), 3))).toEqual(upTo(3))
        expect(yield* bidi.ended).toBe("interrupted")
      })

      test("the requests stop when the handler answers early or fails", function* () {
        const { client } = yield* serveEcho(
          Transport.handlers(EchoService, {
            ...echo,
            echoClientStream: (requests) => Effect.as(Stream.runDrain(Stream.take(requests, 1)), { message: "one" }),
            echoBidi: (requests) =>
              Stream.mapEffect(requests, () => Effect.fail(new InvalidArgument({ message: "not that one" })))
          })
        )
        const early = yield* follow
        const failed = yield* follow
        const requests = (sender: Effect.Effect.Success<typeof follow>) =>
          Stream.merge(
            Stream.forever(Stream.make({ payload: payloadOf(1024) })),
            Stream.fromEffect(sender.run(Effect.never))
          )
        expect((yield* client.echoClientStream(requests(early))).message).toBe("one")
        expect(yield* early.ended).toBe("interrupted")
        expect(yield* Effect.flip(Stream.runDrain(client.echoBidi(requests(failed))))).toMatchObject({
          _tag: "InvalidArgument",
          message: "not that one"
        })
        expect(yield* failed.ended).toBe("interrupted")
      })

      test("interrupting a call interrupts the calls that its handler made", function* () {
        const handler = yield* follow
        const last = yield* serveEcho(
          Transport.handlers(EchoService, { ...echo, echo: () => handler.run(Effect.never) })
        )
        const relay = yield* serveEcho(
          Transport.handlers(EchoService, { ...echo, echo: (request) => last.client.echo(request) })
        )
        const fiber = yield* Effect.fork(relay.client.echo({}))
        yield* handler.started
        yield* Fiber.interrupt(fiber)
        expect(yield* handler.ended).toBe("interrupted")
      })
    })

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
          expect(Duration.toMillis(elapsed)).toBeLessThan(1000)
          yield* soon(Fiber.interrupt(fiber))
        }
        // While messages go to and fro as fast as they can, the process still gets to its timers.
        let ticks = 0
        const tick = Effect.sync(() => {
          ticks += 1
        })
        yield* Effect.forkScoped(Effect.forever(Effect.zipRight(Effect.sleep("5 millis"), tick)))
        expect(yield* Stream.runCount(client.echoBidi(Stream.rechunk(numbered(10_000), 1)))).toBe(10_000)
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

    describe("handlers", () => {
      test("know the call, and code below them too", function* () {
        const below = Effect.map(Transport.CurrentCall, (call) => ({ message: call.method }))
        const { client } = yield* serveEcho(
          Transport.handlers(EchoService, {
            echo: (_, call) => Effect.map(Transport.CurrentCall, (current) => ({ message: String(current === call) })),
            echoServerStream: () => Stream.fromEffect(below),
            echoClientStream: () => below,
            echoBidi: (requests) => Stream.mapEffect(requests, () => below)
          })
        )
        expect((yield* client.echo({})).message).toBe("true")
        expect(yield* messages(client.echoServerStream({}))).toEqual(["/echo.v1.EchoService/EchoServerStream"])
        expect((yield* client.echoClientStream(Stream.empty)).message).toBe("/echo.v1.EchoService/EchoClientStream")
        expect(yield* messages(client.echoBidi(numbered(1)))).toEqual(["/echo.v1.EchoService/EchoBidi"])
      })

      test("know who calls", function* () {
        const { client } = yield* serveEcho(
          Transport.handlers(EchoService, {
            ...echo,
            echo: (_, call) => Effect.succeed({ message: call.peer.address })
          })
        )
        expect((yield* client.echo({})).message).not.toBe("")
      })

      test("have what they require, for as long as the listener does", function* () {
        class Store extends Context.Tag("test/Store")<Store, { readonly isOpen: () => boolean }>() {}
        const StoreLive = Layer.scoped(
          Store,
          Effect.gen(function* () {
            let open = true
            yield* Effect.addFinalizer(() =>
              Effect.sync(() => {
                open = false
              })
            )
            return { isOpen: () => open }
          })
        )
        const seen: Array<boolean> = []
        const handler = yield* follow
        const ask = Effect.map(Store, (store) => seen.push(store.isOpen()))
        const handlers: Transport.Handlers<Store> = Transport.handlers(EchoService, {
          ...echo,
          echo: () => Effect.as(ask, {}),
          echoServerStream: () => Stream.fromEffect(handler.run(Effect.never)).pipe(Stream.ensuring(ask))
        })
        const [context, close] = yield* closable(
          Layer.build(Transport.serve([handlers], { gracePeriod: 0 }).pipe(Layer.provide(StoreLive)))
        )
        const client = yield* Transport.client(EchoService, Context.get(context, Transport.Listener).target)
        yield* client.echo({})
        const call = yield* Effect.fork(Effect.flip(Stream.runDrain(client.echoServerStream({}))))
        yield* handler.started
        yield* soon(close)
        expect(yield* handler.ended).toBe("interrupted")
        expect(yield* soon(Fiber.join(call))).toMatchObject({ _tag: "Unavailable" })
        expect(seen).toEqual([true, true])
      })

      test("have a scope of their own for each call", function* () {
        const held = yield* Ref.make(0)
        const hold = Effect.acquireRelease(
          Ref.updateAndGet(held, (n) => n + 1),
          () => Ref.update(held, (n) => n - 1)
        )
        const { client } = yield* serveEcho(
          Transport.handlers(EchoService, {
            ...echo,
            echo: () => Effect.map(hold, (index) => ({ index })),
            echoServerStream: () => Stream.map(Stream.fromEffect(hold), (index) => ({ index }))
          })
        )
        for (let i = 0; i < 3; i++) {
          expect((yield* client.echo({})).index).toBe(1)
          yield* eventually(Effect.map(Ref.get(held), (n) => expect(n).toBe(0)))
          expect(Chunk.toReadonlyArray(yield* Stream.runCollect(client.echoServerStream({})))).toMatchObject([
            { index: 1 }
          ])
          yield* eventually(Effect.map(Ref.get(held), (n) => expect(n).toBe(0)))
        }
      })

      test("release what a call holds when it is given up", function* () {
        const handler = yield* follow
        const released = yield* Deferred.make<Exit.Exit<unknown, unknown>>()
        const hold = Effect.addFinalizer((exit) => Deferred.succeed(released, exit))
        const { client } = yield* serveEcho(
          Transport.handlers(EchoService, { ...echo, echo: () => Effect.zipRight(hold, handler.run(Effect.never)) })
        )
        const fiber = yield* Effect.fork(client.echo({}))
        yield* handler.started
        yield* Fiber.interrupt(fiber)
        expect(Exit.isInterrupted(yield* soon(Deferred.await(released)))).toBe(true)
      })

      test("that have ended are waited for until they have released what they hold", function* () {
        const handler = yield* follow
        const draining = yield* Deferred.make<void>()
        const latch = yield* Deferred.make<void>()
        const [listener, close] = yield* closable(
          Transport.listen(
            [
              Transport.handlers(EchoService, {
                ...echo,
                echo: ({ message }, call) => {
                  const release = Effect.zipRight(call.draining, Deferred.succeed(draining, undefined)).pipe(
                    Effect.zipRight(Deferred.await(latch))
                  )
                  return Effect.as(
                    Effect.addFinalizer(() => handler.run(release)),
                    { message }
                  )
                }
              })
            ],
            { gracePeriod: "10 seconds" }
          )
        )
        const client = yield* Transport.client(EchoService, listener.target)
        const call = yield* Effect.fork(client.echo({ message: "held" }))
        yield* handler.started
        const closing = yield* Effect.fork(close)
        yield* soon(Deferred.await(draining))
        yield* Deferred.succeed(latch, undefined)
        expect((yield* soon(Fiber.join(call))).message).toBe("held")
        expect(yield* handler.ended).toBe("succeeded")
        yield* soon(Fiber.join(closing))
      })

      test("that can't release what they hold are at fault", function* () {
        const { client } = yield* serveEcho(
          Transport.handlers(EchoService, {
            ...echo,
            echo: () =>
              Effect.as(
                Effect.addFinalizer(() => Effect.dieMessage("stuck")),
                {}
              ),
            echoServerStream: () =>
              Stream.as(Stream.fromEffect(Effect.addFinalizer(() => Effect.dieMessage("stuck"))), {})
          })
        )
        for (const call of [client.echo({}), Stream.runDrain(client.echoServerStream({}))]) {
          const error = yield* Effect.flip(call)
          expect(error._tag).toBe("Internal")
          expect(String(error)).not.toContain("stuck")
        }
      })

      test("run in the listener's world, not in the caller's", function* () {
        const ref = yield* FiberRef.make("listener")
        const { client } = yield* serveEcho(
          Transport.handlers(EchoService, {
            ...echo,
            echo: () => Effect.map(FiberRef.get(ref), (message) => ({ message })),
            echoServerStream: () => Stream.map(Stream.fromEffect(FiberRef.get(ref)), (message) => ({ message }))
          })
        )
        const call = Effect.all([client.echo({}), Stream.runHead(client.echoServerStream({}))])
        const [unary, streaming] = yield* Effect.locally(call, ref, "caller")
        expect([unary.message, Option.getOrThrow(streaming).message]).toEqual(["listener", "listener"])
      })

      test("are counted while they run", function* () {
        const handler = yield* follow
        const { client } = yield* serveEcho(
          Transport.handlers(EchoService, { ...echo, echo: () => handler.run(Effect.never) })
        )
        const { value: before } = yield* Metric.value(TransportMetrics.callsInFlight)
        const fiber = yield* Effect.fork(client.echo({}))
        yield* handler.started
        expect((yield* Metric.value(TransportMetrics.callsInFlight)).value).toBe(before + 1)
        yield* Fiber.interrupt(fiber)
      })

      test("continue the trace of their caller", function* () {
        const trace = yield* captureSpans
        yield* Effect.gen(function* () {
          const { client } = yield* serveEcho(Transport.handlers(EchoService, echo))
          yield* Effect.withSpan(client.echo({}), "outer")
          yield* Effect.withSpan(Stream.runDrain(client.echoBidi(numbered(2))), "outer")
        }).pipe(Effect.provide(trace.layer))
        for (const name of ["echo.v1.EchoService/Echo", "echo.v1.EchoService/EchoBidi"]) {
          const [client, server, ...others] = trace.spans.filter((span) => span.name === name)
          expect(others).toEqual([])
          expect([client?.kind, server?.kind]).toEqual(["client", "server"])
          expect(Option.getOrThrow(server?.parent ?? Option.none()).spanId).toBe(client?.spanId)
          expect(server?.traceId).toBe(client?.traceId)
          const parent = Option.getOrThrow(client?.parent ?? Option.none())
          expect(parent._tag === "Span" && parent.name).toBe("outer")
          yield* eventually(Effect.sync(() => expect(server?.status._tag).toBe("Ended")))
          yield* eventually(Effect.sync(() => expect(client?.status._tag).toBe("Ended")))
        }
      })
    })

    describe("listeners", () => {
      test("report the port that the system chose, and log it once", function* () {
        const log = yield* captureLog
        const { client, listener } = yield* serveEcho(Transport.handlers(EchoService, echo)).pipe(
          Effect.provide(log.layer)
        )
        expect(listener.address.host).toBe("127.0.0.1")
        expect(listener.address.port).toBeGreaterThan(0)
        expect(listener.target).toBe(`127.0.0.1:${listener.address.port}`)
        yield* client.echo({})
        const lines = log.lines.filter(({ text }) => text.includes(listener.target))
        expect(lines).toEqual([{ level: "INFO", text: expect.stringContaining("listening") }])
      })

      test("on a port that is taken fail with BindError", function* () {
        const { client, listener } = yield* serveEcho(Transport.handlers(EchoService, echo))
        const again = Transport.listen([], { port: listener.address.port })
        const error: BindError = yield* Effect.flip(again)
        expect(error).toMatchObject({ _tag: "BindError", reason: "AddressInUse", address: listener.target })
        expect((yield* client.echo({ message: "undisturbed" })).message).toBe("undisturbed")
      })

      test("and clients refuse ports that are none", function* () {
        for (const port of [65_536, 70_000, 2 ** 32 + 443, -1, 80.5, Number.NaN, Number.POSITIVE_INFINITY]) {
          expect(yield* Effect.flip(Transport.listen([], { port })), String(port)).toMatchObject({
            _tag: "BindError",
            reason: "InvalidAddress",
            address: `127.0.0.1:${port}`
          })
          expect(yield* Effect.flip(Transport.client(EchoService, `127.0.0.1:${port}`)), String(port)).toMatchObject({
            _tag: "InvalidArgument",
            peer: `127.0.0.1:${port}`
          })
        }
      })

      test("leave their port free when they close", function* () {
        const handlers = [Transport.handlers(EchoService, echo)] as const
        const { address } = yield* Effect.scoped(Transport.listen(handlers))
        const again = yield* Transport.listen(handlers, { port: address.port })
        expect(again.address).toEqual(address)
      })

      test(
        "listen on a unix socket",
        function* () {
          const directory = yield* Effect.acquireRelease(
            Effect.promise(() => Fs.mkdtemp(Path.join(Os.tmpdir(), "transport-"))),
            (directory) => Effect.promise(() => Fs.rm(directory, { recursive: true }))
          )
          const path = Path.join(directory, "node.sock")
          const { client, listener } = yield* serveEcho(Transport.handlers(EchoService, echo), { path })
          expect(listener.target).toBe(`unix:${path}`)
          expect((yield* client.echo({ message: "short way" })).message).toBe("short way")
          expect(yield* Effect.flip(Transport.listen([], { path }))).toMatchObject({
            _tag: "BindError",
            reason: "AddressInUse"
          })
        },
        options.unixSockets ?? true
      )

      test("let calls in flight finish when they close, and take no new ones", function* () {
        const latch = yield* Deferred.make<void>()
        const draining = yield* Deferred.make<void>()
        const handler = yield* follow
        const [listener, close] = yield* closable(
          Transport.listen(
            [
              Transport.handlers(EchoService, {
                ...echo,
                echo: (_, call) =>
                  handler.run(
                    Effect.gen(function* () {
                      yield* call.draining
                      yield* Deferred.succeed(draining, undefined)
                      yield* Deferred.await(latch)
                      return { message: "in time" }
                    })
                  )
              })
            ],
            { gracePeriod: "10 seconds" }
          )
        )
        const client = yield* Transport.client(EchoService, listener.target)
        const call = yield* Effect.fork(client.echo({}))
        yield* handler.started
        const closing = yield* Effect.fork(close)
        yield* soon(Deferred.await(draining))
        expect(yield* Effect.flip(client.echoClientStream(Stream.empty))).toMatchObject({ _tag: "Unavailable" })
        yield* Deferred.succeed(latch, undefined)
        expect((yield* soon(Fiber.join(call))).message).toBe("in time")
        expect(yield* handler.ended).toBe("succeeded")
        yield* soon(Fiber.join(closing))
      })

      test("tell long streams that they close, so that these can end", function* () {
        const [listener, close] = yield* closable(
          Transport.listen([
            Transport.handlers(EchoService, {
              ...echo,
              echoServerStream: (_, call) =>
                Stream.concat(numbered(2), Stream.as(Stream.fromEffect(call.draining), { message: "bye" }))
            })
          ])
        )
        const client = yield* Transport.client(EchoService, listener.target)
        const second = yield* Deferred.make<void>()
        const fiber = yield* client.echoServerStream({}).pipe(
          Stream.tap(({ message }) => (message === "2" ? Deferred.succeed(second, undefined) : Effect.void)),
          messages,
          Effect.fork
        )
        yield* soon(Deferred.await(second))
        yield* soon(close)
        expect(yield* soon(Fiber.join(fiber))).toEqual(["1", "2", "bye"])
      })

      test("interrupt what still runs after the grace period, and its callers get Unavailable", function* () {
        const unary = yield* follow
        const streaming = yield* follow
        const [listener, close] = yield* closable(
          Transport.listen(
            [
              Transport.handlers(EchoService, {
                ...echo,
                echo: () => unary.run(Effect.never),
                echoBidi: () => Stream.fromEffect(streaming.run(Effect.never))
              })
            ],
            { gracePeriod: "100 millis" }
          )
        )
        const client = yield* Transport.client(EchoService, listener.target)
        const calls = yield* Effect.fork(
          Effect.all([Effect.flip(client.echo({})), Effect.flip(Stream.runDrain(client.echoBidi(Stream.never)))], {
            concurrency: 2
          })
        )
        yield* unary.started
        yield* streaming.started
        const [elapsed] = yield* Effect.timed(close)
        expect(Duration.toMillis(elapsed)).toBeGreaterThan(90)
        expect(Duration.toMillis(elapsed)).toBeLessThan(1100)
        expect([yield* unary.ended, yield* streaming.ended]).toEqual(["interrupted", "interrupted"])
        for (const error of yield* soon(Fiber.join(calls))) {
          expect(error).toMatchObject({
            _tag: "Unavailable",
            code: 14,
            processed: "unknown",
            peer: listener.target,
            method: expect.stringMatching("^/echo.v1.EchoService/Echo")
          })
        }
      })

      test("wait no longer for a handler that can't be interrupted", function* () {
        const latch = yield* Deferred.make<void>()
        const handler = yield* follow
        const [listener, close] = yield* closable(
          Transport.listen(
            [
              Transport.handlers(EchoService, {
                ...echo,
                echo: () => Effect.uninterruptible(handler.run(Effect.as(Deferred.await(latch), {})))
              })
            ],
            { gracePeriod: "100 millis" }
          )
        )
        const client = yield* Transport.client(EchoService, listener.target)
        const call = yield* Effect.fork(Effect.flip(client.echo({})))
        yield* handler.started
        yield* within(close, "3 seconds")
        expect(yield* soon(Fiber.join(call))).toMatchObject({ _tag: "Unavailable", peer: listener.target })
        yield* Deferred.succeed(latch, undefined)
      })
    })

    describe("clients", () => {
      test("close, and their listeners too, where what made them could not be interrupted", function* () {
        const [call, close] = yield* closable(
          Effect.uninterruptible(
            Effect.gen(function* () {
              const { target } = yield* Transport.listen([Transport.handlers(EchoService, echo)])
              const { echo: call } = yield* Transport.client(EchoService, target)
              return call
            })
          )
        )
        expect((yield* call({ message: "hello" })).message).toBe("hello")
        yield* within(Effect.interruptible(close), "5 seconds")
      })

      /** A target that nobody listens on. */
      const nobody = Effect.map(Effect.scoped(Transport.listen([])), ({ target }) => target)

      const onPortOf = (target: string) => ({ port: Number(target.slice(target.lastIndexOf(":") + 1)) })

      const opened = Effect.map(Metric.value(TransportMetrics.connectionsOpened), ({ value }) => value)

      test("of nobody fail with Unavailable, and the next try is a new one", function* () {
        const target = yield* nobody
        const connect = Transport.client(EchoService, target)
        const error = yield* Effect.flip(connect)
        expect(error).toBeInstanceOf(Unavailable)
        expect(error).toMatchObject({ code: 14, processed: "no", peer: target })
        yield* Transport.listen([Transport.handlers(EchoService, echo)], onPortOf(target))
        const client = yield* connect
        expect((yield* client.echo({ message: "hello" })).message).toBe("hello")
      })

      test("of a target that can't be read fail with InvalidArgument", function* () {
        for (const target of ["", "nonsense", "127.0.0.1:0", "127.0.0.1:99999", "::1:80", "http://127.0.0.1:80"]) {
          expect(yield* Effect.flip(Transport.client(EchoService, target))).toMatchObject({
            _tag: "InvalidArgument",
            code: 3,
            peer: target
          })
        }
      })

      test("fail their calls while the listener is gone, and go on when it is back", function* () {
        const handlers = [Transport.handlers(EchoService, echo)] as const
        const [listener, close] = yield* closable(Transport.listen(handlers))
        const again = closable(Transport.listen(handlers, onPortOf(listener.target)))
        const client = yield* Transport.client(EchoService, listener.target)
        const call = client.echo({ message: "hello" })
        yield* call
        yield* close
        expect(yield* Effect.flip(call)).toMatchObject({ _tag: "Unavailable", peer: listener.target })
        yield* eventually(
          Effect.map(Effect.orDie(Effect.flip(call)), (error) => expect(error).toMatchObject({ processed: "no" }))
        )
        const [, closeAgain] = yield* again
        const patient = client.echo({ message: "hello" }, { waitForReady: true, timeout: "10 seconds" })
        expect((yield* patient).message).toBe("hello")
        expect((yield* call).message).toBe("hello")
        yield* closeAgain
        expect(yield* Effect.flip(call)).toMatchObject({ _tag: "Unavailable" })
        yield* again
        const retried = Effect.retry(call, {
          while: (error) => error._tag === "Unavailable",
          schedule: Schedule.upTo(Schedule.spaced("20 millis"), "10 seconds")
        })
        expect((yield* retried).message).toBe("hello")
      })

      test("wait for the listener where asked to, up to the deadline", function* () {
        const handlers = [Transport.handlers(EchoService, echo)] as const
        const [listener, close] = yield* closable(Transport.listen(handlers))
        const client = yield* Transport.client(EchoService, listener.target, { waitForReady: true })
        yield* client.echo({})
        yield* close
        const error = yield* Effect.flip(client.echo({}, { timeout: "100 millis" }))
        expect(error).toMatchObject({ _tag: "DeadlineExceeded", peer: listener.target, method: echoPath })
        expect(yield* Effect.flip(client.echo({}, { waitForReady: false }))).toMatchObject({ _tag: "Unavailable" })
        const interrupted = yield* Effect.fork(client.echo({}))
        const waiting = yield* Effect.fork(client.echo({ message: "at last" }, { timeout: "10 seconds" }))
        yield* Effect.yieldNow()
        yield* soon(Fiber.interrupt(interrupted))
        yield* Transport.listen(handlers, onPortOf(listener.target))
        expect((yield* Fiber.join(waiting)).message).toBe("at last")
      })

      test("of a listener that is not up yet are there where asked to wait, and so are their calls", function* () {
        const target = yield* nobody
        const client = yield* Transport.client(EchoService, target, { waitForReady: true })
        expect(yield* Effect.flip(client.echo({}, { timeout: "100 millis" }))).toMatchObject({
          _tag: "DeadlineExceeded",
          peer: target
        })
        expect(yield* Effect.flip(client.echo({}, { waitForReady: false }))).toMatchObject({
          _tag: "Unavailable",
          processed: "no",
          peer: target
        })
        expect(yield* Effect.flip(Transport.client(EchoService, target))).toMatchObject({ _tag: "Unavailable" })
        const unary = yield* Effect.fork(client.echo({ message: "at last" }))
        const streamed = yield* Effect.fork(messages(client.echoBidi(numbered(2))))
        yield* Effect.yieldNow()
        yield* Transport.listen([Transport.handlers(EchoService, echo)], onPortOf(target))
        expect((yield* within(Fiber.join(unary), "5 seconds")).message).toBe("at last")
        expect(yield* Fiber.join(streamed)).toEqual(upTo(2))
        const eager = yield* Transport.client(EchoService, target)
        expect((yield* eager.echo({ message: "too" })).message).toBe("too")
      })

      test("that close end their calls", function* () {
        const unary = yield* follow
        const streaming = yield* follow
        const listener = yield* Transport.listen([
          Transport.handlers(EchoService, {
            ...echo,
            echo: () => unary.run(Effect.never),
            echoServerStream: () => Stream.fromEffect(streaming.run(Effect.never))
          })
        ])
        const [client, close] = yield* closable(Transport.client(EchoService, listener.target))
        const calls = yield* Effect.fork(
          Effect.all([Effect.flip(client.echo({})), Effect.flip(Stream.runDrain(client.echoServerStream({})))], {
            concurrency: 2
          })
        )
        yield* unary.started
        yield* streaming.started
        yield* soon(close)
        for (const error of yield* soon(Fiber.join(calls))) {
          expect(error).toBeInstanceOf(Cancelled)
          expect(error).toMatchObject({ code: 1, peer: listener.target })
        }
        expect([yield* unary.ended, yield* streaming.ended]).toEqual(["interrupted", "interrupted"])
        expect(yield* Effect.flip(client.echoClientStream(Stream.empty))).toMatchObject({
          _tag: "Cancelled",
          processed: "no",
          peer: listener.target
        })
      })

      test("say of calls that still waited when their connection ended that they did not run", function* () {
        const handler = yield* follow
        const [listener, close] = yield* closable(
          withOptions({ maxConcurrentStreams: 1 })(
            Transport.listen([Transport.handlers(EchoService, { ...echo, echo: () => handler.run(Effect.never) })], {
              gracePeriod: 0
            })
          )
        )
        const client = yield* Transport.client(EchoService, listener.target)
        const running = yield* Effect.fork(Effect.flip(client.echo({})))
        yield* handler.started
        const waiting = yield* Effect.forEach(
          [client.echo({}), client.echoClientStream(numbered(1)), Stream.runDrain(client.echoBidi(numbered(1)))],
          (call) => Effect.fork(Effect.flip(call))
        )
        // Each has asked for its place.
        yield* Effect.repeatN(Effect.yieldNow(), 10)
        yield* close
        expect(yield* soon(Fiber.join(running))).toMatchObject({ _tag: "Unavailable", processed: "unknown" })
        for (const call of waiting) {
          expect(yield* soon(Fiber.join(call))).toMatchObject({ _tag: "Unavailable", processed: "no" })
        }
      })

      test("of one peer share one connection", function* () {
        const listener = yield* Transport.listen([
          Transport.handlers(EchoService, echo),
          Transport.handlers(Shout, { shout: (text) => Effect.succeed(text.toUpperCase()) })
        ])
        const before = yield* opened
        const [first, closeFirst] = yield* closable(Transport.client(EchoService, listener.target))
        const [[second, third], closeOthers] = yield* closable(
          Effect.all([Transport.client(EchoService, listener.target), Transport.client(Shout, listener.target)], {
            concurrency: 2
          })
        )
        expect((yield* first.echo({ message: "first" })).message).toBe("first")
        expect((yield* second.echo({ message: "second" })).message).toBe("second")
        expect(yield* third.shout("third")).toBe("THIRD")
        expect(yield* opened).toBe(before + 1)
        yield* closeFirst
        expect((yield* second.echo({ message: "still" })).message).toBe("still")
        expect(yield* opened).toBe(before + 1)
        yield* closeOthers
        yield* eventually(Effect.map(opened, (now) => expect(now).toBe(before)))
      })

      test("of several peers reach each its own", function* () {
        const before = yield* opened
        const nodes = yield* Effect.forEach(["a", "b", "c"], (message) =>
          serveEcho(Transport.handlers(EchoService, { ...echo, echo: () => Effect.succeed({ message }) }))
        )
        const answers = yield* Effect.forEach(nodes, ({ client }) => client.echo({}), { concurrency: 3 })
        expect(answers.map(({ message }) => message)).toEqual(["a", "b", "c"])
        expect(yield* opened).toBe(before + 3)
      })
    })
  })
}
