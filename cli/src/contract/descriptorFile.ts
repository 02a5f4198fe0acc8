/** Contracts in descriptor files: images of buf and descriptor sets of protoc, binary, gzipped or JSON. */
import { gunzipSync } from "node:zlib"
import { type FileRegistry, fromBinary, fromJson, type JsonValue } from "@bufbuild/protobuf"
import { type FileDescriptorProto, type FileDescriptorSet, FileDescriptorSetSchema } from "@bufbuild/protobuf/wkt"
import * as Effect from "effect/Effect"
import { Failure } from "../shared/failure.js"
import * as Source from "../shared/files.js"
import * as Files from "./files.js"

/** How large a file may be once it is inflated. */
const maxOutputLength = 256 * 1024 * 1024

const parse = (bytes: Uint8Array): FileDescriptorSet => {
  if (bytes[0] === 0x1f && bytes[1] === 0x8b) {
    return parse(gunzipSync(bytes, { maxOutputLength }))
  }
  if (bytes[0] === 0x7b) {
    const json: JsonValue = JSON.parse(Buffer.from(bytes).toString("utf8"))
    // An image has more than a descriptor set.
    return fromJson(FileDescriptorSetSchema, json, { ignoreUnknownFields: true })
  }
  return fromBinary(FileDescriptorSetSchema, bytes)
}

/** A registry of all that the files have. */
export const read = (paths: ReadonlyArray<string>): Effect.Effect<FileRegistry, Failure> =>
  Effect.gen(function* () {
    const files = new Map<string, FileDescriptorProto>()
    for (const path of paths) {
      const bytes = yield* Source.readBytes(path)
      const set = yield* Effect.try({
        try: () => parse(bytes),
        catch: (cause) =>
          new Failure({
            message: `${path} is no descriptor file: ${cause instanceof Error ? cause.message : String(cause)}`,
            hint: "buf build -o contract.binpb makes one, and protoc --include_imports --descriptor_set_out contract.binpb",
            cause
          })
      })
      if (set.file.length === 0) {
        return yield* new Failure({ message: `${path} has no files of protobuf in it`, hint: "is it the right file?" })
      }
      for (const file of set.file) {
        files.set(file.name, file)
      }
    }
    return yield* Files.registry(files)
  })
