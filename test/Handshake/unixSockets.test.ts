import * as Fs from "node:fs"
import { join } from "node:path"
import { describe, expect, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import type * as Scope from "effect/Scope"
import { Credentials, TlsLive, Transport } from "effect-transport"
import { grpcEngines, otherWires } from "../fixtures/grpcEngines.js"
import { listening, modeOf, stale } from "../fixtures/unixSocket.js"
import { EchoService, echo } from "../suite/fixtures/echo.js"
import { leavesNothing } from "../suite/fixtures/expect.js"
import { directory } from "../suite/fixtures/system.js"

const wires = [
  ...otherWires([["TlsLive", TlsLive]] as const),
  ...grpcEngines.map(({ layer, name }) => [name, layer()] as const)
]

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
