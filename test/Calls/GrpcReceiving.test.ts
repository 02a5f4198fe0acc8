import * as Zlib from "node:zlib"
import { afterEach, describe, expect, it } from "@effect/vitest"
import * as Duration from "effect/Duration"
import * as Deadlines from "../../src/Calls/Deadlines.js"
import * as GrpcReceiving from "../../src/Calls/GrpcReceiving.js"
import * as GrpcMessage from "../../src/protocol/grpc/GrpcMessage.js"
import type { StatusError } from "../../src/Transport/TransportError.js"

interface Stream extends GrpcReceiving.GrpcStream {
  readonly isReadable: boolean
  /** What was reported, in order. */
  readonly events: Array<string>
  /** What messages cost that were reported and not released. */
  cost: number
}

const framed = (message: Uint8Array, flags = 0): Buffer => {
  const prefix = Buffer.alloc(GrpcMessage.prefixSize)
  GrpcMessage.writePrefix(prefix, 0, message.length)
  prefix[0] = flags
  return Buffer.concat([prefix, message])
}

const plain = (text: string) => framed(Buffer.from(text))
const packed = (text: string | Buffer) => framed(Zlib.gzipSync(text), 1)
const zeros = (size: number) => packed(Buffer.alloc(size))

const open: Array<Deadlines.Deadlines> = []

afterEach(() => {
  for (const deadlines of open.splice(0)) {
    deadlines.stop()
  }
})

const make = (settings: Partial<GrpcReceiving.Context<Stream>["settings"]> = {}, holdUnfinished = false) => {
  const deadlines = Deadlines.make()
  open.push(deadlines)
  const kept = GrpcReceiving.makeKept()
  const thrown: Array<unknown> = []
  let maxKept = 0
  let ids = 0
  let flushes = 0
  const receiving = GrpcReceiving.make<Stream>(
    {
      deadlines,
      kept,
      account: () => {
        maxKept = Math.max(maxKept, kept.unread + kept.unfinished)
      },
      settings: {
        connectionWindow: 1_000_000,
        messageTimeout: Duration.seconds(60),
        maxReceiveMessageSize: 1_000_000,
        ...settings
      },
      holdUnfinished,
      pause: ({ events }) => events.push("pause"),
      resume: ({ events }) => events.push("resume"),
      flush: () => {
        flushes += 1
      },
      onThrown: (cause) => thrown.push(cause)
    },
    {
      isReadable: ({ isReadable }) => isReadable,
      onMessage: (stream, message, cost) => {
        stream.cost += cost
        stream.events.push(message.length > 100 ? `${message.length} bytes` : Buffer.from(message).toString())
        if (message.length === 13) {
          throw new Error("thrown by a test")
        }
      },
      onEnd: ({ events }) => events.push("end"),
      fail: (stream, error: StatusError) => {
        stream.events.push(error._tag)
        receiving.forget(stream)
        receiving.releaseAll(stream)
      },
      compressedText: "compressed"
    }
  )
  return {
    kept,
    receiving,
    thrown,
    maxKept: () => maxKept,
    flushes: () => flushes,
    /** A stream whose messages may be compressed. */
    open: (isReadable = true): Stream => {
      const messages = GrpcReceiving.makeInbound(settings.maxReceiveMessageSize ?? 1_000_000)
      GrpcReceiving.takeCompressed(messages)
      return { id: ids++, messages, isReadable, events: [], cost: 0 }
    },
    /** Reads what there is, and waits for more. */
    read: (stream: Stream) => {
      const { cost } = stream
      stream.cost = 0
      receiving.release(stream, cost)
      receiving.onWaiting(stream)
    }
  }
}

const until = async (condition: () => boolean) => {
  while (!condition()) {
    await new Promise((resolve) => setTimeout(resolve, 1))
  }
}

/** Waits while something is inflated for a stream. */
const settled = (...streams: ReadonlyArray<Stream>) =>
  until(() => streams.every(({ messages }) => messages.packed === undefined))

const nothing: GrpcReceiving.Kept = { unread: 0, unfinished: 0, begun: 0 }

describe("compressed messages", () => {
  it("are reported in order with those that are not, and the end behind them", async () => {
    const { flushes, kept, open, read, receiving, thrown } = make()
    const stream = open()
    receiving.receive(
      stream,
      Buffer.concat([plain("a"), packed("b"), zeros(300_000), plain("c"), packed("d"), packed(""), plain("e")])
    )
    receiving.end(stream)
    expect(stream.events).not.toContain("end")
    await until(() => stream.events.includes("300000 bytes"))
    // So that what a handler answers to it leaves.
    expect(flushes()).toBeGreaterThan(0)
    read(stream)
    await settled(stream)
    read(stream)
    expect(stream.events.filter((event) => event !== "pause" && event !== "resume")).toEqual([
      "a",
      "b",
      "300000 bytes",
      "c",
      "d",
      "",
      "e",
      "end"
    ])
    expect([kept, thrown]).toEqual([nothing, []])
  })

  it("small ones need no other thread", async () => {
    const { open, receiving } = make()
    const stream = open()
    receiving.receive(stream, Buffer.concat([packed("a"), plain("b")]))
    receiving.end(stream)
    // Unless the turn of the event loop has become long before.
    await new Promise((resolve) => setImmediate(resolve))
    await settled(stream)
    expect(stream.events).toEqual(["a", "b", "end"])
  })

  it("that are malformed, too large or too small to be any end their call alone", async () => {
    const { kept, open, receiving } = make()
    const cases: ReadonlyArray<readonly [Buffer, string]> = [
      [framed(Buffer.from("no gzip at all, this is"), 1), "Internal"],
      [framed(Buffer.alloc(0), 1), "Internal"],
      [framed(Zlib.gzipSync("cut off").subarray(0, -1), 1), "Internal"],
      [zeros(1_000_001), "ResourceExhausted"],
      [zeros(50_000_000), "ResourceExhausted"],
      [framed(Zlib.gzipSync("x"), 2), "Internal"]
    ]
    const good = open()
    const streams = cases.map(([bytes]) => {
      const stream = open()
      receiving.receive(stream, Buffer.concat([bytes, plain("behind it")]))
      return stream
    })
    receiving.receive(good, packed("good"))
    await settled(good, ...streams)
    expect(streams.map(({ events }) => events)).toEqual(cases.map(([, tag]) => [tag]))
    expect(good.events).toEqual(["good"])
    receiving.release(good, good.cost)
    expect(kept).toEqual(nothing)
  })

  it("are not taken where the head did not say that they come", () => {
    const { receiving } = make()
    const stream: Stream = {
      id: 100,
      messages: GrpcReceiving.makeInbound(1000),
      isReadable: true,
      events: [],
      cost: 0
    }
    receiving.receive(stream, packed("a"))
    expect(stream.events).toEqual(["Internal"])
  })

  it("of a stream that is not read are inflated no further, and hold their sender up", async () => {
    const { kept, open, read, receiving } = make()
    const stream = open()
    // 600 KB of messages in less than 1 KB of bytes.
    receiving.receive(stream, Buffer.concat(Array.from({ length: 10 }, () => zeros(60_000))))
    receiving.end(stream)
    await until(() => stream.events.includes("pause"))
    // Whatever else could be inflated is, before what takes longer.
    const other = open()
    receiving.receive(other, zeros(900_000))
    await settled(other)
    read(other)
    const count = () => stream.events.filter((event) => event === "60000 bytes").length
    expect(count()).toBe(2)
    expect(kept.unread).toBeLessThan(200_000)
    while (!stream.events.includes("end")) {
      read(stream)
      await new Promise((resolve) => setImmediate(resolve))
    }
    read(stream)
    expect(count()).toBe(10)
    expect(kept).toEqual(nothing)
  })

  it("are inflated for nobody who reads none, and for those who wait, whatever others leave unread", async () => {
    const { kept, open, read, receiving } = make({ connectionWindow: 100_000 })
    const idle = Array.from({ length: 50 }, () => open())
    for (const stream of idle) {
      receiving.receive(stream, Buffer.concat([zeros(60_000), zeros(60_000)]))
    }
    const reader = open()
    const count = () => reader.events.filter((event) => event === "50000 bytes").length
    receiving.receive(reader, Buffer.concat([zeros(50_000), zeros(50_000)]))
    read(reader)
    await until(() => count() === 1)
    read(reader)
    await until(() => count() === 2)
    read(reader)
    const inflated = idle.filter(({ cost }) => cost > 0)
    expect(inflated.length).toBeLessThan(3)
    expect(kept.unread).toBeLessThan(200_000)
  })

  it("a thousand bombs at once are inflated one at a time, and not in one turn of the event loop", async () => {
    const { kept, maxKept, open, receiving, thrown } = make({ connectionWindow: 8_000_000 })
    const bombs = Array.from({ length: 1000 }, (_, i) => open(i % 2 === 0))
    const bomb = zeros(1_000_000)
    for (const stream of bombs) {
      receiving.receive(stream, bomb)
      receiving.end(stream)
    }
    const small = open()
    receiving.receive(small, Buffer.concat(Array.from({ length: 1000 }, () => zeros(60_000))))
    expect(small.events.filter((event) => event === "60000 bytes").length).toBeLessThan(1000)
    // What is reported is read: all bombs have their turn.
    const isDone = (stream: Stream) => {
      if (stream.cost > 0) {
        const { cost } = stream
        stream.cost = 0
        receiving.release(stream, cost)
      }
      receiving.onWaiting(stream)
      return stream.messages.packed === undefined
    }
    await until(() => [...bombs, small].filter((stream) => !isDone(stream)).length === 0)
    await until(() => [...bombs, small].every((stream) => isDone(stream) && stream.cost === 0))
    expect(
      new Set(bombs.flatMap(({ events }) => events.filter((event) => event !== "pause" && event !== "resume")))
    ).toEqual(new Set(["1000000 bytes", "end"]))
    // The bombs as they came, the one that is inflated, and what their readers had not read yet.
    expect(maxKept()).toBeLessThan(1000 * (bomb.length + 128) + 1000 * 300 + 4_000_000)
    expect([kept, thrown]).toEqual([nothing, []])
  }, 60_000)

  it("of calls that are read at their end are inflated then, and before only within the budget", async () => {
    for (const holdUnfinished of [false, true]) {
      const { kept, open, receiving } = make({ connectionWindow: 1_000_000 }, holdUnfinished)
      const streams = Array.from({ length: 30 }, () => open(false))
      for (const stream of streams) {
        receiving.receive(stream, zeros(400_000))
      }
      const barrier = open()
      receiving.onWaiting(barrier)
      receiving.receive(barrier, zeros(300_000))
      await settled(barrier)
      expect(kept.unread + kept.unfinished).toBeLessThan(2_000_000)
      for (const stream of streams) {
        receiving.end(stream)
      }
      await until(() =>
        streams.every((stream) => {
          if (stream.events.includes("end")) {
            receiving.forget(stream)
            receiving.releaseAll(stream)
          }
          return stream.events.length > 0
        })
      )
      // What had been inflated before was too much for some, where the wire can't hold it up.
      expect(streams.filter(({ events }) => events.includes("end")).length).toBeGreaterThan(holdUnfinished ? 29 : 20)
      receiving.forget(barrier)
      receiving.releaseAll(barrier)
      expect(kept).toEqual(nothing)
    }
  })

  it("what they cost while they wait is too much for a connection as it is of any messages", () => {
    const { kept, open, receiving } = make({ connectionWindow: 10_000 })
    const streams = Array.from({ length: 4 }, () => open(false))
    const bytes = Zlib.gzipSync(Buffer.from(Array.from({ length: 6000 }, (_, i) => (i * i * 31) % 251)), { level: 0 })
    // Ahead of them is one that takes its time.
    const first = open(false)
    receiving.receive(first, zeros(900_000))
    for (const stream of streams) {
      receiving.receive(stream, framed(bytes, 1))
    }
    expect(streams.map(({ events }) => events)).toEqual([[], ...Array(3).fill(["ResourceExhausted"])])
    for (const stream of [first, ...streams]) {
      receiving.forget(stream)
      receiving.releaseAll(stream)
    }
    expect(kept).toEqual(nothing)
  })

  it("of a call that is over are dropped, the one that is being inflated too, and others have their turn", async () => {
    const { kept, open, receiving } = make()
    const stream = open()
    receiving.receive(stream, Buffer.concat([zeros(900_000), packed("behind it")]))
    receiving.end(stream)
    const other = open()
    receiving.receive(other, Buffer.concat([zeros(100_000), packed("b")]))
    receiving.forget(stream)
    await until(() => other.events.includes("100000 bytes"))
    receiving.release(other, other.cost)
    await settled(other)
    receiving.release(other, other.cost)
    expect(stream.events.filter((event) => event !== "pause")).toEqual([])
    expect(other.events.filter((event) => event !== "pause" && event !== "resume")).toEqual(["100000 bytes", "b"])
    expect(kept).toEqual(nothing)
  })

  it("what is thrown for one that was inflated later ends the connection, not the process", async () => {
    const { open, receiving, thrown } = make()
    const stream = open(false)
    receiving.receive(stream, Buffer.concat([zeros(100_000), packed("thirteen long")]))
    await until(() => thrown.length > 0)
    expect(thrown).toEqual([new Error("thrown by a test")])
  })
})
