import { describe, expect, it } from "@effect/vitest"
import * as FastCheck from "effect/FastCheck"
import { constVoid } from "effect/Function"
import type { Entries } from "../../../src/protocol/Entries.js"
import * as Wire from "../../../src/protocol/wire/Wire.js"
import { Flag, Type } from "../../../src/protocol/wire/Wire.js"
import {
  bytes,
  carry,
  digest,
  type End,
  limits,
  makeEnd,
  pair,
  readAll,
  reasonFor,
  request,
  settle
} from "./wireSupport.js"

const metadata: Entries = [
  ["x-text", "a b"],
  ["x-bytes-bin", Uint8Array.of(0, 255)]
]
const trailers = (code = 0) => ({ code, message: "höchst", details: Uint8Array.of(1), metadata })

/** A frame as it stands on the wire. */
const frame = (type: number, flags: number, call: number, payload: Uint8Array = new Uint8Array(0)) => {
  const header = Buffer.alloc(8)
  header.writeUInt8(type, 0)
  header.writeUInt8(flags, 1)
  header.writeUInt16BE(payload.length, 2)
  header.writeUInt32BE(call, 4)
  return Buffer.concat([header, payload])
}

const openPayload = Buffer.from([0, 0, 3, 232, 0, 2, 47, 97, 0, 0])

describe("the format of docs/wire.md", () => {
  it("SETTINGS come first, byte by byte", () => {
    expect(Buffer.concat(makeEnd("client").wire.output(0)).toString("hex")).toBe(
      ["01", "00", "0014", "00000000", "000186a0", "000007d0", "00000008", "00009c40", "0001d4c0"].join("")
    )
  })

  it("a small unary call is one OPEN and one REPLY", () => {
    const { client, server } = pair()
    client.wire.open(request("/a"), Uint8Array.of(9), true)
    expect(Buffer.concat(client.wire.output(0)).toString("hex")).toBe(
      ["02", "03", "000b", "00000001", "000003e8", "0002", "2f61", "0000", "09"].join("")
    )
    const other = pair()
    other.client.wire.open(request("/a"), Uint8Array.of(9), true)
    carry(other.client, other.server)
    other.server.wire.sendReply(1, { message: Uint8Array.of(8), headers: [], trailers: [] })
    expect(Buffer.concat(other.server.wire.output(0)).toString("hex")).toBe(
      ["07", "00", "0001", "00000001", "08"].join("")
    )
    expect(server.log).toEqual([])
  })
})

describe("calls", () => {
  it("everything that can be said arrives as it was said", () => {
    const { client, server } = pair()
    const unary = client.wire.open(request("/a.B/Unary", 5, metadata), bytes(10), true)
    const stream = client.wire.open(request("/a.B/Stream", Number.POSITIVE_INFINITY), undefined, false)
    client.wire.sendMessage(stream, bytes(0), false, constVoid)
    client.wire.sendMessage(stream, bytes(50_000), false, constVoid)
    settle(client, server, [1, 7, 900])
    readAll(server)
    settle(client, server)
    client.wire.halfClose(stream)
    settle(client, server)
    server.wire.sendReply(unary, { message: bytes(3), headers: metadata, trailers: metadata })
    server.wire.sendHeaders(stream, metadata)
    server.wire.sendMessage(stream, bytes(4), false, constVoid)
    server.wire.sendTrailers(stream, trailers(5))
    settle(client, server, [3])
    const shown = "x-text=a b&x-bytes-bin=0,255"
    expect(server.log).toEqual([
      `open 1 /a.B/Unary 5 ${shown} ${digest(bytes(10))} true`,
      `open 3 /a.B/Stream Infinity  - false`,
      `message 3 ${digest(bytes(0))}`,
      `message 3 ${digest(bytes(50_000))}`,
      "half-close 3"
    ])
    expect(client.log).toEqual([
      `reply 1 ${shown} ${digest(bytes(3))} ${shown}`,
      `headers 3 ${shown}`,
      `message 3 ${digest(bytes(4))}`,
      `trailers 3 5 höchst ${digest(Uint8Array.of(1))} ${shown}`
    ])
  })

  it("either end opens calls, with numbers of its own", () => {
    const { client, server } = pair()
    expect([client, client, server, server].map(({ wire }) => wire.open(request(), bytes(1), true))).toEqual([
      1, 3, 2, 4
    ])
    settle(client, server)
    expect(client.log).toHaveLength(2)
    expect(server.log).toHaveLength(2)
  })

  it("what arrives for a call that was cancelled is dropped, and its credit comes back", () => {
    const { client, server } = pair()
    for (let i = 0; i < 20; i++) {
      const call = client.wire.open(request(), undefined, false)
      carry(client, server)
      server.wire.sendMessage(call, bytes(16_000), false, constVoid)
      client.wire.cancel(call)
      settle(client, server)
    }
    expect(client.log).toEqual([])
    expect(server.log.filter((line) => line.startsWith("cancel"))).toHaveLength(20)
  })

  it("no more calls are opened than the other end takes", () => {
    const { client, server } = pair({ maxCalls: 2 })
    const calls = [1, 2].map(() => client.wire.open(request(), bytes(1), true))
    expect(client.wire.canOpen()).toBe(false)
    settle(client, server)
    server.wire.sendTrailers(calls[0] ?? 0, trailers())
    settle(client, server)
    expect(client.wire.canOpen()).toBe(true)
  })
})

const opened = () => {
  const end = makeEnd("server")
  carry(makeEnd("client"), end)
  return end
}

describe("flow control", () => {
  const send = (end: End, call: number, size: number) => {
    const state = { sent: false }
    end.wire.sendMessage(call, bytes(size), false, () => {
      state.sent = true
    })
    return state
  }

  it("a sender waits for a reader who does not read, and goes on when he does", () => {
    const { client, server } = pair()
    const call = client.wire.open(request(), undefined, false)
    let sent = 0
    while (send(client, call, 1000).sent && sent < 1000) {
      sent += 1
    }
    expect(sent).toBe(Math.floor(limits.streamWindow / (1000 + Wire.messageOverhead)))
    settle(client, server)
    expect(server.log).toHaveLength(1 + sent)
    readAll(server)
    settle(client, server)
    expect(server.log).toHaveLength(1 + sent + 1)
  })

  it("empty messages cost too", () => {
    const { client } = pair()
    const call = client.wire.open(request(), undefined, false)
    let sent = 0
    while (send(client, call, 0).sent && sent < 10_000) {
      sent += 1
    }
    expect(sent).toBeLessThan(limits.streamWindow / Wire.messageOverhead + 1)
  })

  it("a message larger than the window arrives", () => {
    const { client, server } = pair()
    const call = client.wire.open(request(), undefined, false)
    send(client, call, limits.maxMessageSize)
    settle(client, server)
    expect(server.log.at(-1)).toBe(`message 1 ${digest(bytes(limits.maxMessageSize))}`)
  })

  it("many unfinished messages larger than all windows come to an end", () => {
    const { client, server } = pair({ connectionWindow: 20_000 })
    const calls = Array.from({ length: limits.maxCalls }, () => client.wire.open(request(), undefined, false))
    for (const call of calls) {
      send(client, call, limits.maxMessageSize)
    }
    let rounds = 0
    while (client.wire.unsent() > 0 && rounds < 100) {
      settle(client, server)
      readAll(server)
      rounds += 1
    }
    settle(client, server)
    expect(server.log.filter((line) => line.startsWith("message"))).toHaveLength(calls.length)
  })

  it("messages that came in pieces count as unread, as small ones do", () => {
    const { client, server } = pair()
    for (let i = 0; i < limits.maxCalls; i++) {
      send(client, client.wire.open(request(), undefined, false), limits.maxMessageSize)
    }
    settle(client, server)
    expect(server.log.filter((line) => line.startsWith("dropped"))).toEqual([])
    expect(server.wire.pendingData()).toBeGreaterThan(limits.connectionWindow / 2)
    expect(server.wire.pendingData()).toBeLessThan(2 * limits.connectionWindow)
    readAll(server)
    settle(client, server)
    readAll(server)
    settle(client, server)
  })

  /** The beginnings of messages of so many calls, as a peer sends them that keeps to no budget. */
  const beginAll = (calls: number, size: number, rounds: number) => {
    const frames: Array<Buffer> = []
    for (let i = 0; i < calls; i++) {
      frames.push(frame(Type.open, 0, 2 * i + 1, openPayload))
    }
    for (let round = 0; round < rounds; round++) {
      for (let i = 0; i < calls; i++) {
        frames.push(frame(Type.message, Flag.more, 2 * i + 1, bytes(size)))
      }
    }
    return frames
  }

  it("of many calls at once no more are begun than are asked for, and the rest is left", () => {
    const client = makeEnd("client")
    const server = makeEnd("server")
    settle(client, server)
    for (let i = 0; i < 8; i++) {
      client.wire.open(request(), bytes(100), true)
    }
    const all = Buffer.concat(client.wire.output(0))
    let rest = all
    const begun: Array<number> = []
    while (rest.length > 0) {
      rest = rest.subarray(server.wire.receive(rest, 0, 3))
      begun.push(server.log.length)
    }
    expect(begun).toEqual([3, 6, 8])
  })

  it("unfinished messages of all calls share a budget, and that which exceeds it ends its call", () => {
    const server = opened()
    for (const each of beginAll(8, 16_000, 1)) {
      server.wire.receive(each, 0)
      server.wire.output(0)
      expect(server.wire.pendingData()).toBeLessThan(limits.connectionWindow + 40_000)
    }
    expect(server.log.filter((line) => line.startsWith("dropped"))).toEqual(["dropped 15 OverBudget"])
    server.wire.receive(frame(Type.message, 0, 1, bytes(1)), 0)
    expect(server.log.at(-1)?.startsWith("message 1 16001:")).toBe(true)
  })

  it("one message alone may be larger than the budget", () => {
    const server = makeEnd("server", { connectionWindow: 1000 })
    const client = makeEnd("client")
    settle(client, server)
    const call = client.wire.open(request(), undefined, false)
    const other = client.wire.open(request(), undefined, false)
    send(client, call, limits.maxMessageSize)
    send(client, other, limits.maxMessageSize)
    settle(client, server)
    readAll(server)
    settle(client, server)
    expect(server.log.slice(2)).toEqual([call, other].map((id) => `message ${id} ${digest(bytes(100_000))}`))
  })

  it("a message that was begun too long ago ends its call, unless it waits for its reader", () => {
    const server = opened()
    const begin = (call: number, size: number, now: number) =>
      server.wire.receive(frame(Type.message, Flag.more, call, bytes(size)), now)
    for (const each of beginAll(2, 10, 1)) {
      server.wire.receive(each, 1000)
    }
    // The second has used up its window behind a message that nobody reads.
    server.wire.receive(frame(Type.open, 0, 5, openPayload), 1000)
    server.wire.receive(frame(Type.message, 0, 5, bytes(16_000)), 1000)
    begin(5, 16_000, 1000)
    begin(5, limits.streamWindow - 2 * 16_000 - 3 * Wire.messageOverhead, 1000)
    server.wire.receive(frame(Type.message, 0, 3, bytes(1)), 1900)
    server.wire.expire(1999, 1000)
    expect(server.log.filter((line) => line.startsWith("dropped"))).toEqual([])
    server.wire.expire(2001, 1000)
    expect(server.log.filter((line) => line.startsWith("dropped"))).toEqual(["dropped 1 Overdue"])
    readAll(server)
    server.wire.expire(3002, 1000)
    expect(server.log.filter((line) => line.startsWith("dropped"))).toEqual(["dropped 1 Overdue", "dropped 5 Overdue"])
  })

  it("two ends of this library never exceed each other's budget, whatever they send and read", () => {
    const step = FastCheck.record({
      call: FastCheck.nat(7),
      size: FastCheck.nat(60_000),
      reads: FastCheck.boolean(),
      portion: FastCheck.integer({ min: 1, max: 60_000 })
    })
    FastCheck.assert(
      FastCheck.property(
        FastCheck.array(step, { minLength: 1, maxLength: 40 }),
        FastCheck.constantFrom(1000, 20_000, 120_000, 400_000),
        (steps, connectionWindow) => {
          const { client, server } = pair({ connectionWindow })
          const calls = Array.from({ length: 8 }, () => client.wire.open(request(), undefined, false))
          const queues = calls.map((): Array<number> => [])
          const isSending = calls.map(() => false)
          let sent = 0
          const next = (at: number) => {
            const size = queues[at]?.shift()
            isSending[at] = size !== undefined
            if (size !== undefined) {
              client.wire.sendMessage(calls[at] ?? 0, bytes(size), false, () => {
                sent += 1
                next(at)
              })
            }
          }
          for (const { call, portion, reads, size } of steps) {
            queues[call]?.push(size)
            if (isSending[call] === false) {
              next(call)
            }
            const out = Buffer.concat(client.wire.output(portion))
            server.wire.receive(out, 0)
            if (reads) {
              readAll(server)
            }
            carry(server, client)
          }
          for (let i = 0; sent < steps.length && i < 200; i++) {
            settle(client, server)
            readAll(server)
          }
          settle(client, server)
          readAll(server)
          expect(sent).toBe(steps.length)
          expect(server.log.filter((line) => line.startsWith("dropped"))).toEqual([])
          expect(server.log.filter((line) => line.startsWith("message"))).toHaveLength(steps.length)
          expect(client.wire.unsent()).toBe(0)
          for (const call of calls) {
            client.wire.cancel(call)
          }
          settle(client, server)
          expect([client.wire.pendingData(), server.wire.pendingData()]).toEqual([0, 0])
        }
      ),
      { numRuns: 60 }
    )
  })

  it("a small message does not wait for a large one of another call", () => {
    const { client, server } = pair()
    const [large, small] = [1, 2].map(() => client.wire.open(request(), undefined, false))
    carry(client, server)
    send(client, large ?? 0, limits.maxMessageSize)
    client.wire.output(20_000)
    send(client, small ?? 0, 10)
    const next = Buffer.concat(client.wire.output(40_000))
    const frames: Array<number> = []
    for (let at = 0; at < next.length; at += 8 + next.readUInt16BE(at + 2)) {
      frames.push(next.readUInt32BE(at + 4))
    }
    expect(frames.indexOf(small ?? 0)).toBeLessThanOrEqual(1)
    expect(frames).toContain(small ?? 0)
  })
})

describe("limits: what a peer must not do ends the connection with a reason", () => {
  const open = (flags = 0, call = 1) => frame(Type.open, flags, call, openPayload)
  const cases: ReadonlyArray<readonly [string, Wire.Reason, (end: End) => ReadonlyArray<Buffer>]> = [
    ["an unknown type", "ProtocolError", () => [frame(99, 0, 0)]],
    ["second SETTINGS", "ProtocolError", () => [frame(Type.settings, 0, 0, new Uint8Array(20))]],
    ["a frame shorter than what it holds", "ProtocolError", () => [frame(Type.open, 0, 1, openPayload.subarray(0, 7))]],
    ["a call of the wrong number", "ProtocolError", () => [open(0, 3)]],
    ["a call of the other end's numbers", "ProtocolError", () => [open(0, 2)]],
    ["call 0", "ProtocolError", () => [open(0, 0)]],
    ["a message of a call that never was", "ProtocolError", () => [frame(Type.message, 0, 7)]],
    ["an answer to a call that never was", "ProtocolError", () => [frame(Type.reply, 0, 2)]],
    ["an answer to a call of its own", "ProtocolError", () => [open(), frame(Type.reply, 0, 1)]],
    ["a second half-close", "ProtocolError", () => [open(Flag.end), frame(Type.halfClose, 0, 1)]],
    ["a message after the last", "ProtocolError", () => [open(Flag.end), frame(Type.message, 0, 1)]],
    ["an empty piece", "ProtocolError", () => [open(), frame(Type.message, Flag.more, 1)]],
    [
      "a half-close within a message",
      "ProtocolError",
      () => [open(), frame(Type.message, Flag.more, 1, bytes(1)), frame(Type.halfClose, 0, 1)]
    ],
    ["a piece too large", "FrameTooLarge", () => [open(), frame(Type.message, 0, 1, bytes(Wire.maxPiece + 1))]],
    [
      "a message too large in an OPEN",
      "FrameTooLarge",
      () => [frame(Type.open, Flag.message, 1, Buffer.concat([openPayload, bytes(Wire.maxPiece + 1)]))]
    ],
    ["a path too long", "FrameTooLarge", () => [frame(Type.open, 0, 1, Buffer.from([0, 0, 0, 1, 255, 255]))]],
    ["too many calls", "TooManyCalls", () => Array.from({ length: limits.maxCalls + 1 }, (_, i) => open(0, 2 * i + 1))],
    [
      "more bytes than the call's window",
      "FlowControl",
      () => [open(), ...Array.from({ length: 3 }, () => frame(Type.message, 0, 1, bytes(16_000)))]
    ],
    [
      "a window of 2^32",
      "FlowControl",
      () => [open(), ...[1, 2].map(() => frame(Type.credit, 0, 1, Uint8Array.of(255, 255, 255, 255)))]
    ],
    [
      "metadata with a bad key",
      "ProtocolError",
      () => [frame(Type.open, 0, 1, Buffer.concat([openPayload.subarray(0, 8), Buffer.from([0, 1, 1, 65, 0, 0])]))]
    ],
    [
      "metadata with a bad value",
      "ProtocolError",
      () => [frame(Type.open, 0, 1, Buffer.concat([openPayload.subarray(0, 8), Buffer.from([0, 1, 1, 97, 0, 1, 7])]))]
    ],
    [
      "metadata too large",
      "MetadataTooLarge",
      () => [
        frame(
          Type.open,
          0,
          1,
          Buffer.concat([
            openPayload.subarray(0, 8),
            Buffer.from([255, 255]),
            Buffer.from([1, 97, 0, 0].concat(...Array.from({ length: 100 }, () => [1, 97, 0, 0])))
          ])
        )
      ]
    ]
  ]

  for (const [name, reason, frames] of cases) {
    it(name, () => {
      const end = opened()
      expect(
        reasonFor(() => {
          for (const bytes of frames(end)) {
            end.wire.receive(bytes, 0)
          }
        })
      ).toBe(reason)
    })
  }

  it("anything before SETTINGS", () => {
    expect(reasonFor(() => makeEnd("server").wire.receive(open(), 0))).toBe("ProtocolError")
  })

  it("more calls, cancels or pings in a second than allowed; time forgives", () => {
    const rate = (
      options: Parameters<typeof makeEnd>[1],
      next: (i: number) => ReadonlyArray<Buffer>,
      now: (i: number) => number
    ) => {
      const end = makeEnd("server", options)
      carry(makeEnd("client"), end)
      return reasonFor(() => {
        for (let i = 0; i < 100; i++) {
          for (const bytes of next(i)) {
            end.wire.receive(bytes, now(i))
          }
        }
      })
    }
    const calls = (i: number) => [open(0, 2 * i + 1), frame(Type.cancel, 0, 2 * i + 1)]
    const ping = () => [frame(Type.ping, 0, 0, new Uint8Array(8))]
    expect(rate({ maxCallRate: 50 }, calls, () => 0)).toBe("CallRate")
    expect(rate({ maxCancelRate: 50 }, calls, () => 0)).toBe("CallRate")
    expect(rate({ maxPingRate: 50 }, ping, () => 0)).toBe("PingRate")
    expect(rate({ maxCallRate: 50, maxCancelRate: 50 }, calls, (i) => i * 25)).toBe(undefined)
    expect(rate({ maxPingRate: 50 }, ping, (i) => i * 25)).toBe(undefined)
    const shutdown = frame(Type.goaway, 0, 0, new Uint8Array(5))
    const useless: ReadonlyArray<readonly [title: string, next: (i: number) => ReadonlyArray<Buffer>]> = [
      ["pings", ping],
      ["answers to no ping", () => [frame(Type.ping, Flag.ack, 0, new Uint8Array(8))]],
      ["no credit", () => [frame(Type.credit, 0, 0, new Uint8Array(4))]],
      ["GOAWAYs", () => [shutdown]],
      ["calls that are cancelled", calls],
      ["cancels of what has ended", (i) => [...(i === 0 ? calls(0) : []), frame(Type.cancel, 0, 1)]],
      ["ends of what has ended", (i) => [...(i === 0 ? calls(0) : []), frame(Type.halfClose, 0, 1)]]
    ]
    for (const [title, next] of useless) {
      expect([title, rate({ maxUselessRate: 50 }, next, () => 0)]).toEqual([title, "ExcessiveLoad"])
      expect([title, rate({ maxUselessRate: 50 }, next, (i) => i * 25)]).toEqual([title, undefined])
    }
  })

  it("messages that were under way when their call ended are no offence, more of them are", () => {
    const run = (count: number) => {
      const end = makeEnd("server", { streamWindow: 100 * 129, maxUselessRate: 50 })
      carry(makeEnd("client"), end)
      return reasonFor(() => {
        end.wire.receive(open(0, 1), 0)
        end.wire.sendTrailers(1, { code: 0, message: "", details: new Uint8Array(0), metadata: [] })
        for (let i = 0; i < count; i++) {
          end.wire.receive(frame(Type.message, 0, 1, Buffer.of(1)), 0)
        }
      })
    }
    expect(run(140)).toBe(undefined)
    expect(run(200)).toBe("ExcessiveLoad")
  })

  it("a message larger than allowed ends its call only", () => {
    const server = makeEnd("server", { maxMessageSize: 30_000, streamWindow: 100_000 })
    const client = makeEnd("client")
    settle(client, server)
    const call = client.wire.open(request(), undefined, false)
    client.wire.sendMessage(call, bytes(90_000), false, constVoid)
    settle(client, server)
    expect(server.log.slice(1)).toEqual([`dropped ${call} TooLarge`])
    server.wire.sendTrailers(call, trailers(8))
    settle(client, server)
    client.wire.open(request(), bytes(1), true)
    settle(client, server)
    expect(server.log.at(-1)).toContain("open 3")
  })
})

describe("any bytes give events or a violation, never a throw of another kind", () => {
  const settings = Buffer.concat(makeEnd("client").wire.output(0))

  it("random frames", () => {
    FastCheck.assert(
      FastCheck.property(
        FastCheck.array(
          FastCheck.record({
            type: FastCheck.integer({ min: 0, max: 13 }),
            flags: FastCheck.integer({ min: 0, max: 8 }),
            call: FastCheck.integer({ min: 0, max: 9 }),
            payload: FastCheck.uint8Array({ maxLength: 64 })
          }),
          { maxLength: 30 }
        ),
        FastCheck.array(FastCheck.integer({ min: 1, max: 50 }), { minLength: 1, maxLength: 5 }),
        (frames, sizes) => {
          const end = makeEnd("server")
          const all = Buffer.concat([
            settings,
            ...frames.map(({ call, flags, payload, type }) => frame(type, flags, call, payload))
          ])
          reasonFor(() => {
            for (let at = 0, i = 0; at < all.length; i++) {
              const size = sizes[i % sizes.length] ?? 1
              end.wire.receive(all.subarray(at, at + size), 0)
              at += size
            }
          })
        }
      ),
      { numRuns: 3000 }
    )
  })

  it("what came in memory that is used again stays as it was", () => {
    FastCheck.assert(
      FastCheck.property(
        FastCheck.array(FastCheck.integer({ min: 0, max: 40_000 }), { minLength: 1, maxLength: 6 }),
        FastCheck.integer({ min: 1, max: 16_384 }),
        (messages, most) => {
          const received: Array<Uint8Array> = []
          const client = makeEnd("client")
          const server = makeEnd(
            "server",
            {},
            {
              onOpen: (_, { message }) => received.push(message ?? bytes(0)),
              onMessage: (call, message, cost, costOnConnection) => {
                received.push(message)
                server.wire.consumed(call, cost, costOnConnection)
              }
            }
          )
          const memory = Buffer.alloc(most)
          const toServer = () => {
            const all = Buffer.concat(client.wire.output(64 * 1024))
            for (let at = 0; at < all.length; at += most) {
              server.wire.receive(memory.subarray(0, all.copy(memory, 0, at)), 0, Number.POSITIVE_INFINITY, false)
              memory.fill(0xee)
            }
            carry(server, client)
            return all.length > 0
          }
          toServer()
          client.wire.open(request("/x", 7, metadata), bytes(100), true)
          const call = client.wire.open(request("/x", 7, metadata), undefined, false)
          for (const size of messages) {
            client.wire.sendMessage(call, bytes(size), false, constVoid)
            while (toServer()) {}
          }
          expect(received.map(digest)).toEqual([100, 0, ...messages].map((size) => digest(bytes(size))))
        }
      ),
      { numRuns: 100 }
    )
  })

  it("however the bytes are cut, the same is heard", () => {
    FastCheck.assert(
      FastCheck.property(
        FastCheck.array(FastCheck.integer({ min: 0, max: 20_000 }), { minLength: 1, maxLength: 6 }),
        FastCheck.array(FastCheck.integer({ min: 1, max: 5000 }), { minLength: 1, maxLength: 8 }),
        (messages, sizes) => {
          const run = (cut: ReadonlyArray<number>) => {
            const { client, server } = pair()
            const call = client.wire.open(request("/x", 7, metadata), undefined, false)
            for (const size of messages) {
              client.wire.sendMessage(call, bytes(size), false, constVoid)
              settle(client, server, cut)
              readAll(server)
              settle(client, server, cut)
            }
            client.wire.halfClose(call)
            settle(client, server, cut)
            return server.log
          }
          expect(run(sizes)).toEqual(run([Number.POSITIVE_INFINITY]))
        }
      ),
      { numRuns: 100 }
    )
  })
})
