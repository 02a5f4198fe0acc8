import { describe, expect, it, onTestFinished, vi } from "@effect/vitest"
import * as FastCheck from "effect/FastCheck"
import type { Entries, Entry } from "../../../src/protocol/Entries.js"
import { headerSize, Type } from "../../../src/protocol/wire/Wire.js"
import * as Frames from "../../../src/protocol/wire/WireFrames.js"
import * as Writer from "../../../src/protocol/wire/WireWriter.js"
import { bytes, carry, digest, makeEnd, readAll, request, settle } from "./wireSupport.js"

/** Writes a frame whose payload is a byte over and over. */
const write = (writer: Writer.Writer, size: number, byte: number) => {
  const at = Writer.reserve(writer, size)
  writer.buffer.fill(byte, at, at + size)
  Writer.commit(writer, Type.message, 0, 1, at, at + size)
}

describe("a writer", () => {
  it("gives every byte once and in order, and touches none that is under way", () => {
    const step = FastCheck.oneof(
      FastCheck.record({ _tag: FastCheck.constant("write"), size: FastCheck.nat(3000) }),
      FastCheck.record({ _tag: FastCheck.constantFrom("take", "sent", "trim"), size: FastCheck.constant(0) })
    )
    FastCheck.assert(
      FastCheck.property(FastCheck.array(step, { maxLength: 60 }), (steps) => {
        const writer = Writer.make(64, 4096)
        const written: Array<Buffer> = []
        const arrived: Array<Buffer> = []
        let underWay: Array<Buffer> = []
        const arrive = () => {
          arrived.push(...underWay.map((chunk) => Buffer.from(chunk)))
          underWay = []
          writer.reclaim()
        }
        for (const [i, { _tag, size }] of steps.entries()) {
          if (_tag === "write") {
            write(writer, size, i)
            written.push(Buffer.concat([Buffer.from([3, 0, size >>> 8, size, 0, 0, 0, 1]), Buffer.alloc(size, i)]))
          } else if (_tag === "take") {
            underWay.push(...writer.take())
            expect(writer.size()).toBe(0)
          } else {
            arrive()
            if (_tag === "trim") {
              writer.trim()
            }
          }
        }
        underWay.push(...writer.take())
        arrive()
        expect(Buffer.concat(arrived).equals(Buffer.concat(written))).toBe(true)
      }),
      { numRuns: 300 }
    )
  })

  it("uses its room again and again, in one piece, and lets go of it", () => {
    const writer = Writer.make(256, 64 * 1024)
    const rooms = new Set<ArrayBufferLike>()
    for (let i = 0; i < 200; i++) {
      write(writer, 10_000, i)
      write(writer, 10_000, i)
      write(writer, 20_000, i)
      const taken = writer.take()
      if (i > 10) {
        expect(taken).toHaveLength(1)
        rooms.add(taken[0]?.buffer ?? new ArrayBuffer(0))
      }
      writer.reclaim()
    }
    expect(rooms.size).toBeLessThanOrEqual(2)
    writer.trim()
    expect(writer.buffer.length).toBe(0)
  })
})

describe("large messages", () => {
  const windows = { streamWindow: 1 << 20, connectionWindow: 1 << 22, maxMessageSize: 1 << 20 }
  const connected = () => {
    const client = makeEnd("client", windows)
    const server = makeEnd("server", windows)
    settle(client, server)
    return { client, server }
  }

  it("are overtaken by calls that are opened after them, and by nothing of their own call", () => {
    const { client, server } = connected()
    const upload = client.wire.open(request(), undefined, false)
    carry(client, server)
    let sent = 0
    const onSent = () => {
      sent += 1
    }
    client.wire.sendMessage(upload, bytes(60_000), false, onSent)
    client.wire.sendMessage(upload, bytes(3), false, onSent)
    expect(sent).toBe(2)
    client.wire.halfClose(upload)
    const small = client.wire.open(request(), bytes(5), true)
    settle(client, server)
    expect(server.log.slice(1)).toEqual([
      `open ${small} /a.B/C 1000  ${digest(bytes(5))} true`,
      `message ${upload} ${digest(bytes(60_000))}`,
      `message ${upload} ${digest(bytes(3))}`,
      `half-close ${upload}`
    ])
  })

  it("end before their trailers and their cancel come", () => {
    const { client, server } = connected()
    const [download, other] = [1, 2].map(() => client.wire.open(request(), bytes(1), false))
    settle(client, server)
    server.wire.sendMessage(download ?? 0, bytes(50_000), false, () => {})
    server.wire.sendTrailers(download ?? 0, { code: 0, message: "", details: bytes(0), metadata: request().metadata })
    client.wire.sendMessage(other ?? 0, bytes(50_000), false, () => {})
    client.wire.cancel(other ?? 0)
    settle(client, server)
    const last = (log: ReadonlyArray<string>) => log.slice(-2).map((line) => line.split(" ").slice(0, 2).join(" "))
    expect(last(client.log)).toEqual([`message ${download}`, `trailers ${download}`])
    expect(last(server.log)).toEqual([`message ${other}`, `cancel ${other}`])
  })

  it("of every size arrive as they were, one after the other and however they are cut", () => {
    const sizes = FastCheck.array(FastCheck.integer({ min: 0, max: 120_000 }), { minLength: 1, maxLength: 8 })
    const cuts = FastCheck.array(FastCheck.integer({ min: 1, max: 40_000 }), { minLength: 1, maxLength: 4 })
    FastCheck.assert(
      FastCheck.property(sizes, cuts, (sizes, cuts) => {
        const { client, server } = connected()
        const call = client.wire.open(request(), undefined, false)
        for (const size of sizes) {
          client.wire.sendMessage(call, bytes(size), false, () => {})
          settle(client, server, cuts)
          readAll(server)
          client.wire.reclaim()
        }
        expect(server.log.slice(1)).toEqual(sizes.map((size) => `message ${call} ${digest(bytes(size))}`))
      }),
      { numRuns: 25 }
    )
  })
})

describe("an encoder that throws", () => {
  /** A typed array that says what it likes about its length. */
  const lying = (size: number, length: number) =>
    Object.defineProperty(bytes(size), "length", { get: () => length }) as Uint8Array

  /** Entries of which the one at `at` throws when it is looked at, or calls back into the writer. */
  const entriesThat = (count: number, at: number, act: () => Entry): Entries => {
    const entries = Array.from({ length: count }, (_, i): Entry => [`k${i}`, "v".repeat(i)])
    return Object.defineProperty(entries, at, { get: act })
  }

  /** What is wrong with a frame: each writes one that may throw, of parts that misbehave at a step of their own. */
  const misbehaviours: ReadonlyArray<(writer: Writer.Writer, step: number) => void> = [
    // Throws at the first look, at the second (sizes are known by then), and so on.
    (writer, step) => {
      let looks = 0
      const metadata = entriesThat(3, step % 3, () => {
        looks += 1
        if (looks > step / 3) {
          throw new Error("a getter")
        }
        return ["k", "v"]
      })
      Frames.writeHeaders(writer, 1, metadata)
    },
    // Grows, or shrinks, between the two looks.
    (writer, step) => {
      let value = step % 2 === 0 ? "" : "x".repeat(3000)
      const metadata = entriesThat(2, 0, () => {
        const entry: Entry = ["k", value]
        value = step % 2 === 0 ? "x".repeat(3000) : ""
        return entry
      })
      Frames.writeOpen(writer, 1, { path: "/a/b", timeout: 1, metadata }, bytes(step), true)
    },
    // Takes a message's memory away while the frame is written.
    (writer, step) => {
      const message = bytes(step + 1)
      let looks = 0
      const trailers = entriesThat(2, 1, () => {
        looks += 1
        if (looks === 2) {
          structuredClone(message.buffer, { transfer: [message.buffer] })
        }
        return ["k", "v"]
      })
      Frames.writeReply(writer, 1, { headers: [], message, trailers })
    },
    // Writes a frame of its own in between.
    (writer, step) => {
      let looks = 0
      const metadata = entriesThat(2, 1, () => {
        looks += 1
        if (looks === 1 + (step % 2)) {
          Frames.writePing(writer, 0, 7n)
        }
        return ["k", "v"]
      })
      Frames.writeHeaders(writer, 1, metadata)
    },
    (writer, step) => Frames.writeHeaders(writer, 1, [["k".repeat(254 + (step % 4)), "v"]]),
    (writer, step) => Frames.writeHeaders(writer, 1, [["k-bin", lying(step, 40_000)]]),
    (writer, step) => Frames.writeHeaders(writer, 1, [["k-bin", lying(3000, step)]]),
    (writer, step) => Frames.writeHeaders(writer, 1, [["k", "\u{1f600}ü\0".repeat(step)]]),
    (writer, step) => Frames.writeHeaders(writer, 1, [["k", "v".repeat(65_400 + step)]]),
    (writer, step) => Frames.writeMessage(writer, 0, 1, bytes(step), step, 100),
    (writer, step) => Frames.writeMessage(writer, 0, 1, lying(10, 5000), step, 1000),
    (writer, step) => Frames.writeOpen(writer, 1, { ...request("/".repeat(1000 + step)) }, lying(1, 1000), true),
    (writer, step) =>
      Frames.writeTrailers(writer, 1, {
        code: step % 2 === 0 ? step : 256,
        message: "日本🚀".repeat(step * 20),
        details: lying(step * 300, 5),
        metadata: [["k", "v".repeat(step * 300)]]
      }),
    (writer, step) => Frames.writeGoaway(writer, 1, "Shutdown", "ü".repeat(500 + step)),
    (writer, step) => Frames.writeCredit(writer, 1, step % 2 === 0 ? step : -1)
  ]

  it("leaves nothing behind: what is taken is whole frames of what was written, never old memory", () => {
    const steps = FastCheck.array(
      FastCheck.tuple(FastCheck.nat(misbehaviours.length - 1), FastCheck.nat(120), FastCheck.boolean()),
      { minLength: 1, maxLength: 20 }
    )
    let thrown = 0
    const allocate = vi.spyOn(Buffer, "allocUnsafeSlow").mockImplementation((size) => Buffer.alloc(size, 0xee))
    onTestFinished(() => allocate.mockRestore())
    FastCheck.assert(
      FastCheck.property(steps, (steps) => {
        const writer = Writer.make(64, 4096)
        const taken: Array<Buffer> = []
        const expected: Array<number> = []
        for (const [which, step, takes] of steps) {
          const before = writer.size()
          try {
            misbehaviours[which]?.(writer, step)
          } catch {
            thrown += 1
          }
          expected.push(writer.size() - before)
          if (takes) {
            taken.push(...writer.take().map((chunk) => Buffer.from(chunk)))
            writer.reclaim()
          }
        }
        taken.push(...writer.take())
        const all = Buffer.concat(taken)
        expect(all.length).toBe(expected.reduce((sum, size) => sum + size, 0))
        let at = 0
        while (at < all.length) {
          expect(Object.values(Type)).toContain(all[at])
          at += headerSize + all.readUInt16BE(at + 2)
        }
        expect(at).toBe(all.length)
        expect(all.includes(Buffer.alloc(4, 0xee))).toBe(false)
      }),
      { numRuns: 300 }
    )
    expect(thrown).toBeGreaterThan(0)
  })
})
