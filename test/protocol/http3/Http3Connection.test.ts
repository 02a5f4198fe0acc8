import { describe, expect, it } from "@effect/vitest"
import * as FastCheck from "effect/FastCheck"
import { noStreamYet, Setting } from "../../../src/protocol/http3/Http3Connection.js"
import { codes, type Http3Code, nameOf } from "../../../src/protocol/http3/Http3Error.js"
import { Type } from "../../../src/protocol/http3/Http3Frames.js"
import {
  arbitrarySizes,
  codeOf,
  data,
  type End,
  frame,
  headers,
  inPieces,
  integers,
  makeEnd,
  settings,
  violationOf
} from "./http3Support.js"

const control = Buffer.of(0x00)
const hello = Buffer.concat([control, integers(Type.settings)])

/** Carries what one end says first to the other. */
const open = (from: End, to: End, sizes: ReadonlyArray<number> = [Number.POSITIVE_INFINITY]) => {
  for (const [i, bytes] of from.connection.opening.entries()) {
    inPieces(bytes, sizes, (chunk) => to.connection.receive(4 * i + 2, chunk, false))
  }
}

const pair = () => {
  const client = makeEnd("client")
  const server = makeEnd("server")
  open(client, server)
  open(server, client)
  return { client, server }
}

describe("two ends", () => {
  it("the first bytes of a connection", () => {
    expect(makeEnd("client").connection.opening.map((bytes) => bytes.toString("hex"))).toEqual([
      ["00", "04", "0b", "0100", "0700", "0680004000", "3301"].join(""),
      "02",
      "03"
    ])
    expect(
      makeEnd("client", { maxFieldSectionSize: Number.POSITIVE_INFINITY, datagrams: false }).connection.opening[0]
    ).toEqual(Buffer.from("00040401000700", "hex"))
  })

  it("hear each other's settings, however the bytes are cut", () => {
    for (const sizes of [[1], [2, 1], [5]]) {
      const client = makeEnd("client", { maxFieldSectionSize: 100, datagrams: false })
      const server = makeEnd("server")
      open(client, server, sizes)
      open(server, client, sizes)
      expect(server.lines).toEqual(["settings 100 false"])
      expect(client.lines).toEqual(["settings 16384 true"])
      expect(client.connection.peerSettings()).toEqual(settings)
    }
  })

  it("settings that nobody knows are passed over, those left out have no limit", () => {
    const server = makeEnd("server")
    server.connection.receive(
      2,
      Buffer.concat([control, integers(Type.settings, 0x21, 7, Setting.h3Datagram, 0)]),
      false
    )
    expect(server.lines).toEqual(["settings Infinity false"])
  })

  it("GOAWAY says which requests were not taken, and only ever fewer", () => {
    const { client, server } = pair()
    const say = (id: number) => client.connection.receive(2, server.connection.goaway(id), false)
    expect(server.connection.accepts(400)).toBe(true)
    say(noStreamYet)
    expect(server.connection.accepts(400)).toBe(true)
    say(8)
    expect([4, 8, 12].map(server.connection.accepts)).toEqual([true, false, false])
    expect(server.connection.goaway(12)).toHaveLength(0)
    expect(server.connection.goaway(8)).toHaveLength(0)
    say(4)
    expect(client.lines.slice(1)).toEqual([`goaway ${noStreamYet}`, "goaway 8", "goaway 4"])
  })

  it("a client that goes away says so too", () => {
    const { client, server } = pair()
    server.connection.receive(2, client.connection.goaway(0), false)
    expect(server.lines.at(-1)).toBe("goaway 0")
  })

  it("frames and streams that nobody knows are skipped, and pushes that may be announced are not made", () => {
    const { client, server } = pair()
    server.connection.receive(2, frame(0x21, new Uint8Array(5000)), false)
    server.connection.receive(2, Buffer.concat([integers(Type.maxPushId, 1), integers(Type.maxPushId, 1)]), false)
    server.connection.receive(2, client.connection.goaway(0), false)
    expect(server.lines.at(-1)).toBe("goaway 0")
    expect(server.connection.receive(14, Buffer.of(0x40), false)).toBe(undefined)
    expect(server.connection.receive(14, Buffer.of(0x54, 1, 2), false)).toBe(codes.H3_STREAM_CREATION_ERROR)
    expect(server.connection.receive(18, Buffer.of(0x21), true)).toBe(undefined)
    expect(server.connection.receive(22, Buffer.of(0x40), true)).toBe(undefined)
    server.connection.receive(26, Buffer.of(0x40), false)
    server.connection.onReset(26)
    server.connection.onReset(30)
  })
})

describe("a peer that breaks the rules of a connection ends it", () => {
  type Step = readonly [stream: number, bytes: Buffer, fin?: boolean]
  const max = integers(Type.maxPushId, 5)
  const cases: ReadonlyArray<readonly [string, Http3Code, "client" | "server", ReadonlyArray<Step>]> = [
    ["no SETTINGS first", "H3_MISSING_SETTINGS", "server", [[2, Buffer.concat([control, max])]]],
    ["nothing known first", "H3_MISSING_SETTINGS", "server", [[2, Buffer.concat([control, frame(0x21)])]]],
    ["SETTINGS twice", "H3_FRAME_UNEXPECTED", "server", [[2, Buffer.concat([hello, integers(Type.settings)])]]],
    [
      "a setting twice",
      "H3_SETTINGS_ERROR",
      "server",
      [[2, Buffer.concat([control, integers(Type.settings, 0x21, 1, 0x21, 1)])]]
    ],
    ...[0, 2, 3, 4, 5].map(
      (id) =>
        [
          `setting ${id} of HTTP/2`,
          "H3_SETTINGS_ERROR",
          "server",
          [[2, Buffer.concat([control, integers(Type.settings, id, 1)])]]
        ] as const
    ),
    [
      "datagrams neither on nor off",
      "H3_SETTINGS_ERROR",
      "server",
      [[2, Buffer.concat([control, integers(Type.settings, Setting.h3Datagram, 2)])]]
    ],
    [
      "a setting without a value",
      "H3_FRAME_ERROR",
      "server",
      [[2, Buffer.concat([control, integers(Type.settings, 0x21)])]]
    ],
    [
      "a setting cut in two",
      "H3_FRAME_ERROR",
      "server",
      [[2, Buffer.concat([control, frame(Type.settings, Buffer.of(0x21, 0x40))])]]
    ],
    [
      "SETTINGS without an end",
      "H3_EXCESSIVE_LOAD",
      "server",
      [[2, Buffer.concat([control, Buffer.from("04bfffffff", "hex")])]]
    ],
    ["DATA", "H3_FRAME_UNEXPECTED", "server", [[2, Buffer.concat([hello, data(1)])]]],
    ["HEADERS", "H3_FRAME_UNEXPECTED", "server", [[2, Buffer.concat([hello, headers()])]]],
    ["PUSH_PROMISE", "H3_FRAME_UNEXPECTED", "client", [[3, Buffer.concat([hello, frame(Type.pushPromise)])]]],
    ["a frame of HTTP/2", "H3_FRAME_UNEXPECTED", "server", [[2, Buffer.concat([hello, frame(0x06)])]]],
    ["an empty GOAWAY", "H3_FRAME_ERROR", "server", [[2, Buffer.concat([hello, integers(Type.goaway)])]]],
    [
      "a GOAWAY with two numbers",
      "H3_FRAME_ERROR",
      "server",
      [[2, Buffer.concat([hello, integers(Type.goaway, 0, 0)])]]
    ],
    ["a long GOAWAY", "H3_FRAME_ERROR", "server", [[2, Buffer.concat([hello, frame(Type.goaway, Buffer.alloc(9))])]]],
    [
      "a GOAWAY that rises",
      "H3_ID_ERROR",
      "client",
      [[3, Buffer.concat([hello, integers(Type.goaway, 4), integers(Type.goaway, 8)])]]
    ],
    ["a GOAWAY of no request", "H3_ID_ERROR", "client", [[3, Buffer.concat([hello, integers(Type.goaway, 3)])]]],
    ["a MAX_PUSH_ID from a server", "H3_FRAME_UNEXPECTED", "client", [[3, Buffer.concat([hello, max])]]],
    [
      "a MAX_PUSH_ID that falls",
      "H3_ID_ERROR",
      "server",
      [[2, Buffer.concat([hello, max, integers(Type.maxPushId, 4)])]]
    ],
    [
      "a CANCEL_PUSH of nothing",
      "H3_ID_ERROR",
      "server",
      [[2, Buffer.concat([hello, max, integers(Type.cancelPush, 1)])]]
    ],
    [
      "two control streams",
      "H3_STREAM_CREATION_ERROR",
      "server",
      [
        [2, hello],
        [6, control]
      ]
    ],
    [
      "two encoders",
      "H3_STREAM_CREATION_ERROR",
      "server",
      [
        [2, Buffer.of(2)],
        [6, Buffer.of(2)]
      ]
    ],
    [
      "two decoders",
      "H3_STREAM_CREATION_ERROR",
      "server",
      [
        [2, Buffer.of(3)],
        [6, Buffer.of(3)]
      ]
    ],
    ["a push from a client", "H3_STREAM_CREATION_ERROR", "server", [[2, Buffer.of(1)]]],
    ["a push that was not allowed", "H3_ID_ERROR", "client", [[3, Buffer.of(1)]]],
    ["a control stream that ends", "H3_CLOSED_CRITICAL_STREAM", "server", [[2, hello, true]]],
    ["an encoder that ends", "H3_CLOSED_CRITICAL_STREAM", "server", [[2, Buffer.of(2), true]]],
    [
      "a decoder that ends later",
      "H3_CLOSED_CRITICAL_STREAM",
      "server",
      [
        [2, Buffer.of(3)],
        [2, Buffer.alloc(0), true]
      ]
    ],
    ["an entry for the dynamic table", "QPACK_ENCODER_STREAM_ERROR", "server", [[2, Buffer.of(2, 0x20, 0xc0)]]],
    ["an acknowledgement", "QPACK_DECODER_STREAM_ERROR", "server", [[2, Buffer.of(3, 0x40, 0x80)]]]
  ]
  for (const [name, code, role, steps] of cases) {
    it(name, () => {
      for (const sizes of [[Number.POSITIVE_INFINITY], [1]]) {
        const end = makeEnd(role)
        const violation = violationOf(() => {
          for (const [stream, bytes, fin = false] of steps) {
            inPieces(bytes, sizes, (chunk, last) => end.connection.receive(stream, chunk, fin && last))
          }
        })
        expect(violation).toMatchObject({ scope: "connection", code })
      }
    })
  }

  it("a reset of a stream that must stay open, and one that is not read", () => {
    const { client, server } = pair()
    for (const stream of [2, 6, 10]) {
      expect(codeOf(() => pair().server.connection.onReset(stream))).toBe("H3_CLOSED_CRITICAL_STREAM")
    }
    expect(codeOf(() => server.connection.onStopped())).toBe("H3_CLOSED_CRITICAL_STREAM")
    expect(client.lines).toHaveLength(1)
  })
})

describe("any bytes on any stream", () => {
  it("give events or a violation, and the same however they are cut", () => {
    const run = (end: End, parts: ReadonlyArray<readonly [number, Buffer]>, sizes: ReadonlyArray<number>) => {
      const stopped = new Set<number>()
      const violation = violationOf(() => {
        for (const [stream, bytes] of parts) {
          inPieces(bytes, sizes, (chunk) => {
            if (!stopped.has(stream) && end.connection.receive(stream, chunk, false) !== undefined) {
              stopped.add(stream)
            }
          })
        }
      })
      return [...end.lines, ...stopped, violation?.code]
    }
    FastCheck.assert(
      FastCheck.property(
        FastCheck.constantFrom("client" as const, "server" as const),
        FastCheck.array(
          FastCheck.tuple(
            FastCheck.constantFrom(2, 2, 2, 6, 10),
            FastCheck.oneof(
              FastCheck.constantFrom(hello, hello, Buffer.of(2), Buffer.of(3), Buffer.of(0x20), Buffer.of(0x44)),
              FastCheck.tuple(FastCheck.nat(14), FastCheck.array(FastCheck.nat(70), { maxLength: 4 })).map(
                ([type, values]) => integers(type, ...values)
              ),
              FastCheck.uint8Array({ maxLength: 12 }).map((bytes) => Buffer.from(bytes))
            )
          ),
          { maxLength: 10 }
        ),
        arbitrarySizes,
        (role, parts, sizes) => {
          expect(run(makeEnd(role), parts, sizes)).toEqual(run(makeEnd(role), parts, [Number.POSITIVE_INFINITY]))
        }
      ),
      { numRuns: 3000 }
    )
  })
})

describe("error codes", () => {
  it("have the numbers of RFC 9114, 9204 and 9297", () => {
    expect([0x33, 0x100, 0x10c, 0x110, 0x200, 0x202].map(nameOf)).toEqual([
      "H3_DATAGRAM_ERROR",
      "H3_NO_ERROR",
      "H3_REQUEST_CANCELLED",
      "H3_VERSION_FALLBACK",
      "QPACK_DECOMPRESSION_FAILED",
      "QPACK_DECODER_STREAM_ERROR"
    ])
    for (const [name, code] of Object.entries(codes)) {
      expect(nameOf(code)).toBe(name)
    }
    expect(nameOf(0x21)).toBe("H3_NO_ERROR")
  })
})
