import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises"
import { createRequire } from "node:module"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { expect, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import { MissingPackage, Quic, QuicUnavailable } from "effect-transport"
import * as ClusterTransport from "effect-transport/ClusterTransport"
import * as OptionalPackage from "../../src/Transport/internal/optionalPackage.js"

const platform = `${process.platform}-${process.arch}`

/** Modules of a project in which nothing else is installed, by name. */
const project = (files: Record<string, string>) =>
  Effect.acquireRelease(
    Effect.promise(async () => {
      const folder = await mkdtemp(join(tmpdir(), "optional-"))
      for (const [name, content] of Object.entries(files)) {
        const file = join(folder, name)
        await mkdir(join(file, ".."), { recursive: true })
        await writeFile(file, content)
      }
      return folder
    }),
    (folder) => Effect.promise(() => rm(folder, { recursive: true }))
  )

/** By Node's own loader, whose errors are what users get, and not Vite's. */
const user = {
  "import.cjs": "module.exports = () => import('@some/engine')",
  "require.cjs": "module.exports = async () => require('@some/engine/native')"
}
const importer = (folder: string, file: keyof typeof user): (() => Promise<unknown>) =>
  createRequire(join(folder, "package.json"))(`./${file}`)
const installed = (content: string) => ({
  ...user,
  "node_modules/@some/engine/package.json": JSON.stringify({ name: "@some/engine", main: "index.cjs" }),
  "node_modules/@some/engine/index.cjs": content
})

const cases = [
  {
    name: "is not installed where nothing is",
    files: user,
    library: { package: "@some/engine", reason: "NotInstalled" },
    engine: { package: "@some/engine", reason: "NotInstalled" }
  },
  {
    name: "lacks a package that it needs itself",
    files: installed("require('left.pad/lib')"),
    library: { package: "left.pad", reason: "NotInstalled" },
    engine: { package: "@some/engine", reason: "NoBinary" }
  },
  {
    name: "is half installed",
    files: { ...user, "node_modules/@some/engine/package.json": JSON.stringify({ main: "gone.cjs" }) },
    library: { package: "@some/engine", reason: "NotInstalled" },
    engine: { package: "@some/engine", reason: "NoBinary" }
  },
  {
    name: "is there, and has nothing for this platform",
    files: installed("throw new Error('Unsupported architecture on Linux: riscv')"),
    library: { package: "@some/engine", reason: "NotInstalled" },
    engine: { package: "@some/engine", reason: "NoBinary" }
  }
] as const

for (const { engine, files, library, name } of cases) {
  it.scopedLive(`a package that ${name}`, () =>
    Effect.gen(function* () {
      const folder = yield* project(files)
      const load = (hasBinary: boolean) =>
        Effect.flip(OptionalPackage.load("The layer", "@some/engine", hasBinary, importer(folder, "import.cjs")))
      for (const [error, expected] of [
        [yield* load(false), library],
        [yield* load(true), engine]
      ] as const) {
        expect(error).toBeInstanceOf(MissingPackage)
        expect(error).toMatchObject({ _tag: "MissingPackage", ...expected, platform, packageName: expected.package })
        expect(error.cause).toBeInstanceOf(Error)
        expect(error.message).toBe(
          expected.reason === "NoBinary"
            ? `The layer needs the package ${expected.package} with a binary for ${platform}`
            : `The layer needs the package ${expected.package}, which is not installed`
        )
      }
    })
  )
}

it.scopedLive("a package that is required and not installed", () =>
  Effect.gen(function* () {
    const folder = yield* project(user)
    const error = yield* Effect.flip(
      OptionalPackage.load("The layer", "@some/engine", true, importer(folder, "require.cjs"))
    )
    expect(error).toMatchObject({ package: "@some/engine", reason: "NotInstalled" })
  })
)

it("what was installed is loaded", () =>
  Effect.runPromise(
    Effect.map(
      OptionalPackage.load("The layer", "node:path", false, () => import("node:path")),
      ({ sep }) => expect(sep).toBe("/")
    )
  ))

it("its error has one class, whatever name it is asked for by", () => {
  expect(QuicUnavailable).toBe(MissingPackage)
  expect(Quic.QuicUnavailable).toBe(MissingPackage)
  expect(ClusterTransport.MissingPackage).toBe(MissingPackage)
})
