/** What a peer sends is read so far in one turn of the event loop, and the rest in the next ones. */
import * as Net from "node:net"
import { setImmediate } from "node:timers/promises"
import { afterEach, beforeEach, describe, expect, it, vi } from "@effect/vitest"
import { constVoid } from "effect/Function"
import * as Option from "effect/Option"
import * as Liveness from "../../src/Connections/Liveness.js"
import * as SocketReader from "../../src/Connections/SocketReader.js"
import * as TurnShare from "../../src/Connections/TurnShare.js"

/** A protocol of bytes, of which each `c` begins a call and `!` is against its rules. */
const makeReader = ({ mayKeep = true } = {}) => {
  const socket = new Net.Socket()
  const pause = vi.spyOn(socket, "pause")
  const resume = vi.spyOn(socket, "resume")
  const state = { came: 0, text: "", thrown: [] as Array<unknown>, received: 0, isEnded: false, isMidFrame: false }
  const reader = SocketReader.make({
    socket,
    peer: { identity: Option.none() },
    liveness: Liveness.make({ keepaliveTime: 1e6, keepaliveTimeout: 1e6, frameTimeout: 1e6 }, 0),
    writer: { flush: constVoid, write: constVoid, schedule: constVoid, afterLast: constVoid },
    mayKeep,
    isEnded: () => state.isEnded,
    onReceived: () => {
      state.received += 1
    },
    onThrown: (cause) => {
      state.isEnded = true
      state.thrown.push(cause)
    },
    protocol: {
      isMidFrame: () => state.isMidFrame,
      came: () => state.came,
      receive: (chunk, _, maxBegun) => {
        let begun = 0
        for (const [at, char] of [...chunk.toString()].entries()) {
          if (char === "!") {
            throw new Error("against the rules")
          }
          state.text += char
          if (char === "c") {
            state.came += 1
            begun += 1
            if (begun >= maxBegun) {
              return at + 1
            }
          }
        }
        return chunk.length
      }
    }
  })
  return { reader, state, pause, resume, socket }
}

const most = TurnShare.mostPerTurn

/** Short turns, after which each connection may begin as many calls in one as it ever may. */
const growShares = async () => {
  const share = TurnShare.make({ identity: Option.none() }, constVoid)
  for (let turn = 0; turn < 5; turn++) {
    share.count(1, 0)
    await setImmediate()
    await setImmediate()
  }
}

describe("SocketReader", () => {
  // Turns are long on a busy machine, and shorter than what is told here then.
  beforeEach(async () => {
    vi.spyOn(performance, "now").mockReturnValue(0)
    await growShares()
  })

  afterEach(() => {
    vi.restoreAllMocks()
  })

  it("reads what begins few calls at once", () => {
    const { pause, reader, state } = makeReader()
    reader.onData(Buffer.from("abc"))
    reader.onData(Buffer.from("cde"))
    expect(state).toMatchObject({ text: "abccde", received: 2 })
    expect(pause).not.toHaveBeenCalled()
  })

  it("lets so many calls begin in a turn, keeps what comes behind them in order, and reads on in the next", async () => {
    const { pause, reader, resume, state } = makeReader()
    const all = `${"c".repeat(2 * most + 1)}end`
    reader.onData(Buffer.from(all.slice(0, most + 10)))
    expect(state.text).toBe("c".repeat(most))
    expect(pause).toHaveBeenCalledTimes(1)
    // What a socket had read when it was paused still comes.
    reader.onData(Buffer.from(all.slice(most + 10)))
    expect(state.text).toBe("c".repeat(most))
    await setImmediate()
    expect(state.text).toBe("c".repeat(2 * most))
    expect(resume).not.toHaveBeenCalled()
    await setImmediate()
    expect(state.text).toBe(all)
    expect(resume).toHaveBeenCalledTimes(1)
  })

  it("stops before a chunk that comes behind the last call of a turn, and reads it in the next", async () => {
    const { pause, reader, resume, state } = makeReader()
    reader.onData(Buffer.from("c".repeat(most)))
    expect(pause).not.toHaveBeenCalled()
    reader.onData(Buffer.from("c"))
    expect(state.text).toBe("c".repeat(most))
    expect(pause).toHaveBeenCalledTimes(1)
    await setImmediate()
    expect(state.text).toBe("c".repeat(most + 1))
    expect(resume).toHaveBeenCalledTimes(1)
  })

  it("reads all of a chunk that is overwritten afterwards", () => {
    const { pause, reader, state } = makeReader({ mayKeep: false })
    reader.onData(Buffer.from("c".repeat(3 * most)))
    expect(state.text.length).toBe(3 * most)
    expect(pause).not.toHaveBeenCalled()
  })

  it("ends the connection for what is thrown, and reads nothing behind it", async () => {
    const { reader, resume, state } = makeReader()
    reader.onData(Buffer.from(`${"c".repeat(most)}!`))
    expect(state.thrown).toEqual([])
    await setImmediate()
    expect(state.thrown).toMatchObject([{ message: "against the rules" }])
    reader.onData(Buffer.from("more"))
    await setImmediate()
    expect(state).toMatchObject({ text: "c".repeat(most), received: 1 })
    expect(resume).not.toHaveBeenCalled()
  })

  it("reads nothing more of a connection that ended between two turns", async () => {
    const { reader, state } = makeReader()
    reader.onData(Buffer.from("c".repeat(most + 1)))
    state.isEnded = true
    await setImmediate()
    expect(state.text).toBe("c".repeat(most))
  })

  it("ends the connection where the socket can't be read on", async () => {
    const { reader, resume, state } = makeReader()
    resume.mockImplementation(() => {
      throw new Error("gone")
    })
    reader.onData(Buffer.from("c".repeat(most + 1)))
    await setImmediate()
    expect(state.thrown).toMatchObject([{ message: "gone" }])
  })
})
