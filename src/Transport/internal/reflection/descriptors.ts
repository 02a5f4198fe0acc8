/** The protobuf files behind services: their bytes, the symbols they declare, and their extensions. */
import { type DescFile, toBinary } from "@bufbuild/protobuf"
import {
  type DescriptorProto,
  type EnumDescriptorProto,
  type FieldDescriptorProto,
  type FileDescriptorProto,
  FileDescriptorProtoSchema
} from "@bufbuild/protobuf/wkt"
import * as Effect from "effect/Effect"
import { yieldWhenLong } from "../eventLoop.js"

/** Files by name, `dag/v1/dag.proto`, with all that they import. */
export type Files = ReadonlyMap<string, DescFile>

/** These files and what they import, each once, in the order in which that is found. */
export const closure = (roots: Iterable<DescFile>): Files => {
  const files = new Map<string, DescFile>()
  for (const root of roots) {
    files.set(root.proto.name, files.get(root.proto.name) ?? root)
  }
  // Grows while it is read.
  for (const { dependencies } of files.values()) {
    for (const each of dependencies) {
      if (!files.has(each.proto.name)) {
        files.set(each.proto.name, each)
      }
    }
  }
  return files
}

const bytes = new WeakMap<DescFile, Uint8Array>()

/**
 * A file as its compiler wrote it. Generated code carries it without comments and without what can be told from the rest,
 * which is put back when the code is loaded.
 */
export const bytesOf = (file: DescFile): Uint8Array => {
  const before = bytes.get(file)
  if (before !== undefined) {
    return before
  }
  const made = toBinary(FileDescriptorProtoSchema, file.proto)
  bytes.set(file, made)
  return made
}

const inside = (scope: string, name: string) => (scope === "" ? name : `${scope}.${name}`)

// The values of an enum are its siblings.
const ofEnum = (scope: string, { name, value }: EnumDescriptorProto) => [
  inside(scope, name),
  ...value.map((each) => inside(scope, each.name))
]

const ofMessage = (scope: string, message: DescriptorProto): ReadonlyArray<string> => {
  const name = inside(scope, message.name)
  return [
    name,
    ...[...message.field, ...message.oneofDecl, ...message.extension].map((each) => inside(name, each.name)),
    ...message.enumType.flatMap((each) => ofEnum(name, each)),
    ...message.nestedType.flatMap((each) => ofMessage(name, each))
  ]
}

/** The full names of all that a file declares. */
const symbolsOf = (file: FileDescriptorProto): ReadonlyArray<string> => [
  ...file.messageType.flatMap((each) => ofMessage(file.package, each)),
  ...file.enumType.flatMap((each) => ofEnum(file.package, each)),
  ...file.extension.map(({ name }) => inside(file.package, name)),
  ...file.service.flatMap(({ method, name }) => {
    const service = inside(file.package, name)
    return [service, ...method.map((each) => inside(service, each.name))]
  })
]

const extensionsOf = ({
  extension,
  nestedType
}: Pick<DescriptorProto, "extension" | "nestedType">): ReadonlyArray<FieldDescriptorProto> => [
  ...extension,
  ...nestedType.flatMap(extensionsOf)
]

export interface Index {
  readonly files: Files
  /** By the full name of what they declare. */
  readonly symbols: ReadonlyMap<string, DescFile>
  /** By the full name of the type that is extended, and the number of the field. */
  readonly extensions: ReadonlyMap<string, ReadonlyMap<number, DescFile>>
}

/** Reads all files once. */
export const index = (files: Files): Effect.Effect<Index> =>
  Effect.gen(function* () {
    const symbols = new Map<string, DescFile>()
    const extensions = new Map<string, Map<number, DescFile>>()
    for (const file of files.values()) {
      yield* yieldWhenLong
      for (const symbol of symbolsOf(file.proto)) {
        symbols.set(symbol, file)
      }
      const { extension, messageType } = file.proto
      for (const { extendee, number } of extensionsOf({ extension, nestedType: messageType })) {
        const type = extendee.replace(/^\./, "")
        const numbers = extensions.get(type) ?? new Map<number, DescFile>()
        extensions.set(type, numbers.set(number, file))
      }
    }
    return { files, symbols, extensions }
  })
