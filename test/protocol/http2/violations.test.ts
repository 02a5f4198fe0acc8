import { describe, expect, it } from "@effect/vitest"
import type { Http2Code } from "../../../src/protocol/http2/Http2Error.js"
import { codes } from "../../../src/protocol/http2/Http2Error.js"
import {
  bytes,
  frame,
  frames,
  literal,
  makeEnd,
  open,
  receive,
  requestBlock,
  respond,
  settings,
  streamOf,
  take,
  uint32,
  violationOf
} from "./http2Support.js"

const preface = Buffer.from("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")

const ack = frame(4, 1, 0)

/** A server that has read a client's preface, and what that client writes next. */
const greetedServer = (options = {}) => {
  const end = makeEnd("server", options)
  take(end)
  receive(end, Buffer.concat([preface, settings(), ack]))
  take(end)
  return end
}

/** A client that has read a server's preface, with a stream 1 whose request has ended, and a stream 3 whose request has not. */
const greetedClient = (options = {}) => {
  const end = makeEnd("client", options)
  receive(end, Buffer.concat([settings(), ack]))
  open(end, true)
  open(end)
  take(end)
  return end
}

const request = (id: number, flags = 4, block: ReadonlyArray<number> = requestBlock) => frame(1, flags, id, block)
const end = 1
const endHeaders = 4
const padded = 8
const priority = 0x20
const ok = [0x88]

type Case = readonly [what: string, expected: string, ...frames: ReadonlyArray<Buffer>]

/** "connection CODE", "stream ID CODE", or "nothing". */
const outcome = (role: "server" | "client", input: ReadonlyArray<Buffer>, sizes: ReadonlyArray<number>) => {
  const end = role === "server" ? greetedServer() : greetedClient()
  const code = violationOf(() => receive(end, Buffer.concat(input), sizes))
  if (code !== undefined) {
    return `connection ${code}`
  }
  const resets = frames(take(end)).flatMap(({ id, payload, type }) =>
    type === 3 ? [[id, payload.readUInt32BE(0)]] : []
  )
  const name = (code: number | undefined) => Object.entries(codes).find(([, value]) => value === code)?.[0]
  return resets.length === 0 ? "nothing" : resets.map(([id, code]) => `stream ${id} ${name(code)}`).join(", ")
}

const atServer: ReadonlyArray<Case> = [
  // 4.1, 4.2
  ["a frame larger than SETTINGS_MAX_FRAME_SIZE", "connection FRAME_SIZE_ERROR", frame(0x55, 0, 0, bytes(16_385))],
  ["the largest frame", "nothing", frame(0x55, 0, 0, bytes(16_384))],
  ["the reserved bit of a stream's id", "nothing", Buffer.from(request(1).map((byte, i) => (i === 5 ? 0x80 : byte)))],
  ["a frame of an unknown type, on an idle stream", "nothing", frame(0xfa, 0xff, 77, bytes(10))],
  // 4.3
  [
    "a header block that is none",
    "connection COMPRESSION_ERROR",
    request(1, endHeaders, [0xff, 0xff, 0xff, 0xff, 0xff])
  ],
  ["another frame within a header block", "connection PROTOCOL_ERROR", request(1, 0), frame(6, 0, 0, bytes(8))],
  ["an unknown frame within a header block", "connection PROTOCOL_ERROR", request(1, 0), frame(0xfa, 0, 0)],
  ["CONTINUATION of another stream", "connection PROTOCOL_ERROR", request(1, 0), frame(9, 4, 3)],
  // 5.1
  ["DATA on an idle stream", "connection PROTOCOL_ERROR", frame(0, 0, 1, bytes(10))],
  ["RST_STREAM on an idle stream", "connection PROTOCOL_ERROR", frame(3, 0, 1, uint32(8))],
  ["WINDOW_UPDATE on an idle stream", "connection PROTOCOL_ERROR", frame(8, 0, 1, uint32(8))],
  ["WINDOW_UPDATE on a stream of a server", "connection PROTOCOL_ERROR", frame(8, 0, 2, uint32(8))],
  ["DATA on a half-closed stream", "stream 1 STREAM_CLOSED", request(1, 5), frame(0, 0, 1, bytes(10))],
  ["HEADERS on a half-closed stream", "stream 1 STREAM_CLOSED", request(1, 5), request(1, 5)],
  ["WINDOW_UPDATE on a half-closed stream", "nothing", request(1, 5), frame(8, 0, 1, uint32(8))],
  ["DATA on a reset stream", "nothing", request(1), frame(3, 0, 1, uint32(8)), frame(0, 0, 1, bytes(10))],
  ["trailers on a reset stream", "nothing", request(1), frame(3, 0, 1, uint32(8)), request(1, 5)],
  // 5.1.1
  ["a stream with an even id", "connection PROTOCOL_ERROR", request(2)],
  ["a stream with an id that goes back", "connection PROTOCOL_ERROR", request(5), request(3)],
  ["streams whose ids leave gaps", "nothing", request(5), request(9), request(2 ** 31 - 1)],
  // 6.1
  ["DATA without a stream", "connection PROTOCOL_ERROR", frame(0, 0, 0, bytes(10))],
  ["DATA with more padding than payload", "connection PROTOCOL_ERROR", request(1), frame(0, padded, 1, [3, 0, 0])],
  ["DATA with as much padding as there is", "nothing", request(1), frame(0, padded, 1, [2, 0, 0])],
  ["DATA padded without a pad length", "connection PROTOCOL_ERROR", request(1), frame(0, padded, 1)],
  // 6.2
  ["HEADERS without a stream", "connection PROTOCOL_ERROR", request(0)],
  ["HEADERS with more padding than payload", "connection PROTOCOL_ERROR", request(1, endHeaders | padded, [2, 0])],
  ["HEADERS padded without a pad length", "connection PROTOCOL_ERROR", request(1, endHeaders | padded, [])],
  ["HEADERS with half a priority", "connection PROTOCOL_ERROR", request(1, endHeaders | priority, [0, 0, 0, 0])],
  [
    "HEADERS with padding and priority",
    "nothing",
    request(1, endHeaders | priority | padded, [2, 0, 0, 0, 0, 9, ...requestBlock, 0, 0])
  ],
  [
    "HEADERS whose stream depends on itself",
    "nothing",
    request(1, endHeaders | priority, [0, 0, 0, 1, 9, ...requestBlock])
  ],
  // 6.3
  ["PRIORITY on an idle stream, depending on itself", "nothing", frame(2, 0, 7, [0, 0, 0, 7, 1])],
  ["PRIORITY without a stream", "connection PROTOCOL_ERROR", frame(2, 0, 0, bytes(5))],
  ["PRIORITY of four bytes", "connection FRAME_SIZE_ERROR", frame(2, 0, 1, bytes(4))],
  // 6.4
  ["RST_STREAM without a stream", "connection PROTOCOL_ERROR", frame(3, 0, 0, uint32(8))],
  ["RST_STREAM of five bytes", "connection FRAME_SIZE_ERROR", request(1), frame(3, 0, 1, bytes(5))],
  ["RST_STREAM with a code that nobody knows", "nothing", request(1), frame(3, 0, 1, uint32(0xdead_beef))],
  // 6.5
  ["SETTINGS on a stream", "connection PROTOCOL_ERROR", frame(4, 0, 1)],
  ["SETTINGS of seven bytes", "connection FRAME_SIZE_ERROR", frame(4, 0, 0, bytes(7))],
  ["an acknowledgement with settings", "connection FRAME_SIZE_ERROR", frame(4, 1, 0, bytes(6))],
  ["SETTINGS_ENABLE_PUSH 2", "connection PROTOCOL_ERROR", settings([2, 2])],
  ["SETTINGS_ENABLE_PUSH 1", "nothing", settings([2, 1])],
  ["SETTINGS_INITIAL_WINDOW_SIZE 2^31", "connection FLOW_CONTROL_ERROR", settings([4, 2 ** 31])],
  ["SETTINGS_MAX_FRAME_SIZE 16383", "connection PROTOCOL_ERROR", settings([5, 16_383])],
  ["SETTINGS_MAX_FRAME_SIZE 2^24", "connection PROTOCOL_ERROR", settings([5, 2 ** 24])],
  ["a bad value that another corrects", "connection PROTOCOL_ERROR", settings([5, 1], [5, 16_384])],
  ["settings that nobody knows", "nothing", settings([0x99, 7], [8, 1])],
  // 6.6
  ["PUSH_PROMISE", "connection PROTOCOL_ERROR", request(1), frame(5, 4, 1, bytes(8))],
  // 6.7
  ["PING on a stream", "connection PROTOCOL_ERROR", frame(6, 0, 1, bytes(8))],
  ["PING of seven bytes", "connection FRAME_SIZE_ERROR", frame(6, 0, 0, bytes(7))],
  ["an answer to a PING that was not sent", "nothing", frame(6, 1, 0, bytes(8))],
  // 6.8
  ["GOAWAY on a stream", "connection PROTOCOL_ERROR", frame(7, 0, 1, bytes(8))],
  ["GOAWAY of seven bytes", "connection FRAME_SIZE_ERROR", frame(7, 0, 0, bytes(7))],
  // 6.9
  ["WINDOW_UPDATE of nothing", "connection PROTOCOL_ERROR", frame(8, 0, 0, uint32(0))],
  ["WINDOW_UPDATE of nothing on a stream", "stream 1 PROTOCOL_ERROR", request(1), frame(8, 0, 1, uint32(0))],
  ["WINDOW_UPDATE of nothing but the reserved bit", "connection PROTOCOL_ERROR", frame(8, 0, 0, uint32(2 ** 31))],
  ["WINDOW_UPDATE of three bytes", "connection FRAME_SIZE_ERROR", frame(8, 0, 0, bytes(3))],
  ["a window of the connection of 2^31", "connection FLOW_CONTROL_ERROR", frame(8, 0, 0, uint32(2 ** 31 - 65_535))],
  ["a window of the connection of 2^31 - 1", "nothing", frame(8, 0, 0, uint32(2 ** 31 - 65_536))],
  ["a window of a stream of 2^31", "stream 1 FLOW_CONTROL_ERROR", request(1), frame(8, 0, 1, uint32(2 ** 31 - 65_535))],
  [
    "a window that becomes 2^31 by SETTINGS",
    "connection FLOW_CONTROL_ERROR",
    request(1),
    frame(8, 0, 1, uint32(1)),
    settings([4, 2 ** 31 - 1])
  ],
  // 6.10
  ["CONTINUATION without HEADERS", "connection PROTOCOL_ERROR", frame(9, 4, 1)],
  ["CONTINUATION behind END_HEADERS", "connection PROTOCOL_ERROR", request(1), frame(9, 4, 1)],
  [
    "a block in parts",
    "nothing",
    request(1, 0, []),
    frame(9, 0, 1, requestBlock.slice(0, 2)),
    frame(9, 4, 1, requestBlock.slice(2))
  ],
  // 8.1
  ["trailers without END_STREAM", "stream 1 PROTOCOL_ERROR", request(1), request(1, endHeaders, literal("a", "b"))],
  ["trailers with pseudo-header fields", "stream 1 PROTOCOL_ERROR", request(1), request(1, 5)],
  ["trailers", "nothing", request(1), request(1, 5, literal("a", "b"))],
  // 8.1.1, 8.2, 8.3
  ["a field name in upper case", "stream 1 PROTOCOL_ERROR", request(1, 5, [...requestBlock, ...literal("Ab", "c")])],
  ["a connection field", "stream 1 PROTOCOL_ERROR", request(1, 5, [...requestBlock, ...literal("upgrade", "h3")])],
  ["a value with a line break", "stream 1 PROTOCOL_ERROR", request(1, 5, [...requestBlock, ...literal("a", "b\nc")])],
  ["a request without a path", "stream 1 PROTOCOL_ERROR", request(1, 5, [0x83, 0x87])],
  ["a request with two methods", "stream 1 PROTOCOL_ERROR", request(1, 5, [...requestBlock, 0x82])],
  [
    "pseudo-header fields behind others",
    "stream 1 PROTOCOL_ERROR",
    request(1, 5, [0x83, 0x87, ...literal("a", "b"), 0x84])
  ],
  ["a pseudo-header field of responses", "stream 1 PROTOCOL_ERROR", request(1, 5, [...requestBlock, 0x88])],
  [
    "less content than content-length",
    "stream 1 PROTOCOL_ERROR",
    request(1, 4, [...requestBlock, ...literal("content-length", "9")]),
    frame(0, end, 1, bytes(8))
  ],
  [
    "more content than content-length",
    "stream 1 PROTOCOL_ERROR",
    request(1, 4, [...requestBlock, ...literal("content-length", "9")]),
    frame(0, 0, 1, bytes(10))
  ],
  [
    "no content, and a content-length",
    "stream 1 PROTOCOL_ERROR",
    request(1, 5, [...requestBlock, ...literal("content-length", "9")])
  ],
  [
    "trailers before the content",
    "stream 1 PROTOCOL_ERROR",
    request(1, 4, [...requestBlock, ...literal("content-length", "9")]),
    request(1, 5, literal("a", "b"))
  ],
  [
    "as much content as content-length, padded",
    "nothing",
    request(1, 4, [...requestBlock, ...literal("content-length", "9")]),
    frame(0, end | padded, 1, [3, ...bytes(9), 0, 0, 0])
  ]
]

const atClient: ReadonlyArray<Case> = [
  ["PUSH_PROMISE", "connection PROTOCOL_ERROR", frame(5, 4, 1, [0, 0, 0, 2, ...requestBlock])],
  ["SETTINGS_ENABLE_PUSH 1 of a server", "connection PROTOCOL_ERROR", settings([2, 1])],
  ["SETTINGS_ENABLE_PUSH 0 of a server", "nothing", settings([2, 0])],
  ["HEADERS on a stream that nobody opened", "connection PROTOCOL_ERROR", frame(1, 5, 5, ok)],
  ["HEADERS on a stream of the server", "connection PROTOCOL_ERROR", frame(1, 5, 2, ok)],
  ["DATA on a stream that nobody opened", "connection PROTOCOL_ERROR", frame(0, 0, 5, bytes(9))],
  ["DATA before the response", "stream 1 PROTOCOL_ERROR", frame(0, 1, 1, bytes(9))],
  [
    "an informational response, then the response",
    "nothing",
    frame(1, 4, 1, [0x08, 3, 0x31, 0x30, 0x33]),
    frame(1, 5, 1, ok)
  ],
  ["an informational response that ends", "stream 1 PROTOCOL_ERROR", frame(1, 5, 1, [0x08, 3, 0x31, 0x30, 0x33])],
  ["a response 101", "stream 1 PROTOCOL_ERROR", frame(1, 4, 1, [0x08, 3, 0x31, 0x30, 0x31])],
  ["a response without a status", "stream 1 PROTOCOL_ERROR", frame(1, 4, 1, literal("a", "b"))],
  ["two responses", "stream 1 PROTOCOL_ERROR", frame(1, 4, 1, ok), frame(1, 5, 1, ok)],
  [
    "HEADERS after the end, of a request that has not ended",
    "stream 3 STREAM_CLOSED",
    frame(1, 5, 3, ok),
    frame(1, 5, 3, ok)
  ],
  ["HEADERS after the end of both", "nothing", frame(1, 5, 1, ok), frame(1, 5, 1, ok)],
  ["DATA after the end of both", "nothing", frame(1, 5, 1, ok), frame(0, 0, 1, bytes(9))],
  [
    "less content than content-length",
    "stream 1 PROTOCOL_ERROR",
    frame(1, 5, 1, [...ok, ...literal("content-length", "9")])
  ],
  ["a response 304 with a content-length", "nothing", frame(1, 5, 1, [0x8b, ...literal("content-length", "9")])]
]

const splits = [[Number.POSITIVE_INFINITY], [1], [5, 2, 9, 1, 30]]

const withInput = ([what, expected, ...input]: Case) => [what, expected, input] as const

describe("a server takes", () => {
  it.each(atServer.map(withInput))("%s: %s", (_, expected, input) => {
    for (const sizes of splits) {
      expect(outcome("server", input, sizes)).toBe(expected)
    }
  })
})

describe("a client takes", () => {
  it.each(atClient.map(withInput))("%s: %s", (_, expected, input) => {
    for (const sizes of splits) {
      expect(outcome("client", input, sizes)).toBe(expected)
    }
  })
})

describe("the preface", () => {
  const first = (input: ReadonlyArray<Buffer>) =>
    splits.map((sizes) => violationOf(() => receive(makeEnd("server"), Buffer.concat(input), sizes)))

  it.each<readonly [string, Http2Code | undefined, ReadonlyArray<Buffer>]>([
    ["is HTTP/1", "PROTOCOL_ERROR", [Buffer.from("GET / HTTP/1.1\r\n\r\n")]],
    ["is wrong in its last byte", "PROTOCOL_ERROR", [preface.subarray(0, 23), Buffer.from(" ")]],
    ["is followed by another frame than SETTINGS", "PROTOCOL_ERROR", [preface, frame(6, 0, 0, bytes(8))]],
    ["is followed by an acknowledgement", "PROTOCOL_ERROR", [preface, frame(4, 1, 0)]],
    ["is not yet whole", undefined, [preface.subarray(0, 20)]],
    ["is right", undefined, [preface, settings()]]
  ])("%s: %s", (_, code, input) => {
    expect(first(input)).toEqual(splits.map(() => code))
  })

  it("a wrong first byte is noticed at once", () => {
    expect(violationOf(() => receive(makeEnd("server"), Buffer.from("G")))).toBe("PROTOCOL_ERROR")
  })

  it("a client wants SETTINGS first", () => {
    expect(violationOf(() => receive(makeEnd("client"), frame(8, 0, 0, uint32(1))))).toBe("PROTOCOL_ERROR")
    expect(violationOf(() => receive(makeEnd("client"), ack))).toBe("PROTOCOL_ERROR")
  })
})

describe("flow control", () => {
  it("more DATA than the window of a stream resets it, and of the connection ends that", () => {
    const end = greetedServer({ streamWindow: 1000, connectionWindow: 0 })
    receive(end, Buffer.concat([request(1), frame(0, 0, 1, bytes(1000)), request(3), frame(0, 0, 3, bytes(1001))]))
    expect(end.log.slice(-1)).toEqual(["reset 3 FLOW_CONTROL_ERROR local"])
    expect(frames(take(end)).map(({ id, payload, type }) => [type, id, payload.readUInt32BE(0)])).toEqual([[3, 3, 3]])
    end.isFull = true
    const late = frame(0, 0, 3, bytes(16_000))
    receive(end, Buffer.concat([late, late, late]))
    expect(violationOf(() => receive(end, late))).toBe("FLOW_CONTROL_ERROR")
  })

  it("padding counts, and its credit comes back at once", () => {
    const end = greetedServer({ streamWindow: 1000 })
    receive(
      end,
      Buffer.concat([request(1), ...Array.from({ length: 20 }, () => frame(0, padded, 1, [250, ...bytes(260)]))])
    )
    expect(end.log).toHaveLength(1)
    expect(streamOf(end, 1).owner?.received).toBe(200)
    expect(frames(take(end)).some(({ id, type }) => type === 8 && id === 1)).toBe(true)
  })

  it("before its SETTINGS are acknowledged, a server takes what the default window allows", () => {
    const end = makeEnd("server", { streamWindow: 10 })
    receive(end, Buffer.concat([preface, settings(), request(1), frame(0, 0, 1, bytes(1000)), ack]))
    expect(end.log).toHaveLength(1)
    receive(end, frame(0, 0, 1, bytes(1)))
    expect(end.log.slice(-1)).toEqual(["reset 1 FLOW_CONTROL_ERROR local"])
    receive(end, Buffer.concat([request(3), frame(0, 0, 3, bytes(11))]))
    expect(end.log.slice(-1)).toEqual(["reset 3 FLOW_CONTROL_ERROR local"])
  })

  it("a peer that takes windows back below zero waits until there is credit again", () => {
    const end = greetedServer()
    receive(end, request(1, 5))
    const stream = streamOf(end, 1)
    respond(end, stream)
    end.http2.sendData(stream, bytes(40_000), -1, false, () => {})
    take(end, 1 << 20)
    receive(end, settings([4, 10_000]))
    expect(stream.sendCredit).toBe(10_000 - 40_000)
    end.http2.sendData(stream, bytes(100), -1, false, () => {})
    receive(end, frame(8, 0, 1, uint32(30_000)))
    expect(frames(take(end)).filter(({ type }) => type === 0)).toEqual([])
    receive(end, frame(8, 0, 1, uint32(50)))
    expect(
      frames(take(end))
        .filter(({ type }) => type === 0)
        .map(({ payload }) => payload.length)
    ).toEqual([50])
  })
})
