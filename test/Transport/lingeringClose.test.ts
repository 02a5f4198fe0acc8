import * as net from "node:net"
import { describe, expect, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import { closeSoon, lingeringClose } from "../../src/Transport/internal/lingeringClose.js"
import { connect, event, eventually, listen } from "../fixtures/tls.js"

/** A peer that keeps its side open. */
const halfOpen = (port: number) =>
  Effect.acquireRelease(
    Effect.async<net.Socket>((resume) => {
      const socket = net.connect({ port, host: "127.0.0.1", allowHalfOpen: true })
      socket.on("error", () => {})
      socket.once("connect", () => resume(Effect.succeed(socket)))
    }),
    (socket) => Effect.sync(() => socket.destroy())
  )

it.scopedLive.each([
  ["that lingers", (socket: net.Socket) => lingeringClose(socket)],
  ["at once", closeSoon]
] as const)("a close %s does not wait for ever for a peer that does not read", ([, close]) =>
  Effect.gen(function* () {
    const { live, port } = yield* listen((socket) => {
      socket.write(Buffer.alloc(50_000_000))
      close(socket)
    })
    yield* halfOpen(port)
    yield* eventually(() => live() === 1)
    yield* eventually(() => live() === 0)
  })
)

describe("a close that lingers", () => {
  it.scopedLive("reaches a peer that is still sending, and ends when the peer hangs up", () =>
    Effect.gen(function* () {
      const { live, port } = yield* listen((socket) => lingeringClose(socket, Buffer.from("why")))
      const socket = yield* connect(port)
      socket.write(Buffer.alloc(1_000_000))
      let text = ""
      socket.on("data", (bytes) => {
        text += String(bytes)
      })
      yield* event(socket, "end")
      expect(text).toBe("why")
      yield* eventually(() => live() === 0)
    })
  )

  it.scopedLive("sends what was written before, with nothing to say behind it", () =>
    Effect.gen(function* () {
      const { live, port } = yield* listen((socket) => {
        socket.write(Buffer.alloc(3_000_000))
        lingeringClose(socket)
      })
      const socket = yield* connect(port)
      socket.write(Buffer.alloc(1_000_000))
      let size = 0
      socket.on("data", (bytes) => {
        size += bytes.length
      })
      yield* event(socket, "end")
      expect(size).toBe(3_000_000)
      yield* eventually(() => live() === 0)
    })
  )

  it.scopedLive("has time for a peer that reads slowly", () =>
    Effect.gen(function* () {
      const size = 20_000_000
      const { live, port } = yield* listen((socket) => {
        socket.write(Buffer.alloc(size))
        lingeringClose(socket)
      })
      const socket = yield* connect(port)
      let read = 0
      let isSlow = true
      socket.on("data", (bytes) => {
        read += bytes.length
        if (isSlow && read > size / 4) {
          isSlow = false
          socket.pause()
          // More than the time for hanging up, which has not begun.
          setTimeout(() => socket.resume(), 1500)
        }
      })
      yield* event(socket, "end")
      expect(read).toBe(size)
      yield* eventually(() => live() === 0)
    })
  )

  it.scopedLive("does not wait for a peer that never hangs up", () =>
    Effect.gen(function* () {
      const { live, port } = yield* listen((socket) => lingeringClose(socket, Buffer.from("why")))
      const socket = yield* halfOpen(port)
      socket.resume()
      yield* event(socket, "end")
      expect(live()).toBe(1)
      yield* eventually(() => live() === 0)
    })
  )

  it.scopedLive("does not take all that a peer can send in that time", () =>
    Effect.gen(function* () {
      let taken = 0
      const { live, port } = yield* listen((socket) => {
        socket.once("close", () => {
          taken = socket.bytesRead
        })
        lingeringClose(socket)
      })
      const socket = yield* halfOpen(port)
      const flood = () => {
        while (!socket.destroyed && socket.write(Buffer.alloc(64 * 1024))) {}
      }
      socket.on("drain", flood)
      flood()
      yield* eventually(() => live() === 1)
      yield* eventually(() => live() === 0)
      expect(taken).toBeLessThan(256 * 2 ** 20)
    })
  )
})
