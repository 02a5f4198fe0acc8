import * as Fs from "node:fs"
import * as Net from "node:net"
import { join } from "node:path"
import { describe, expect, it, vi } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import type * as Scope from "effect/Scope"
import { Credentials, TlsLive, Transport } from "effect-transport"
import { removeStale, withMode } from "../../src/Handshake/internal/unixSocket.js"
import { grpcEngines } from "../fixtures/grpcEngines.js"
import { EchoService, echo } from "../suite/fixtures/echo.js"
import { leavesNothing } from "../suite/fixtures/expect.js"
import { directory } from "../suite/fixtures/system.js"

/** A node server on a path, closed with the scope. */
const listening = (path: string, onSocket: (socket: Net.Socket) => void = (socket) => socket.end()) =>
  Effect.acquireRelease(
    Effect.async<Net.Server>((resume) => {
      const server = Net.createServer(onSocket).listen({ path }, () => resume(Effect.succeed(server)))
    }),
    (server) => Effect.async<void>((resume) => void server.close(() => resume(Effect.void)))
  )

/** A socket whose process has gone without removing it: what is removed at the end is the other name. */
const stale = (path: string) =>
  Effect.scoped(Effect.tap(listening(`${path}.live`), () => Effect.sync(() => Fs.linkSync(`${path}.live`, path))))

const modeOf = (path: string) => Fs.statSync(path).mode & 0o7777

const wires = [["TlsLive", TlsLive], ...grpcEngines.map(({ layer, name }) => [name, layer()] as const)] as const

describe.each(wires)("a unix socket of %s", (_, live) => {
  const test = (
    title: string,
    body: (path: string) => Effect.Effect<void, unknown, Transport.Transport | Scope.Scope>
  ) =>
    it.live(title, () =>
      leavesNothing(
        Effect.gen(function* () {
          const path = join(yield* directory, "node.sock")
          const transport = yield* Layer.build(Layer.provide(live, Credentials.layerDev()))
          yield* Effect.provide(body(path), transport)
          expect(Fs.existsSync(path)).toBe(false)
        })
      )
    )

  const listen = (options: Transport.ListenOptions) =>
    Transport.listen([Transport.handlers(EchoService, echo)], options)

  const answers = (target: string) =>
    Effect.scoped(
      Effect.gen(function* () {
        const client = yield* Transport.client(EchoService, target)
        expect((yield* client.echo({ message: "hello" })).message).toBe("hello")
      })
    )

  test("that a crashed process has left is replaced", (path) =>
    Effect.scoped(
      Effect.gen(function* () {
        yield* stale(path)
        expect(Fs.lstatSync(path).isSocket()).toBe(true)
        const { target } = yield* listen({ path })
        yield* answers(target)
        expect(Fs.readdirSync(join(path, ".."))).toEqual(["node.sock"])
      })
    ))

  test("that somebody listens on stays", (path) =>
    Effect.scoped(
      Effect.gen(function* () {
        // One that accepts, and one that never gets to it.
        for (const onSocket of [undefined, () => {}]) {
          yield* Effect.scoped(
            Effect.gen(function* () {
              yield* listening(path, onSocket)
              const { ino } = Fs.lstatSync(path)
              expect(yield* Effect.flip(listen({ path }))).toMatchObject({ _tag: "BindError", reason: "AddressInUse" })
              expect(Fs.lstatSync(path).ino).toBe(ino)
            })
          )
        }
        const { target } = yield* listen({ path })
        expect(yield* Effect.flip(listen({ path }))).toMatchObject({ _tag: "BindError", reason: "AddressInUse" })
        yield* answers(target)
      })
    ))

  test("does not replace a file, a directory or a link", (path) =>
    Effect.gen(function* () {
      for (const [make, remove] of [
        [() => Fs.writeFileSync(path, "precious"), () => Fs.unlinkSync(path)],
        [() => Fs.mkdirSync(path), () => Fs.rmdirSync(path)],
        [() => Fs.symlinkSync("nowhere", path), () => Fs.unlinkSync(path)]
      ] as const) {
        make()
        const before = Fs.lstatSync(path)
        expect(yield* Effect.flip(Effect.scoped(listen({ path })))).toMatchObject({
          _tag: "BindError",
          reason: "AddressInUse"
        })
        expect(Fs.lstatSync(path)).toMatchObject({ ino: before.ino, size: before.size, mode: before.mode })
        remove()
      }
    }))

  test("is for this user alone, unless its mode says otherwise", (path) =>
    Effect.gen(function* () {
      const mask = process.umask()
      for (const [options, expected] of [
        [{}, 0o600],
        [{ mode: 0o660 }, 0o660],
        [{ mode: 0o777 }, 0o777],
        [{ mode: 0 }, 0]
      ] as const) {
        // The mode is there when the file is: nothing changes it later.
        yield* Effect.scoped(
          Effect.tap(listen({ path, ...options }), () => Effect.sync(() => expect(modeOf(path)).toBe(expected)))
        )
        expect(process.umask()).toBe(mask)
      }
      for (const mode of [0o1000, -1, 1.5, Number.NaN]) {
        expect(yield* Effect.flip(Effect.scoped(listen({ path, mode })))).toMatchObject({ reason: "InvalidAddress" })
      }
    }))
})

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
