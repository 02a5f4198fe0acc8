/** Reflection next to what the compiler wrote, and on contracts with all that protobuf has. */
import { execFile } from "node:child_process"
import { mkdir, writeFile } from "node:fs/promises"
import { dirname, join } from "node:path"
import { fileURLToPath } from "node:url"
import { promisify } from "node:util"
import { createFileRegistry, type DescFile, type FileRegistry, fromBinary, toBinary, toJson } from "@bufbuild/protobuf"
import type { GenService, GenServiceMethods } from "@bufbuild/protobuf/codegenv2"
import { type FileDescriptorProto, FileDescriptorProtoSchema, FileDescriptorSetSchema } from "@bufbuild/protobuf/wkt"
import { describe, expect, it } from "@effect/vitest"
import * as Chunk from "effect/Chunk"
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import { Credentials, Memory, Reflection, Transport } from "effect-transport"
import { DagService } from "../../examples/gen/dag/v1/dag_pb.js"
import { PohService } from "../../examples/gen/poh/v1/poh_pb.js"
import { RepairService } from "../../examples/gen/repair/v1/repair_pb.js"
import { file_google_rpc_error_details } from "../../src/gen/google/rpc/error_details_pb.js"
import { file_google_rpc_status } from "../../src/gen/google/rpc/status_pb.js"
import { EchoService } from "../suite/fixtures/echo.js"
import { directory } from "../suite/fixtures/system.js"

const buf = fileURLToPath(new URL("../../node_modules/.bin/buf", import.meta.url))
const proto = fileURLToPath(new URL("../../proto", import.meta.url))

/** What buf makes of a directory, without comments. */
const compile = (root: string) =>
  Effect.promise(async () => {
    const args = ["build", "--as-file-descriptor-set", "--exclude-source-info", "-o", "-#format=binpb"]
    const env = { ...process.env, XDG_CACHE_HOME: join(root, "..", ".cache") }
    const { stdout } = await promisify(execFile)(buf, args, { cwd: root, encoding: "buffer", env })
    return fromBinary(FileDescriptorSetSchema, stdout)
  })

/** Handlers that none of the tests calls, of a contract that is known at run time alone. */
const handlersOf = (service: GenService<GenServiceMethods>) => {
  const methods = Object.keys(service.method).map((name) => [name, () => Effect.never])
  return Transport.handlers(service, Object.fromEntries(methods) as never) as Transport.Handlers<never>
}

type Question = NonNullable<Parameters<typeof ask>[1]["messageRequest"]>

const ask = (
  client: Transport.Client<typeof Reflection.Contract>,
  ...questions: ReadonlyArray<{
    readonly messageRequest:
      | {
          readonly case: "fileByFilename" | "fileContainingSymbol" | "allExtensionNumbersOfType"
          readonly value: string
        }
      | {
          readonly case: "fileContainingExtension"
          readonly value: { readonly containingType: string; readonly extensionNumber: number }
        }
  }>
) =>
  Effect.map(Stream.runCollect(client.serverReflectionInfo(Stream.fromIterable(questions))), (all) =>
    Chunk.toReadonlyArray(all).map(({ messageResponse }) =>
      messageResponse.case === "fileDescriptorResponse"
        ? messageResponse.value.fileDescriptorProto.map((bytes) => fromBinary(FileDescriptorProtoSchema, bytes))
        : messageResponse
    )
  )

const question = (messageRequest: Question) => ({ messageRequest })
const byName = (value: string) => question({ case: "fileByFilename", value })
const bySymbol = (value: string) => question({ case: "fileContainingSymbol", value })
const byExtension = (containingType: string, extensionNumber: number) =>
  question({ case: "fileContainingExtension", value: { containingType, extensionNumber } })
const numbersOf = (value: string) => question({ case: "allExtensionNumbersOfType", value })

const names = (answer: unknown) =>
  Array.isArray(answer) ? (answer as ReadonlyArray<FileDescriptorProto>).map(({ name }) => name) : answer

const notFound = { case: "errorResponse", value: { errorCode: 5 } }

const sources = {
  "a/service.proto": `
    syntax = "proto3";
    package a;
    import public "b/left.proto";
    import "b/right.proto";
    import "google/protobuf/timestamp.proto";
    message Request {
      oneof way { string left = 1; int32 right = 2; }
      message Nested { enum Kind { NONE = 0; SOME = 1; } Kind kind = 1; }
      map<string, Nested> by_name = 3;
      optional string odd_JSON_name = 4 [json_name = "different"];
      google.protobuf.Timestamp at = 5;
    }
    service Service {
      option deprecated = true;
      rpc Call(Request) returns (b.Left);
      rpc Gossip(stream b.Right) returns (stream b.Left);
    }`,
  "b/left.proto": `syntax = "proto2"; package b; import "b/base.proto"; message Left { optional Base base = 1; }`,
  "b/right.proto": `syntax = "proto2"; package b; import "b/base.proto"; message Right { optional Base base = 1; }`,
  "b/base.proto": `
    syntax = "proto2";
    package b;
    message Base { extensions 100 to 200; optional int32 n = 1 [default = 7]; }
    extend Base { optional string note = 100; }
    message Scope { extend Base { optional Scope scope = 150; } }`,
  "c/other.proto": `
    syntax = "proto2";
    package c;
    import "b/base.proto";
    extend b.Base { optional int32 elsewhere = 120; }`
}

const testing = (body: Effect.Effect<void, unknown, Transport.Transport | Scope.Scope>) =>
  body.pipe(Effect.provide(Memory.layer()), Effect.provide(Credentials.layerDev()))

describe("reflection", () => {
  it.scopedLive("sends files as the compiler wrote them, whatever generated code leaves out", () =>
    testing(
      Effect.gen(function* () {
        const { file: compiled } = yield* compile(proto)
        const services = [DagService, PohService, RepairService, EchoService]
        const files = [file_google_rpc_error_details, file_google_rpc_status]
        const { target } = yield* Transport.listen([...services.map(handlersOf), Reflection.handlers({ files })])
        const client = yield* Transport.client(Reflection.Contract, target)
        const wanted = compiled.filter(
          ({ name }) => !name.startsWith("grpc/testing") && !name.startsWith("grpc/health")
        )
        expect(wanted.length).toBeGreaterThan(8)
        for (const file of wanted) {
          const [answer] = yield* ask(client, byName(file.name))
          const [sent] = Array.isArray(answer) ? answer : []
          expect(sent && toJson(FileDescriptorProtoSchema, sent), file.name).toEqual(
            toJson(FileDescriptorProtoSchema, file)
          )
        }
      })
    )
  )

  it.scopedLive("finds whatever a file declares, with what it imports, and extensions", () =>
    testing(
      Effect.gen(function* () {
        const root = yield* directory
        for (const [name, text] of Object.entries(sources)) {
          yield* Effect.promise(() => mkdir(dirname(join(root, name)), { recursive: true }))
          yield* Effect.promise(() => writeFile(join(root, name), text))
        }
        const set = yield* compile(root)
        const registry: FileRegistry = createFileRegistry(set)
        const service = registry.getService("a.Service")
        const other: DescFile | undefined = registry.getFile("c/other.proto")
        if (service === undefined || other === undefined) {
          throw new Error("buf made something else of it")
        }
        const handlers = handlersOf(service as GenService<GenServiceMethods>)
        const { target } = yield* Transport.listen([handlers, Reflection.handlers])
        const client = yield* Transport.client(Reflection.Contract, target)

        const all = [
          "a/service.proto",
          "b/left.proto",
          "b/right.proto",
          "google/protobuf/timestamp.proto",
          "b/base.proto"
        ]
        for (const symbol of [
          "a.Service",
          "a.Service.Gossip",
          "a.Request",
          "a.Request.left",
          "a.Request.way",
          "a.Request.Nested.Kind",
          "a.Request.Nested.SOME",
          "a.Request.ByNameEntry"
        ]) {
          const [answer] = yield* ask(client, bySymbol(symbol))
          expect(names(answer), symbol).toEqual(all)
        }
        // What the stream has had is not sent again, but for the file that is asked for.
        const again = yield* ask(
          client,
          bySymbol("b.Left"),
          bySymbol("b.Right"),
          bySymbol("b.note"),
          bySymbol("a.Request")
        )
        expect(again.map(names)).toEqual([
          ["b/left.proto", "b/base.proto"],
          ["b/right.proto"],
          ["b/base.proto"],
          ["a/service.proto", "google/protobuf/timestamp.proto"]
        ])
        // Whatever comes can be made a registry of, with the same bytes.
        const [files] = yield* ask(client, bySymbol("a.Service"))
        const received = createFileRegistry({ ...set, file: Array.isArray(files) ? files.toReversed() : [] })
        const file = (from: FileRegistry) =>
          Buffer.from(
            toBinary(FileDescriptorProtoSchema, from.getFile("a/service.proto")?.proto ?? (set.file[0] as never))
          )
        expect(file(received).equals(file(registry))).toBe(true)

        const extensions = yield* ask(
          client,
          byExtension("b.Base", 100),
          byExtension("b.Base", 150),
          byExtension("b.Base", 120),
          byExtension("b.Nothing", 100),
          numbersOf("b.Base"),
          numbersOf("b.Left"),
          numbersOf("b.Nothing"),
          bySymbol("b.Scope.scope")
        )
        expect(extensions.map(names)).toMatchObject([
          ["b/base.proto"],
          ["b/base.proto"],
          notFound,
          notFound,
          { case: "allExtensionNumbersResponse", value: { baseTypeName: "b.Base", extensionNumber: [100, 150] } },
          { case: "allExtensionNumbersResponse", value: { baseTypeName: "b.Left", extensionNumber: [] } },
          notFound,
          ["b/base.proto"]
        ])

        const more = yield* Transport.listen([handlers, Reflection.handlers({ files: [other] })])
        const moreClient = yield* Transport.client(Reflection.Contract, more.target)
        const told = yield* ask(moreClient, numbersOf("b.Base"), byExtension("b.Base", 120))
        expect(told.map(names)).toMatchObject([
          { value: { extensionNumber: [100, 120, 150] } },
          ["c/other.proto", "b/base.proto"]
        ])
      })
    )
  )
})
