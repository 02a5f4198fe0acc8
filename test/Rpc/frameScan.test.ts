import * as RpcSerialization from "@effect/rpc/RpcSerialization"
import { describe, expect, it } from "@effect/vitest"
import * as Either from "effect/Either"
import * as FastCheck from "effect/FastCheck"
import type * as FrameScan from "../../src/Rpc/internal/frameScan.js"
import * as Frames from "../../src/Rpc/internal/frames.js"
import * as JsonScan from "../../src/Rpc/internal/jsonScan.js"
import * as MsgPackScan from "../../src/Rpc/internal/msgPackScan.js"

const limits: FrameScan.Limits = { maxFrameSize: 1024 * 1024, maxFrameElements: 65_536 }

const text = new TextEncoder()

const encodeWith = (serialization: RpcSerialization.RpcSerialization["Type"], value: unknown): Uint8Array => {
  const encoded = serialization.unsafeMake().encode(value)
  return typeof encoded === "string" ? text.encode(encoded) : (encoded ?? new Uint8Array(0))
}

const msgPack = (value: unknown) => encodeWith(RpcSerialization.msgPack, value)

/** The verdict on bytes that are all there is. */
const scan = (scan: FrameScan.Scan, bytes: Uint8Array) => scan.next(bytes, 0, bytes.length)

const repeat = (bytes: ReadonlyArray<number>, times: number) =>
  Uint8Array.from({ length: bytes.length * times }, (_, i) => bytes[i % bytes.length] ?? 0)

/** All values that msgpackr takes, none too many or too deep. */
const value = FastCheck.letrec<{ value: unknown }>((tie) => ({
  value: FastCheck.oneof(
    { maxDepth: 6, depthSize: "small" },
    FastCheck.constantFrom(null, true, false, undefined, 64, 127, 128, -1, -33, 0.5, 1e300),
    FastCheck.integer(),
    FastCheck.bigInt({ min: -(2n ** 63n), max: 2n ** 64n - 1n }),
    FastCheck.double(),
    FastCheck.fullUnicodeString({ maxLength: 300 }),
    FastCheck.uint8Array({ maxLength: 300 }).map((bytes) => Buffer.from(bytes)),
    FastCheck.date(),
    FastCheck.array(tie("value"), { maxLength: 20 }),
    FastCheck.dictionary(FastCheck.string({ maxLength: 40 }), tie("value"), { maxKeys: 8 }),
    FastCheck.array(FastCheck.tuple(FastCheck.string(), tie("value")), { maxLength: 4 }).map((all) => new Map(all))
  )
})).value

const kinds: Record<string, RpcSerialization.RpcSerialization["Type"]> = {
  records: RpcSerialization.msgPack,
  maps: RpcSerialization.makeMsgPack({ useRecords: false }),
  "all types": RpcSerialization.makeMsgPack({ moreTypes: true }),
  "maps as small as they can be": RpcSerialization.makeMsgPack({ useRecords: false, variableMapSize: true })
}

describe("frames of MessagePack, before they are decoded", () => {
  for (const [kind, serialization] of Object.entries(kinds)) {
    it(`what msgpackr encodes is accepted, with ${kind}, and ends where the next begins`, () => {
      FastCheck.assert(
        FastCheck.property(FastCheck.array(value, { minLength: 1, maxLength: 4 }), (values) => {
          const frames = values.map((each) => encodeWith(serialization, each))
          const bytes = Buffer.concat(frames)
          const walker = MsgPackScan.make(limits)
          let start = 0
          for (const frame of frames) {
            expect(walker.next(bytes, start, bytes.length)).toBe(frame.length)
            start += frame.length
          }
        }),
        { numRuns: 300 }
      )
    })
  }

  it("a frame in pieces ends where it does in one", () => {
    FastCheck.assert(
      FastCheck.property(value, FastCheck.boolean(), (each, isRecord) => {
        const bytes = encodeWith(isRecord ? RpcSerialization.msgPack : RpcSerialization.makeMsgPack({}), each)
        const walker = MsgPackScan.make(limits)
        for (let end = 1; end < bytes.length; end++) {
          expect(walker.next(bytes, 0, end)).toBe(0)
        }
        expect(walker.next(bytes, 0, bytes.length)).toBe(bytes.length)
      }),
      { numRuns: 300 }
    )
  })

  it("any bytes give a verdict, and what is accepted decodes to one frame, or is malformed, in bounded memory", () => {
    const tokens = FastCheck.constantFrom(...[0x40, 0x41, 0x80, 0x81, 0x90, 0x91, 0x93, 0xa1, 0xc1, 0xc4, 0xc7, 0xc8])
    const more = FastCheck.constantFrom(
      ...[0xd4, 0xd5, 0xd6, 0xdc, 0xdd, 0xde, 0xdf, 0x72, 0x65, 0x73, 0x78, 0x42, 0x62]
    )
    const bytes = FastCheck.array(FastCheck.oneof(tokens, more, FastCheck.integer({ min: 0, max: 255 })), {
      minLength: 1,
      maxLength: 60
    })
    const decoder = RpcSerialization.msgPack
    FastCheck.assert(
      FastCheck.property(bytes, (all) => {
        const input = Uint8Array.from(all)
        const found = scan(MsgPackScan.make(limits), input)
        if (typeof found === "number" && found > 0) {
          expect(found).toBeLessThanOrEqual(input.length)
          try {
            expect(decoder.unsafeMake().decode(input.subarray(0, found)).length).toBeLessThanOrEqual(1)
          } catch (cause) {
            expect(String(cause)).not.toContain("AssertionError")
          }
        }
      }),
      { numRuns: 20_000 }
    )
  })

  it.each([
    ["an array of 2^25", [0xdd, 0x01, 0xff, 0xff, 0xff]],
    ["arrays of 65,536 in one another", Array.from(repeat([0xdc, 0xff, 0xff], 24))],
    ["a map of 2^31", [0xdf, 0x80, 0, 0, 0]],
    ["a record of 2^28 names", [0xd4, 0x72, 0x40, 0xdd, 0x10, 0, 0, 0]],
    ["a Set of 2^28", [0xd4, 0x73, 0, 0xdd, 0x10, 0, 0, 0]],
    ["a string of 4 GiB", [0xdb, 0xff, 0xff, 0xff, 0xff]],
    ["bytes of 4 GiB", [0xc6, 0xff, 0xff, 0xff, 0xff]],
    ["an extension of 4 GiB", [0xc9, 0xff, 0xff, 0xff, 0xff, 0x74]],
    ["an Error after 4 GiB", [0xc9, 0xff, 0xff, 0xff, 0xff, 0x65]],
    ["a bigint of 2,000 bytes", [0xc8, 0x07, 0xd0, 0x42]],
    ["65 levels", Array.from(repeat([0x91], 65))],
    ["65 levels of a record", [0xd4, 0x72, 0, 0x91, 0xa1, 0x61, ...repeat([0x40], 65)]],
    ["65 levels of Sets", Array.from(repeat([0xd4, 0x73, 0, 0x91], 65))],
    ["a reference", [0xd6, 0x70, 0, 0, 0, 1]],
    ["a value to refer to", [0xd6, 0x69, 0, 0, 0, 1, 0x90]],
    ["bundled strings, which reach where they like", [0xd6, 0x62, 0xff, 0xff, 0xff, 0xf0, 0xa1, 0x61, 0xa1, 0x61]],
    ["a Set of a string", [0xd4, 0x73, 0, 0xa1, 0x61]],
    ["names that are arrays", [0xd4, 0x72, 0x40, 0x91, 0x91, 0xa1, 0x61]]
  ])("%s is refused at once", (_, bytes) => {
    expect(scan(MsgPackScan.make(limits), Uint8Array.from(bytes))).toBeTypeOf("string")
  })

  it("an AggregateError of the characters of a string counts them", () => {
    const name = "AggregateError"
    const string = text.encode("x".repeat(70_000))
    const bytes = [0xd4, 0x65, 0, 0x92, 0xa0 | name.length, ...text.encode(name), 0xdb, 0, 1, 0x11, 0x70, ...string]
    expect(scan(MsgPackScan.make(limits), Uint8Array.from(bytes))).toBeTypeOf("string")
  })

  it("so many definitions of records that compiling them would take long are refused", () => {
    const definition = [0xd4, 0x72, 0x40, 0x91, 0xa1, 0x61, 0, 0x40, 0, 0x40, 0, 0x40, 0]
    const bytes = [0xdd, 0, 0, 0x40, 0, ...repeat(definition, 4096)]
    expect(scan(MsgPackScan.make(limits), Uint8Array.from(bytes))).toBeTypeOf("string")
  })

  it("as many elements and levels as are allowed pass", () => {
    const deep = (levels: number) => Uint8Array.from([...repeat([0x91], levels), 0])
    expect(scan(MsgPackScan.make(limits), deep(64))).toBe(65)
    expect(scan(MsgPackScan.make(limits), deep(65))).toBeTypeOf("string")
    const wide = msgPack(Array.from({ length: 65_535 }, () => 1))
    expect(scan(MsgPackScan.make(limits), wide)).toBe(wide.length)
    expect(scan(MsgPackScan.make(limits), msgPack(Array.from({ length: 65_536 }, () => 1)))).toBeTypeOf("string")
  })
})

describe("frames of JSON, before they are decoded", () => {
  it("what JSON.stringify writes is accepted, and ends with its line", () => {
    FastCheck.assert(
      FastCheck.property(FastCheck.array(FastCheck.jsonValue(), { minLength: 1 }), (values) => {
        const walker = JsonScan.make(limits, true)
        const frames = values.map((each) => text.encode(`${JSON.stringify(each)}\n`))
        const bytes = Buffer.concat(frames)
        let start = 0
        for (const frame of frames) {
          expect(walker.next(bytes, start, bytes.length)).toBe(frame.length)
          start += frame.length
        }
        for (const each of values) {
          expect(scan(JsonScan.make(limits, false), text.encode(JSON.stringify(each, null, 2)))).toBe(0)
        }
      })
    )
  })

  it("any bytes give a verdict", () => {
    const bytes = FastCheck.oneof(
      FastCheck.uint8Array(),
      FastCheck.string().map((all) => text.encode(all))
    )
    FastCheck.assert(
      FastCheck.property(bytes, FastCheck.boolean(), (all, isLines) => {
        const found = scan(JsonScan.make(limits, isLines), all)
        expect(typeof found === "string" || (found >= 0 && found <= all.length)).toBe(true)
      }),
      { numRuns: 5000 }
    )
  })

  it.each([
    ["65 levels", "[".repeat(65)],
    ["65 levels over lines", "[\n".repeat(65)],
    ["65 levels of objects", '{"a":'.repeat(65)],
    ["65,536 items", `[${"1,".repeat(65_536)}1]`],
    ["65,536 keys and values", `{${'"a":1,'.repeat(40_000)}"b":1}`],
    ["a number of 2,000 digits", "1".repeat(2000)],
    ["an exponent of 2,000 digits", `1e${"9".repeat(2000)}`]
  ])("%s are refused", (_, json) => {
    expect(scan(JsonScan.make(limits, false), text.encode(json))).toBeTypeOf("string")
  })

  it("brackets, commas and digits in strings are none", () => {
    const json = JSON.stringify({ a: `\\"${"[{,".repeat(100_000)}`, b: "1".repeat(5000) })
    expect(scan(JsonScan.make(limits, true), text.encode(`${json}\n`))).toBe(json.length + 1)
  })

  it("a line that never ends is refused", () => {
    expect(scan(JsonScan.make(limits, true), new Uint8Array(1024 * 1024 + 1).fill(0x22))).toBeTypeOf("string")
  })
})

describe("a reader of frames", () => {
  const serializations = {
    MessagePack: RpcSerialization.msgPack,
    JSON: RpcSerialization.json,
    NDJSON: RpcSerialization.ndjson,
    "JSON-RPC": RpcSerialization.jsonRpc({ contentType: "application/whatever" }),
    "JSON-RPC in lines": RpcSerialization.ndJsonRpc({ contentType: "application/else" })
  }

  const reader = (serialization: RpcSerialization.RpcSerialization["Type"], maxFrameSize = limits.maxFrameSize) =>
    Frames.makeReader(serialization, Frames.formatOf(serialization), serialization.unsafeMake(), {
      ...limits,
      maxFrameSize
    })

  it("knows a serialization by what it writes", () => {
    expect(Object.values(serializations).map(Frames.formatOf)).toEqual(["MessagePack", "JSON", "JSON", "JSON", "JSON"])
    expect(Object.values(kinds).map(Frames.formatOf)).toEqual(Array(4).fill("MessagePack"))
  })

  for (const [title, serialization] of Object.entries(serializations)) {
    const isFramed = serialization.includesFraming

    it(`reads what ${title} writes, in whatever pieces`, () => {
      const frame = { _tag: "Request", id: "7", tag: "Ping", payload: { text: "grüß" }, headers: [["a", "b"]] }
      const bytes = encodeWith(serialization, frame)
      const all = isFramed ? Buffer.concat([bytes, bytes, bytes]) : bytes
      for (const size of isFramed ? [1, 2, 3, 7, all.length] : [all.length]) {
        const frames = reader(serialization)
        const read: Array<unknown> = []
        for (let at = 0; at < all.length; at += size) {
          frames.push(all.subarray(at, at + size))
          for (let next = Either.getOrThrow(frames.next()); next !== undefined; ) {
            read.push(next)
            next = Either.getOrThrow(frames.next())
          }
        }
        expect(read).toEqual(Array(isFramed ? 3 : 1).fill(expect.objectContaining(frame)))
        expect(frames.unread()).toBe(0)
      }
    })

    const refused: Record<string, unknown> = {
      "an id of 21 digits": { _tag: "Request", id: "1".repeat(21), tag: "Ping", payload: null, headers: [] },
      "an id of a million digits": { _tag: "Request", id: "1".repeat(1_000_000), tag: "Ping", payload: 0, headers: [] },
      "a tag of 2,000 characters": { _tag: "Request", id: "1", tag: "x".repeat(2000), payload: null, headers: [] },
      "129 headers": { _tag: "Request", id: "1", tag: "x", payload: null, headers: Array(129).fill(["a", "b"]) },
      "headers of 20,000 characters": {
        _tag: "Request",
        id: "1",
        tag: "x",
        payload: 0,
        headers: [["a", "b".repeat(20_000)]]
      },
      "a trace of 2,000 characters": {
        _tag: "Request",
        id: "1",
        tag: "x",
        payload: 0,
        headers: [],
        traceId: "x".repeat(2000)
      },
      "an answer to 21 digits": { _tag: "Exit", requestId: "1".repeat(21), exit: { _tag: "Success", value: 1 } },
      "a chunk for 21 digits": { _tag: "Chunk", requestId: "1".repeat(21), values: [1] },
      "an interrupt of 21 digits": { _tag: "Interrupt", requestId: "1".repeat(21) }
    }
    for (const [what, frame] of Object.entries(refused)) {
      it.skipIf(title.startsWith("JSON-RPC") && !what.includes("interrupt") && what.includes("digits"))(
        `refuses ${what} in ${title}`,
        () => {
          const frames = reader(serialization, 4 * limits.maxFrameSize)
          frames.push(encodeWith(serialization, frame))
          expect(Either.isLeft(frames.next())).toBe(true)
          frames.push(encodeWith(serialization, { _tag: "Ping" }))
          expect(Either.isLeft(frames.next())).toBe(true)
        }
      )
    }
  }

  it("a frame of 4 MiB in pieces of one byte takes time linear in it", () => {
    for (const serialization of [RpcSerialization.msgPack, RpcSerialization.ndjson]) {
      const bytes = encodeWith(serialization, { _tag: "Defect", defect: "x".repeat(4 * 1024 * 1024) })
      const frames = reader(serialization, 16 * 1024 * 1024)
      for (let at = 0; at < bytes.length - 1; at++) {
        frames.push(bytes.subarray(at, at + 1))
        if (at % 64 === 0) {
          expect(Either.isRight(frames.next())).toBe(true)
        } else {
          frames.next()
        }
      }
      frames.push(bytes.subarray(bytes.length - 1))
      expect(Either.getOrThrow(frames.next())).toMatchObject({ _tag: "Defect" })
    }
  })
})
