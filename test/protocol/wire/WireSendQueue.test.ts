import { describe, expect, it } from "@effect/vitest"
import { constVoid } from "effect/Function"
import * as FlowControl from "../../../src/protocol/FlowControl.js"
import { headerSize, messageOverhead, recordSize } from "../../../src/protocol/wire/Wire.js"
import * as SendQueue from "../../../src/protocol/wire/WireSendQueue.js"
import { bytes } from "./wireSupport.js"

const unlimited = 10_000_000

const make = (credit = unlimited, maxBegun = unlimited) => {
  const queue = SendQueue.make(FlowControl.make(0, credit))
  queue.maxBegun = maxBegun
  return queue
}

const makeStream = (id: number, credit = unlimited): SendQueue.SendStream => ({
  ...FlowControl.make(0, credit),
  id,
  outgoing: undefined,
  batch: 0
})

/** The frames that leave: which stream, how many bytes, and whether more of the message follows. */
const take = (queue: SendQueue.SendQueue, budget = unlimited) => {
  const out = Buffer.concat(SendQueue.take(queue, budget))
  const frames: Array<string> = []
  for (let at = 0; at < out.length; at += headerSize + out.readUInt16BE(at + 2)) {
    frames.push(`${out.readUInt32BE(at + 4)}:${out.readUInt16BE(at + 2)}${out[at + 1] === 4 ? "+" : ""}`)
  }
  return frames
}

describe("credit", () => {
  it("a message waits for it, of the stream and of the connection, and what it costs is used up", () => {
    const queue = make(messageOverhead + 50)
    const stream = makeStream(1, messageOverhead + 20)
    const sent: Array<number> = []
    SendQueue.add(queue, stream, bytes(100), false, () => sent.push(1))
    expect(take(queue)).toEqual(["1:20+"])
    expect([stream.sendCredit, queue.flow.sendCredit, queue.unsent]).toEqual([0, 30, 80])
    FlowControl.addCredit(stream, 1000)
    expect(take(queue)).toEqual([])
    FlowControl.addCredit(queue.flow, 1000)
    expect([sent, take(queue), sent]).toEqual([[1], ["1:80"], [1]])
    expect([queue.unsent, queue.waiting.size]).toEqual([0, 0])
  })

  it("an empty message needs the credit of its overhead", () => {
    const queue = make(messageOverhead - 1)
    SendQueue.add(queue, makeStream(1), bytes(0), false, constVoid)
    expect(take(queue)).toEqual([])
    FlowControl.addCredit(queue.flow, 1)
    expect(take(queue)).toEqual(["1:0"])
  })
})

describe("order", () => {
  it("large messages that waited go out in turns, piece by piece", () => {
    const queue = make(0)
    for (const id of [1, 3]) {
      SendQueue.add(queue, makeStream(id), bytes(300_000), false, constVoid)
    }
    FlowControl.addCredit(queue.flow, unlimited)
    expect(take(queue, 60_000).map((frame) => frame.split(":")[0])).toEqual(["1", "3", "1", "3"])
  })

  it("a small message overtakes the pieces of large ones that are written and not taken", () => {
    const queue = make()
    SendQueue.add(queue, makeStream(1), bytes(60_000), false, constVoid)
    SendQueue.add(queue, makeStream(3), bytes(10), false, constVoid)
    expect(take(queue).map((frame) => frame.split(":")[0])).toEqual(["3", "1", "1", "1", "1"])
  })

  it("no piece is cut by the end of a TLS record", () => {
    const queue = make()
    SendQueue.add(queue, makeStream(1), bytes(300_000), false, constVoid)
    let at = 0
    for (const frame of take(queue)) {
      at += headerSize + Number.parseInt(frame.split(":")[1] ?? "", 10)
      expect(frame.endsWith("+") ? at % recordSize : 0).toBe(0)
    }
    expect(at).toBeGreaterThan(300_000)
  })

  it("a frame behind the pieces of its own stream does not overtake them", () => {
    const queue = make()
    const stream = makeStream(1)
    SendQueue.add(queue, stream, bytes(10_000), false, constVoid)
    expect(SendQueue.writerOf(queue, stream)).toBe(queue.large)
    take(queue)
    expect(SendQueue.writerOf(queue, stream)).toBe(queue.writer)
  })
})

describe("the peer's budget of unfinished messages", () => {
  it("a message that goes out in pieces waits until those that have begun leave room for it", () => {
    const queue = make(unlimited, 50_000)
    const first = makeStream(1, messageOverhead + 10_000)
    const second = makeStream(3)
    SendQueue.add(queue, first, bytes(40_000), false, constVoid)
    expect(take(queue)).toEqual(["1:10000+"])
    SendQueue.add(queue, second, bytes(40_000), false, constVoid)
    expect(take(queue)).toEqual([])
    SendQueue.remove(queue, first)
    expect(queue.unsent).toBe(40_000)
    expect(take(queue).every((frame) => frame.startsWith("3:"))).toBe(true)
    expect(queue).toMatchObject({ unsent: 0, reassembly: { begun: 0, size: 0, next: undefined } })
  })

  it("a message that was waiting to begin and is given up keeps nobody waiting", () => {
    const queue = make(unlimited, 50_000)
    const first = makeStream(1, messageOverhead + 10_000)
    const second = makeStream(3)
    SendQueue.add(queue, first, bytes(40_000), false, constVoid)
    SendQueue.add(queue, second, bytes(40_000), false, constVoid)
    take(queue)
    expect(queue.reassembly.next).toBe(second)
    SendQueue.remove(queue, second)
    expect(queue.reassembly.next).toBe(undefined)
    expect([...queue.waiting]).toEqual([first])
  })
})
