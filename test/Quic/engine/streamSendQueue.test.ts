import { describe, expect, it } from "@effect/vitest"
import * as SendQueue from "../../../src/Quic/engine/streamSendQueue.js"

/** An engine with so much room for each stream, which remembers what it has taken. */
const setup = () => {
  const room = new Map<number, number>()
  const broken = new Set<number>()
  const log: Array<string> = []
  const queue = SendQueue.make<SendQueue.SendStream>({
    state: {
      streamSend: (id, bytes, fin) => {
        if (broken.has(id)) {
          throw new Error("StreamStopped(7)")
        }
        const left = room.get(id) ?? 0
        if (left === 0 && bytes.length > 0) {
          return null
        }
        const taken = Math.min(left, bytes.length)
        room.set(id, left - taken)
        log.push(`${id}:${taken}${fin && taken === bytes.length ? " end" : ""}`)
        return taken
      },
      streamCapacity: (id) => {
        if (broken.has(id)) {
          throw new Error("InvalidStreamState(1)")
        }
        return room.get(id) ?? 0
      }
    },
    onWritten: () => {},
    onDrained: ({ id }) => log.push(`${id} drained`),
    onBroken: ({ id }) => log.push(`${id} broken`)
  })
  const open = (id: number, size = 0): SendQueue.SendStream => {
    room.set(id, size)
    return { id, pending: [], pendingBytes: 0, fin: false }
  }
  return { queue, log, room, broken, open }
}

const bytes = (size: number) => Buffer.alloc(size)

describe("a stream", () => {
  it("sends at once what there is room for, and says nothing more of it", () => {
    const { log, open, queue } = setup()
    expect(SendQueue.write(queue, open(0, 100), bytes(60), true)).toBe(true)
    expect([log, queue.unsent, queue.blocked.size]).toEqual([["0:60 end"], 0, 0])
  })

  it("keeps the rest, and the end comes with the last byte", () => {
    const { log, open, queue, room } = setup()
    const stream = open(0, 50)
    expect(SendQueue.write(queue, stream, bytes(80), false)).toBe(false)
    expect(SendQueue.write(queue, stream, bytes(20), true)).toBe(false)
    expect([queue.unsent, stream.pendingBytes]).toEqual([50, 50])
    SendQueue.advance(queue)
    expect(log).toEqual(["0:50"])
    room.set(0, 100)
    SendQueue.advance(queue)
    expect(log).toEqual(["0:50", "0:30", "0:20 end", "0 drained"])
    expect([queue.unsent, queue.blocked.size]).toEqual([0, 0])
  })

  it("that is broken drops what it has, whether the engine says so when it is written to or when it has no room", () => {
    const { broken, log, open, queue } = setup()
    const stream = open(0)
    SendQueue.write(queue, stream, bytes(10), false)
    broken.add(0)
    SendQueue.advance(queue)
    expect(log).toEqual(["0 broken", "0 drained"])
    expect([queue.unsent, stream.pendingBytes, queue.blocked.size]).toEqual([0, 0, 0])
  })

  it("that is dropped leaves the others what they have", () => {
    const { log, open, queue, room } = setup()
    const first = open(0)
    const second = open(4)
    SendQueue.write(queue, first, bytes(10), false)
    SendQueue.write(queue, second, bytes(20), false)
    SendQueue.drop(queue, first)
    expect(queue.unsent).toBe(20)
    room.set(0, 100).set(4, 100)
    SendQueue.advance(queue)
    expect(log).toEqual(["4:20", "4 drained"])
  })

  it("that is dropped by what another one's end calls is not sent either", () => {
    const { log, open, queue, room } = setup()
    const second = open(4)
    const dropping: SendQueue.SendQueue<SendQueue.SendStream> = {
      ...queue,
      onDrained: (stream) => {
        queue.onDrained(stream)
        SendQueue.drop(dropping, second)
      }
    }
    SendQueue.write(dropping, open(0), bytes(10), false)
    SendQueue.write(dropping, second, bytes(10), false)
    room.set(0, 100).set(4, 100)
    SendQueue.advance(dropping)
    expect(log).toEqual(["0:10", "0 drained"])
    expect([dropping.unsent, dropping.blocked.size]).toEqual([0, 0])
  })
})

describe("several streams", () => {
  it("with little left go first, and large ones take turns", () => {
    const { log, open, queue, room } = setup()
    for (const [id, size] of [
      [0, 200_000],
      [4, 200_000],
      [8, 1000]
    ] as const) {
      SendQueue.write(queue, open(id), bytes(size), false)
      room.set(id, 1_000_000)
    }
    SendQueue.advance(queue)
    expect(log).toEqual(["8:1000", "8 drained", "0:65536", "4:65536"])
    expect([...queue.blocked.keys()]).toEqual([0, 4])
  })

  it("one that has sent goes behind those that had no room", () => {
    const { open, queue, room } = setup()
    for (const id of [0, 4]) {
      SendQueue.write(queue, open(id), bytes(200_000), false)
    }
    room.set(0, 1000)
    SendQueue.advance(queue)
    expect([...queue.blocked.keys()]).toEqual([4, 0])
  })
})
