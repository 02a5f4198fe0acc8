import { describe, expect, it } from "@effect/vitest"
import * as FastCheck from "effect/FastCheck"
import * as GrpcMessage from "../../../src/protocol/grpc/GrpcMessage.js"

/** Messages as they are sent, one behind the other. */
const framed = (messages: ReadonlyArray<Uint8Array>): Buffer =>
  Buffer.concat(
    messages.flatMap((message) => {
      const prefix = Buffer.alloc(GrpcMessage.prefixSize)
      GrpcMessage.writePrefix(prefix, 0, message.length)
      return [prefix, message]
    })
  )

/** What a decoder makes of bytes that come in pieces of these sizes, and then in one. */
const decode = (bytes: Buffer, sizes: ReadonlyArray<number>, limit: number) => {
  const messages: Array<Uint8Array> = []
  const broken: Array<string> = []
  const call = Symbol("call")
  const hear =
    <A>(heard: Array<A>) =>
    (what: A, of: symbol) => {
      expect(of).toBe(call)
      heard.push(what)
    }
  const events = { onMessage: hear(messages), onBroken: hear(broken) }
  const decoder = GrpcMessage.makeDecoder(limit)
  let at = 0
  for (const size of [...sizes, bytes.length]) {
    const chunk = Buffer.from(bytes.subarray(at, at + size))
    at += chunk.length
    GrpcMessage.receive(decoder, events, call, chunk)
    // Nothing of a chunk is kept.
    chunk.fill(0xff)
  }
  return { messages, broken, isMidMessage: GrpcMessage.isMidMessage(decoder) }
}

const message = FastCheck.uint8Array({ maxLength: 300 })
const sizes = FastCheck.array(FastCheck.integer({ min: 1, max: 40 }), { maxLength: 30 })

describe("gRPC's messages", () => {
  it("come out as they went in, however they are cut", () => {
    FastCheck.assert(
      FastCheck.property(FastCheck.array(message, { maxLength: 5 }), sizes, (messages, sizes) => {
        expect(decode(framed(messages), sizes, 300)).toEqual({ messages, broken: [], isMidMessage: false })
      })
    )
  })

  it("that end early are known to have begun", () => {
    FastCheck.assert(
      FastCheck.property(message, FastCheck.nat(), (message, n) => {
        const bytes = framed([message])
        const missing = 1 + (n % (bytes.length - 1))
        expect(decode(bytes.subarray(0, -missing), [], 300)).toEqual({ messages: [], broken: [], isMidMessage: true })
      })
    )
  })

  it.each([
    ["TooLarge", framed([new Uint8Array(11)])],
    ["TooLarge", Buffer.from([0, 0xff, 0xff, 0xff, 0xff])],
    ["Compressed", Buffer.from([1, 0, 0, 0, 0])]
  ])("%s is told once, and nothing behind it is heard", (why, bytes) => {
    const first = Uint8Array.of(1, 2, 3)
    const all = Buffer.concat([framed([first]), bytes, framed([first])])
    for (const sizes of [[], [1, 1, 1], [8, 5, 2]]) {
      expect(decode(all, sizes, 10)).toMatchObject({ messages: [first], broken: [why] })
    }
  })

  it("longer than the first room come whole", () => {
    const long = Uint8Array.from({ length: 300_000 }, (_, i) => i)
    const { messages } = decode(framed([long]), [70_000, 1, 100_000], 300_000)
    expect(messages.map((message) => Buffer.compare(message, long))).toEqual([0])
  })
})
