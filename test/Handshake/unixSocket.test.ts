/** The file of a unix socket: its mode, and what a crashed process has left of one. */
import * as Fs from "node:fs"
import * as Net from "node:net"
import { join } from "node:path"
import { describe, expect, it, vi } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import { removeStale, withMode } from "../../src/Handshake/internal/unixSocket.js"
import { listening, modeOf, stale } from "../fixtures/unixSocket.js"
import { directory } from "../suite/fixtures/system.js"

describe("the mode of a unix socket", () => {
  it.scopedLive("is set in a worker thread too, which can't set the mask of the process", () =>
    Effect.gen(function* () {
      const path = join(yield* directory, "node.sock")
      const umask = vi.spyOn(process, "umask").mockImplementation(() => {
        throw new Error("ERR_WORKER_UNSUPPORTED_OPERATION")
      })
      const server = yield* Effect.acquireRelease(
        Effect.sync(() => Net.createServer()),
        (server) => Effect.sync(() => server.close())
      )
      withMode(path, 0o640, () => server.listen({ path }))
      expect(modeOf(path)).toBe(0o640)
      umask.mockRestore()
    })
  )
})

describe("a stale unix socket", () => {
  it.scopedLive("that another process has replaced while it was looked at stays", () =>
    Effect.gen(function* () {
      const dir = yield* directory
      const path = join(dir, "node.sock")
      yield* stale(path)
      yield* listening(join(dir, "other"))
      // Runs up to the look itself; what it finds out is told in a later turn.
      const removing = Effect.runFork(removeStale(path))
      Fs.unlinkSync(path)
      Fs.linkSync(join(dir, "other"), path)
      expect(yield* Fiber.join(removing)).toBe(false)
      expect(Fs.lstatSync(path).ino).toBe(Fs.lstatSync(join(dir, "other")).ino)
      expect(Fs.readdirSync(dir).toSorted()).toEqual(["node.sock", "other"])
    })
  )
})
