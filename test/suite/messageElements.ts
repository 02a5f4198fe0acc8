/** Elements of messages: each costs far more memory than its bytes, so that their number has a limit. */
import type { DescMessage } from "@bufbuild/protobuf"
import { ListValueSchema, SourceCodeInfo_LocationSchema, StructSchema } from "@bufbuild/protobuf/wkt"
import { describe, expect } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Stream from "effect/Stream"
import { type Method, Service, Transport, type TransportOptions } from "effect-transport"
import { EchoService, echo, goesOn } from "./fixtures/echo.js"
import { codec } from "./fixtures/text.js"
import { EchoRequestSchema } from "./gen/echo/v1/echo_pb.js"
import type { Suite } from "./harness.js"

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

export const messageElements = ({ test, withOptions }: Suite): void => {
  describe("messages", () => {
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
  })
}
