/** Protobuf files from anywhere, as a registry. */
import { createFileRegistry, type DescFile, type FileRegistry } from "@bufbuild/protobuf"
import * as Wkt from "@bufbuild/protobuf/wkt"
import { type FileDescriptorProto, FileDescriptorSetSchema } from "@bufbuild/protobuf/wkt"
import * as Effect from "effect/Effect"
import { exitCodes, Failure } from "../shared/failure.js"

const isFile = (value: unknown): value is DescFile =>
  typeof value === "object" && value !== null && "kind" in value && value.kind === "file"

/** The files that protobuf itself comes with, by name. */
export const wellKnown: ReadonlyMap<string, FileDescriptorProto> = new Map(
  Object.values(Wkt)
    .filter(isFile)
    .map(({ proto }) => [proto.name, proto])
)

const bad = (message: string, cause?: unknown) =>
  new Failure({
    message,
    hint: "have the descriptors made by buf or protoc, with all that they import",
    exitCode: exitCodes.failed,
    cause
  })

/** Each file after those that it imports; files that protobuf comes with need not be there. */
const sorted = (files: ReadonlyMap<string, FileDescriptorProto>): ReadonlyArray<FileDescriptorProto> => {
  const done = new Set<string>()
  const order: Array<FileDescriptorProto> = []
  // A stack of its own: whoever made the files decides how deep they import each other.
  const stack: Array<{ readonly name: string; readonly isLeft: boolean }> = []
  const open = new Set<string>()
  for (const root of files.keys()) {
    stack.push({ name: root, isLeft: false })
    for (let next = stack.pop(); next !== undefined; next = stack.pop()) {
      const { isLeft, name } = next
      const file = files.get(name) ?? wellKnown.get(name)
      if (file === undefined) {
        throw bad(`${name} is imported and not there`)
      }
      if (isLeft) {
        open.delete(name)
        done.add(name)
        order.push(file)
      } else if (open.has(name)) {
        throw bad(`${name} imports itself`)
      } else if (!done.has(name)) {
        open.add(name)
        stack.push({ name, isLeft: true })
        for (const dependency of file.dependency) {
          if (!done.has(dependency)) {
            stack.push({ name: dependency, isLeft: false })
          }
        }
      }
    }
  }
  return order
}

/** A registry of files, with those of protobuf that they import. */
export const registry = (files: ReadonlyMap<string, FileDescriptorProto>): Effect.Effect<FileRegistry, Failure> =>
  Effect.try({
    try: () => createFileRegistry({ $typeName: FileDescriptorSetSchema.typeName, file: [...sorted(files)] }),
    catch: (cause) =>
      cause instanceof Failure
        ? cause
        : bad(`the descriptors can't be used: ${cause instanceof Error ? cause.message : String(cause)}`, cause)
  })
