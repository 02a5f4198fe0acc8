/** Peers that keep to the grammar and mean harm: each is stopped by a limit, and good peers that look alike are not. */
import { describe, expect, it } from "@effect/vitest"
import type { Limits } from "../../../src/protocol/http2/Http2Connection.js"
import { Http2Violation } from "../../../src/protocol/http2/Http2Error.js"
import {
  bytes,
  carry,
  type End,
  frame,
  frames,
  greeting,
  literal,
  makeEnd,
  open,
  pair,
  readAll,
  receive,
  requestBlock,
  respond,
  settings,
  settle,
  streamOf,
  take,
  trailerFields,
  uint32
} from "./http2Support.js"

const rates: Partial<Limits> = { maxCallRate: 1000, maxCancelRate: 100, maxPingRate: 10, maxUselessRate: 500 }

const greeted = (options: Partial<Limits> = {}): End => {
  const end = makeEnd("server", { ...rates, ...options })
  receive(end, greeting)
  take(end)
  return end
}

const request = (id: number, flags = 4, block: ReadonlyArray<number> = requestBlock) => frame(1, flags, id, block)

/** Gives an end what `next` makes until that is too much; returns how many that took, and the code. */
const attack = (end: End, next: (i: number) => Buffer, most = 100_000): readonly [count: number, outcome: string] => {
  for (let i = 0; i < most; i++) {
    try {
      receive(end, next(i))
    } catch (error) {
      if (error instanceof Http2Violation) {
        return [i, error.code]
      }
      throw error
    }
  }
  return [most, "taken"]
}

describe("a flood ends the connection", () => {
  it("of streams", () => {
    const end = greeted({ maxConcurrentStreams: 1_000_000 })
    expect(attack(end, (i) => request(2 * i + 1))).toEqual([1000, "ENHANCE_YOUR_CALM"])
  })

  it("of streams that are reset: rapid reset", () => {
    const end = greeted()
    expect(attack(end, (i) => Buffer.concat([request(2 * i + 1), frame(3, 0, 2 * i + 1, uint32(8))]))).toEqual([
      100,
      "ENHANCE_YOUR_CALM"
    ])
    expect(end.http2.theirs()).toBeLessThanOrEqual(1)
  })

  it.each<readonly [string, (id: number) => Buffer]>([
    ["a window of nothing", (id) => frame(8, 0, id, uint32(0))],
    ["a window too large", (id) => frame(8, 0, id, uint32(0x7fff_ffff))],
    ["DATA beyond the window", (id) => Buffer.concat([1, 2, 3, 4].map(() => frame(0, 0, id, bytes(16_384))))],
    ["a second head", (id) => request(id)],
    ["trailers that are malformed", (id) => request(id, 5)]
  ])("of streams that this end is made to reset, by %s", (_, mischief) => {
    const end = greeted()
    const [count, code] = attack(end, (i) => Buffer.concat([request(2 * i + 1), mischief(2 * i + 1)]))
    expect(code).toBe("ENHANCE_YOUR_CALM")
    expect(count).toBeLessThanOrEqual(100)
    expect(end.http2.theirs()).toBe(0)
  })

  it("of malformed requests", () => {
    const end = greeted()
    expect(attack(end, (i) => request(2 * i + 1, 5, [0x83]))).toEqual([100, "ENHANCE_YOUR_CALM"])
  })

  it("of streams beyond the limit", () => {
    const end = greeted({ maxConcurrentStreams: 10 })
    expect(attack(end, (i) => request(2 * i + 1))).toEqual([510, "ENHANCE_YOUR_CALM"])
  })

  it("of header blocks that expand: none is kept, and each ends its stream alone", () => {
    const end = greeted({ maxHeaderListSize: 8192, maxConcurrentStreams: 10_000 })
    // One entry of 4,000 bytes, then 16,000 references to it: 64 MB of fields in 16 KB.
    receive(
      end,
      request(1, 5, [...requestBlock, 0x40, 1, 0x61, 0x7f, 0xa1, 0x1e, ...new Array<number>(4000).fill(0x62)])
    )
    const bomb = request(3, 5, [...requestBlock, ...new Array<number>(16_000).fill(0xbe)])
    const started = process.cpuUsage()
    for (let i = 1; i <= 100; i++) {
      bomb.writeUInt32BE(2 * i + 1, 5)
      receive(end, bomb)
    }
    expect(process.cpuUsage(started).user).toBeLessThan(5_000_000)
    expect(end.log.filter((line) => line.startsWith("too large"))).toHaveLength(100)
  })

  it("of CONTINUATION: by bytes, and by number", () => {
    const large = greeted({ maxHeaderListSize: 4096 })
    receive(large, request(1, 1))
    expect(large.http2.isMidFrame()).toBe(true)
    expect(attack(large, () => frame(9, 0, 1, bytes(8192)))).toEqual([2, "ENHANCE_YOUR_CALM"])
    const empty = greeted()
    receive(empty, request(1, 1))
    expect(attack(empty, () => frame(9, 0, 1))).toEqual([64, "ENHANCE_YOUR_CALM"])
  })

  it.each<readonly [string, number, (i: number) => Buffer]>([
    ["SETTINGS", 20, () => settings([4, 65_535])],
    ["SETTINGS with thousands of entries", 20, () => settings(...new Array<readonly [4, 1]>(2730).fill([4, 1]))],
    ["acknowledgements of SETTINGS", 500, () => frame(4, 1, 0)],
    ["PING", 10, () => frame(6, 0, 0, bytes(8))],
    ["answers to PINGs that were not sent", 500, () => frame(6, 1, 0, bytes(8))],
    ["PRIORITY", 500, (i) => frame(2, 0, 2 * i + 1, bytes(5))],
    ["frames of unknown types", 500, () => frame(0x77, 0, 0, bytes(100))],
    ["WINDOW_UPDATE", 516, () => frame(8, 0, 0, uint32(1))],
    ["GOAWAY", 16, () => frame(7, 0, 0, bytes(8))]
  ])("of %s", (_, count, next) => {
    expect(attack(greeted(), next)).toEqual([count, "ENHANCE_YOUR_CALM"])
  })

  it.each<readonly [string, Buffer]>([
    ["empty", frame(0, 0, 1)],
    ["nothing but padding", frame(0, 8, 1, [200, ...bytes(200)])],
    ["one byte", frame(0, 0, 1, [1])],
    ["four bytes and padding", frame(0, 8, 1, [200, ...bytes(204)])]
  ])("of DATA frames: %s", (_, data) => {
    const end = greeted()
    receive(end, request(1))
    const next = () => {
      readAll(end)
      take(end)
      return data
    }
    expect(attack(end, next)).toEqual([500, "ENHANCE_YOUR_CALM"])
  })

  it("of informational responses", () => {
    const end = makeEnd("client", rates)
    receive(end, settings())
    open(end, true)
    expect(attack(end, () => frame(1, 4, 1, [0x08, 3, 0x31, 0x30, 0x33]))).toEqual([500, "ENHANCE_YOUR_CALM"])
  })

  it("of frames for a stream that is over: what may have been under way is free, and no more", () => {
    const end = greeted()
    receive(end, request(1))
    end.http2.reset(streamOf(end, 1), "CANCEL")
    expect(attack(end, () => frame(0, 0, 1, bytes(8192)))).toEqual([7 + 500, "ENHANCE_YOUR_CALM"])
    const other = greeted()
    receive(other, request(1))
    other.http2.reset(streamOf(other, 1), "CANCEL")
    expect(attack(other, () => request(1, 5, literal("a", "b")))).toEqual([4 + 500, "ENHANCE_YOUR_CALM"])
  })

  it("of crumbs of credit, which make this end send crumbs of data", () => {
    const end = makeEnd("server", rates)
    receive(end, greeting.subarray(0, 24))
    receive(end, settings([4, 0]))
    receive(end, request(1, 5))
    respond(end, streamOf(end, 1))
    end.http2.sendData(streamOf(end, 1), bytes(100_000), 0, true, () => {})
    const next = () => {
      take(end)
      return frame(8, 0, 1, uint32(1))
    }
    expect(attack(end, next)).toEqual([16 + 2 + 500, "ENHANCE_YOUR_CALM"])
  })

  it("of calls that its owner calls useless", () => {
    const end = greeted()
    const useless = () => {
      end.http2.useless(0)
      return Buffer.alloc(0)
    }
    expect(attack(end, useless)).toEqual([500, "ENHANCE_YOUR_CALM"])
  })
})

describe("what a peer makes this end keep", () => {
  it("answers that it does not read are bytes that are shown, until their rate ends it", () => {
    const end = greeted({ maxPingRate: 1e6, maxUselessRate: 1e6 })
    for (let i = 0; i < 1000; i++) {
      receive(end, frame(6, 0, 0, bytes(8)))
    }
    expect(end.http2.buffered()).toBe(17_000)
  })

  it("an unfinished frame has no more room than it says, and a frame that is too large none", () => {
    const end = greeted()
    expect(() => receive(end, frame(1, 4, 1, bytes(16_385)).subarray(0, 9))).toThrow(Http2Violation)
  })

  it("thousands of streams without a window cost nothing when there is output", () => {
    const end = greeted({ maxConcurrentStreams: 20_000, maxCallRate: 1e6 })
    receive(end, settings([4, 0]))
    for (let i = 0; i < 10_000; i++) {
      receive(end, request(2 * i + 1, 5))
      const stream = streamOf(end, 2 * i + 1)
      respond(end, stream)
      end.http2.sendData(stream, bytes(100), 0, true, () => {})
    }
    take(end)
    const started = process.cpuUsage()
    for (let i = 0; i < 10_000; i++) {
      end.http2.ping(1n)
      take(end)
    }
    expect(process.cpuUsage(started).user).toBeLessThan(5_000_000)
  })
})

describe("good peers are not taken for bad ones", () => {
  it("a client whose calls are reset while all it sends is under way", () => {
    const { client, server } = pair({ ...rates, maxUselessRate: 5 })
    const calls = Array.from({ length: 50 }, () => open(client))
    settle(client, server)
    for (const call of calls) {
      client.http2.sendData(call, bytes(30_000), 0, true, () => {})
      server.http2.reset(streamOf(server, call.id), "CANCEL")
    }
    for (let i = 0; i < 40; i++) {
      carry(client, server)
    }
    settle(client, server)
    expect(client.http2.openCount() + server.http2.theirs()).toBe(0)
  })

  it("a server whose answers come behind the client's reset", () => {
    const { client, server } = pair({ ...rates, maxUselessRate: 5 })
    const calls = Array.from({ length: 50 }, () => open(client, true))
    settle(client, server)
    for (const call of calls) {
      const answer = streamOf(server, call.id)
      respond(server, answer)
      server.http2.sendData(answer, bytes(1000), 0, false, () => {})
      server.http2.sendHeaders(answer, undefined, trailerFields, true)
      client.http2.reset(call, "CANCEL")
    }
    settle(client, server)
    expect(client.http2.openCount() + server.http2.theirs()).toBe(0)
  })

  it("a client that opens streams before it knows how many there may be", () => {
    const end = makeEnd("server", { ...rates, maxConcurrentStreams: 10, maxUselessRate: 5 })
    receive(
      end,
      Buffer.concat([
        greeting.subarray(0, greeting.length - 9),
        ...[...Array(100).keys()].map((i) => request(2 * i + 1))
      ])
    )
    expect(frames(take(end)).filter(({ type }) => type === 3)).toHaveLength(90)
    expect(attack(end, (i) => (i === 0 ? frame(4, 1, 0) : request(2 * i + 301)))).toEqual([6, "ENHANCE_YOUR_CALM"])
  })

  it("a peer that answers each DATA frame with two WINDOW_UPDATE frames and a PING, as grpc-go does", () => {
    const end = greeted({ maxUselessRate: 5, maxPingRate: 1 })
    receive(end, request(1, 5))
    const stream = streamOf(end, 1)
    respond(end, stream)
    for (let i = 0; i < 1000; i++) {
      end.http2.sendData(stream, bytes(1000), 0, false, () => {})
      take(end)
      receive(
        end,
        Buffer.concat([frame(8, 0, 0, uint32(1005)), frame(8, 0, 1, uint32(1005)), frame(6, 0, 0, bytes(8))])
      )
    }
    expect(attack(end, () => frame(8, 0, 0, uint32(1)))[1]).toBe("ENHANCE_YOUR_CALM")
  })

  it("a peer that gives credit for every 4 KiB that it reads, as Go's net/http does", () => {
    const end = greeted({ maxUselessRate: 5 })
    receive(end, request(1, 5))
    const stream = streamOf(end, 1)
    respond(end, stream)
    for (let i = 0; i < 200; i++) {
      end.http2.sendData(stream, bytes(16_375), -1, false, () => {})
      for (const { payload } of frames(take(end)).filter(({ type }) => type === 0)) {
        for (let read = 0; read < payload.length; read += 4096) {
          const size = uint32(Math.min(4096, payload.length - read))
          receive(end, Buffer.concat([frame(8, 0, 0, size), frame(8, 0, 1, size)]))
        }
      }
    }
    expect(end.http2.unsent()).toBe(0)
  })

  it("ordinary calls, for ever", () => {
    const { client, server } = pair({
      ...rates,
      maxCallRate: 10_000,
      maxUselessRate: 1,
      maxPingRate: 0,
      maxCancelRate: 0
    })
    for (let i = 0; i < 3000; i++) {
      const call = open(client)
      client.http2.sendData(call, bytes(20), 0, true, () => {})
      carry(client, server)
      const answer = streamOf(server, call.id)
      respond(server, answer)
      server.http2.sendData(answer, bytes(20), 0, false, () => {})
      server.http2.sendHeaders(answer, undefined, trailerFields, true)
      carry(server, client)
    }
    expect(client.http2.openCount() + server.http2.theirs()).toBe(0)
  })
})
