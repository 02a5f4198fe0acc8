/** `.proto` files as the command line reads them, next to what buf makes of them. */
import { execFile } from "node:child_process"
import { mkdir, writeFile } from "node:fs/promises"
import { dirname, join } from "node:path"
import { fileURLToPath } from "node:url"
import { promisify } from "node:util"
import { fromBinary, toJson } from "@bufbuild/protobuf"
import { type FileDescriptorProto, FileDescriptorProtoSchema, FileDescriptorSetSchema } from "@bufbuild/protobuf/wkt"
import { describe, expect, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import { read } from "../../cli/src/contract/protoFile.js"
import { directory } from "../suite/fixtures/system.js"

const buf = fileURLToPath(new URL("../../node_modules/.bin/buf", import.meta.url))

const sources = {
  "shop/v1/shop.proto": `
    // A comment with syntax = "proto2" in it.
    syntax = "proto3";
    package shop.v1;
    import "shop/v1/parts/part.proto";
    import "google/protobuf/any.proto";
    import "google/protobuf/timestamp.proto";
    message Order {
      message Line { string item_id = 1; uint32 count = 2; }
      enum State { STATE_UNSPECIFIED = 0; STATE_PAID = 1; }
      repeated Line lines = 1;
      map<string, Line> line_by_name = 2;
      map<int32, State> states = 3;
      optional string note = 4;
      oneof payment { string card = 5; parts.Part barter = 6; }
      repeated sint64 deltas = 7 [packed = false];
      google.protobuf.Timestamp at = 8;
      google.protobuf.Any more = 9;
      string odd_name = 10 [json_name = "other"];
      Order parent = 11;
      reserved 20;
    }
    service Orders {
      rpc Place(Order) returns (Order.Line);
      rpc Watch(Order) returns (stream Order) { option idempotency_level = NO_SIDE_EFFECTS; }
      rpc Send(stream Order) returns (parts.Part);
      rpc Talk(stream parts.Part) returns (stream .shop.v1.Order);
    }`,
  "shop/v1/parts/part.proto": `
    syntax = "proto2";
    package shop.v1.parts;
    message Part {
      required int32 number = 1;
      optional double weight = 2 [default = 1.5];
      optional Kind kind = 3 [default = KIND_B];
      optional group Box = 4 { optional int32 width = 1; }
      extensions 100 to 199;
    }
    enum Kind { option allow_alias = true; KIND_A = 0; KIND_B = 1; KIND_C = 1; }
    extend Part { optional string maker = 100; }`
}

/** What messages, their JSON and the wire depend on; not what only compilers read. */
const essential = (file: FileDescriptorProto) => {
  const byName = (a: { readonly name: string }, b: { readonly name: string }) => (a.name < b.name ? -1 : 1)
  const json = JSON.stringify(toJson(FileDescriptorProtoSchema, file), (key, value) =>
    key === "reservedRange" || value === false ? undefined : key === "nestedType" ? value.toSorted(byName) : value
  )
  const { syntax, ...rest } = JSON.parse(json)
  return { ...rest, syntax: syntax === "" ? undefined : syntax }
}

describe(".proto files", () => {
  it.scopedLive("are what a compiler makes of them", () =>
    Effect.gen(function* () {
      const dir = yield* directory
      for (const [name, text] of Object.entries(sources)) {
        yield* Effect.promise(() => mkdir(dirname(join(dir, name)), { recursive: true }))
        yield* Effect.promise(() => writeFile(join(dir, name), text))
      }
      const args = ["build", "--as-file-descriptor-set", "--exclude-source-info", "-o", "-#format=binpb"]
      const env = { ...process.env, XDG_CACHE_HOME: join(dir, "..", "cache") }
      const compiled = yield* Effect.promise(() =>
        promisify(execFile)(buf, args, { cwd: dir, encoding: "buffer", env })
      )
      const registry = yield* read(["shop/v1/shop.proto"], [dir])
      const ours = new Map(Array.from(registry.files, ({ proto }) => [proto.name, proto]))
      for (const file of fromBinary(FileDescriptorSetSchema, compiled.stdout).file) {
        const own = ours.get(file.name)
        if (Object.hasOwn(sources, file.name)) {
          expect(own && essential(own), file.name).toEqual(essential(file))
        } else {
          expect(own?.name).toBe(file.name)
        }
      }
    })
  )

  it.scopedLive("that can't be read say where and what to do", () =>
    Effect.gen(function* () {
      const dir = yield* directory
      const attempt = (text: string) =>
        Effect.zipRight(
          Effect.promise(() => writeFile(join(dir, "a.proto"), text)),
          Effect.flip(read([join(dir, "a.proto")], [dir]))
        )
      expect(yield* attempt("message {")).toMatchObject({ message: expect.stringMatching(/a\.proto.*line 1/) })
      expect(yield* attempt('syntax = "proto3"; import "b.proto";')).toMatchObject({
        message: expect.stringContaining("imports b.proto, which is in none of"),
        hint: "give its folder with --proto-path"
      })
      expect(yield* attempt('edition = "2023"; message A {}')).toMatchObject({
        message: expect.stringContaining("edition 2023 is not read"),
        hint: expect.stringContaining("--descriptors")
      })
      expect(yield* attempt('syntax = "proto3"; message A { Nothing b = 1; }')).toMatchObject({
        message: expect.stringContaining("Nothing")
      })
      expect(yield* attempt('syntax = "proto3"; import "a.proto"; message A {}')).toMatchObject({
        message: "a.proto imports itself"
      })
      expect(yield* Effect.flip(read([join(dir, "none.proto")], []))).toMatchObject({
        message: expect.stringContaining("ENOENT")
      })
    })
  )
})
