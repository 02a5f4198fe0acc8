import { describe, expect, it } from "@effect/vitest"
import * as FastCheck from "effect/FastCheck"
import { Type } from "../../src/Tls/Wire.js"
import * as Writer from "../../src/Tls/WireWriter.js"
import { bytes, carry, digest, makeEnd, readAll, request, settle } from "./wireSupport.js"

/** Writes a frame whose payload is a byte over and over. */
const write = (writer: Writer.Writer, size: number, byte: number) => {
  const at = writer.frame(Type.message, 0, 1, size)
  writer.buffer.fill(byte, at, at + size)
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
  const windows = { callWindow: 1 << 20, connectionWindow: 1 << 22, maxMessageSize: 1 << 20 }
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
