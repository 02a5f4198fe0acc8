/** Contracts in `.proto` files, which protobufjs parses. */
import { existsSync } from "node:fs"
import { isAbsolute, join, relative, resolve } from "node:path"
import type { FileRegistry } from "@bufbuild/protobuf"
import type { FileDescriptorProto } from "@bufbuild/protobuf/wkt"
import * as Effect from "effect/Effect"
import Protobuf from "protobufjs"
import { Failure } from "../shared/failure.js"
import * as Source from "../shared/files.js"
import * as Files from "./files.js"
import * as Descriptors from "./protoDescriptors.js"

const toDescriptors = "have buf or protoc make descriptors of it, and give them with --descriptors"

const failed = (path: string, cause: unknown) =>
  new Failure({
    message: `${path}: ${cause instanceof Error ? cause.message : String(cause)}`,
    hint: `correct the file, or ${toDescriptors}`,
    cause
  })

/** The name of a file as others import it: relative to the folder in which it was found. */
const nameOf = (path: string, folders: ReadonlyArray<string>): string => {
  const inside = folders
    .map((folder) => relative(resolve(folder), resolve(path)))
    .find((each) => !each.startsWith("..") && !isAbsolute(each))
  return (inside ?? path).replaceAll("\\", "/")
}

interface Parsed {
  readonly head: Descriptors.Head
  readonly imports: ReadonlyArray<string>
}

/** Reads one file into the root. */
const parse = (path: string, name: string, root: Protobuf.Root): Effect.Effect<Parsed, Failure> =>
  Effect.flatMap(Source.readText(path), (text) =>
    Effect.try({
      try: () => {
        // What is parsed says of each of its types where it came from.
        Reflect.set(Protobuf.parse, "filename", name)
        const {
          imports = [],
          package: packageName = "",
          weakImports = []
        } = Protobuf.parse(text, root, { keepCase: true })
        const syntax = /^[ \t]*(syntax|edition)[ \t]*=[ \t]*["']([^"']+)["']/m.exec(text)
        if (syntax?.[1] === "edition") {
          throw new Error(`edition ${syntax[2]} is not read`)
        }
        const all = [...imports, ...weakImports]
        return {
          head: { name, package: packageName, syntax: syntax?.[2] ?? "proto2", dependency: all },
          imports: all
        }
      },
      catch: (cause) => failed(path, cause)
    })
  )

/** A registry of the files and of all that they import, which is looked for in the folders. */
export const read = (
  paths: ReadonlyArray<string>,
  protoPath: ReadonlyArray<string>
): Effect.Effect<FileRegistry, Failure> =>
  Effect.gen(function* () {
    const folders = protoPath.length === 0 ? ["."] : protoPath
    const root = new Protobuf.Root()
    const heads = new Map<string, Descriptors.Head>()
    const waiting: Array<{ readonly path: string; readonly name: string }> = []
    for (const given of paths) {
      const path = [given, ...folders.map((folder) => join(folder, given))].find(existsSync) ?? given
      waiting.push({ path, name: nameOf(path, folders) })
    }
    // Grows while it is read.
    for (const { name, path } of waiting) {
      if (heads.has(name)) {
        continue
      }
      const { head, imports } = yield* parse(path, name, root)
      heads.set(name, head)
      for (const each of imports) {
        const found = folders.map((folder) => join(folder, each)).find(existsSync)
        if (found !== undefined) {
          waiting.push({ path: found, name: each })
        } else if (!Files.wellKnown.has(each)) {
          return yield* new Failure({
            message: `${path} imports ${each}, which is in none of ${folders.join(", ")}`,
            hint: "give its folder with --proto-path"
          })
        }
      }
    }
    const files = yield* Effect.try({
      try: () => {
        Descriptors.addWellKnown(
          root,
          Files.wellKnown,
          [...heads.values()].flatMap(({ dependency }) => dependency)
        )
        root.resolveAll()
        return new Map<string, FileDescriptorProto>(
          Array.from(heads.values(), (head) => [head.name, Descriptors.file(root, head)])
        )
      },
      catch: (cause) => failed(paths.join(", "), cause)
    })
    return yield* Files.registry(files)
  })
