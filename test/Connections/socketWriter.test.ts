import * as Net from "node:net"
import { constVoid } from "effect/Function"
import { describe, expect, it, vi } from "vitest"
import * as SocketWriter from "../../src/Connections/SocketWriter.js"

const nextTurn = () => new Promise<void>((resolve) => setImmediate(resolve))

/** A source that keeps what it is given, and a socket that notes what is written. */
const make = (options: Partial<SocketWriter.Options> = {}) => {
  let pending: Array<Buffer> = []
  const buffered = () => pending.reduce((sum, { length }) => sum + length, 0)
  const socket = new Net.Socket()
  const written: Array<string> = []
  let lasts: Array<() => void> = []
  vi.spyOn(socket, "write").mockImplementation((chunk: unknown, callback?: unknown) => {
    written.push(String(chunk))
    if (typeof callback === "function") {
      lasts.push(() => callback())
    }
    return true
  })
  const reclaim = vi.fn()
  const writer = SocketWriter.make({
    socket,
    source: {
      buffered,
      output: () => {
        const taken = pending
        pending = []
        return taken
      },
      reclaim
    },
    maxBufferedBytes: 100_000,
    isEnded: () => false,
    onWritten: constVoid,
    onOverflow: constVoid,
    onThrown: constVoid,
    ...options
  })
  return {
    socket,
    writer,
    written,
    reclaim,
    add: (text: string) => pending.push(Buffer.from(text)),
    leave: () => {
      const left = lasts
      lasts = []
      for (const each of left) {
        each()
      }
    }
  }
}

describe("a socket writer", () => {
  it("writes once what one turn of the event loop brings", async () => {
    const { add, writer, written } = make()
    add("a")
    writer.flush()
    add("b")
    writer.flush()
    expect(written).toEqual([])
    await nextTurn()
    expect(written).toEqual(["a", "b"])
  })

  it("writes at once what is much", () => {
    const { add, writer, written } = make()
    add("x".repeat(5000))
    writer.flush()
    expect(written).toHaveLength(1)
  })

  it("waits for a socket that is full, and says that more waits than may", async () => {
    const onOverflow = vi.fn()
    const { add, socket, writer, written } = make({ onOverflow, maxBufferedBytes: 1000 })
    vi.spyOn(socket, "writableNeedDrain", "get").mockReturnValue(true)
    add("x".repeat(2000))
    writer.flush()
    expect(onOverflow).toHaveBeenCalledTimes(1)
    await nextTurn()
    expect(written).toEqual([])
  })

  it("writes nothing for a connection that has ended", async () => {
    const { add, writer, written } = make({ isEnded: () => true })
    add("a")
    writer.flush()
    await nextTurn()
    expect(written).toEqual([])
  })

  it("hands on what is thrown, and goes on", async () => {
    const onThrown = vi.fn()
    let isBroken = true
    const { add, writer, written } = make({
      onThrown,
      onWritten: () => {
        if (isBroken) {
          throw new Error("broken")
        }
      }
    })
    add("a")
    writer.flush()
    await nextTurn()
    expect(onThrown).toHaveBeenCalledTimes(1)
    isBroken = false
    add("b")
    writer.flush()
    await nextTurn()
    expect(written).toEqual(["a", "b"])
  })

  it("asks once at a time when the last has left", () => {
    const left = vi.fn()
    const { leave, writer, written } = make()
    writer.afterLast(left)
    writer.afterLast(left)
    expect(written).toEqual([""])
    leave()
    expect(left).toHaveBeenCalledTimes(1)
    writer.afterLast(left)
    leave()
    expect(left).toHaveBeenCalledTimes(2)
  })

  it("lets the room of what was sent serve again once the socket is empty", async () => {
    const { add, reclaim, writer } = make()
    add("a")
    writer.flush()
    await nextTurn()
    expect(reclaim).toHaveBeenCalled()
  })
})
