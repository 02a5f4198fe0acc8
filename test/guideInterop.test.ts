/** The Python programs and the `buf curl` command of docs/guide/interop.md, run against this library. */
import { mkdir, readFile, writeFile } from "node:fs/promises"
import { join } from "node:path"
import { toBinary } from "@bufbuild/protobuf"
import { FileDescriptorProtoSchema } from "@bufbuild/protobuf/wkt"
import { describe, expect, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Redacted from "effect/Redacted"
import { Credentials, DevCa, Grpc, Health, Metadata, Reflection, Transport } from "effect-transport"
import { file_poh_v1_poh, PohService } from "../examples/gen/poh/v1/poh_pb.js"
import { describeWhere, freePort, run, start } from "./fixtures/command.js"
import { hasPythonModules, python } from "./fixtures/python.js"
import { within } from "./suite/fixtures/expect.js"
import { directory } from "./suite/fixtures/system.js"

const descriptor = Buffer.from(toBinary(FileDescriptorProtoSchema, file_poh_v1_poh.proto)).toString("base64")

/** What protoc and its plugin for gRPC would have generated, in as much as the page uses it. */
const generated = {
  "poh_pb2.py": `
import base64
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
_file = descriptor_pb2.FileDescriptorProto.FromString(base64.b64decode("${descriptor}"))
_pool = descriptor_pool.DescriptorPool()
_pool.Add(_file)
_factory = message_factory.MessageFactory(_pool)
for _each in _file.message_type:
    globals()[_each.name] = _factory.GetPrototype(_pool.FindMessageTypeByName("poh.v1." + _each.name))
`,
  "poh_pb2_grpc.py": `
import grpc
from poh.v1 import poh_pb2
class PohServiceStub:
    def __init__(self, channel):
        self.Prove = channel.unary_unary("/poh.v1.PohService/Prove",
            request_serializer=poh_pb2.PohRequest.SerializeToString, response_deserializer=poh_pb2.PohAck.FromString)
def add_PohServiceServicer_to_server(servicer, server):
    prove = grpc.unary_unary_rpc_method_handler(servicer.Prove,
        request_deserializer=poh_pb2.PohRequest.FromString, response_serializer=poh_pb2.PohAck.SerializeToString)
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("poh.v1.PohService", {"Prove": prove}),))
`
}

const blocks = Effect.promise(async () => {
  const page = await readFile("docs/guide/interop.md", "utf8")
  const [client = "", server = ""] = [...page.matchAll(/```python\n(.*?)```\n/gs)].map(([, block]) => block)
  const [, curl = ""] = /^(buf curl .*?[^\\])$/ms.exec(page) ?? []
  return { client, server, curl }
})

/** A folder with the certificates of the page, and the layer that has them too. */
const certificates = Effect.gen(function* () {
  const dir = yield* directory
  const ca = yield* DevCa.make()
  const { cert, key } = yield* ca.issue({ names: ["localhost", "127.0.0.1"] })
  const files = { "ca.crt": ca.ca, "node.crt": cert, "node.key": Redacted.value(key) }
  yield* Effect.promise(() =>
    Promise.all(Object.entries(files).map(([name, text]) => writeFile(join(dir, name), text)))
  )
  const wire = yield* Layer.build(Grpc.layer().pipe(Layer.provide(Credentials.layerPem({ cert, key, ca: ca.ca }))))
  return { dir, wire }
})

const handlers = Transport.handlers(PohService, {
  prove: ({ slot }, call) => {
    const tenants = Metadata.getAll(call.metadata, "x-tenant")
    return Effect.succeed({ slot, valid: true, message: tenants.join() })
  },
  proveBatch: () => Effect.succeed({ valid: 0 })
})

const listening = Transport.listen([handlers, Reflection.handlers, Health.handlers]).pipe(Effect.provide(Health.layer))

const portOf = (text: string, port: number) => {
  expect(text).toContain(":50051")
  return text.replaceAll(":50051", `:${port}`)
}

describeWhere(hasPythonModules("grpc", "google.protobuf"), "Python of the guide", "no grpcio", () => {
  const pythonIn = (dir: string) =>
    Effect.promise(async () => {
      await mkdir(join(dir, "poh/v1"), { recursive: true })
      for (const [name, text] of Object.entries(generated)) {
        await writeFile(join(dir, "poh/v1", name), text)
      }
    })

  it.scopedLive("calls a node", () =>
    Effect.gen(function* () {
      const { dir, wire } = yield* certificates
      yield* pythonIn(dir)
      const { address } = yield* Effect.provide(listening, wire)
      const { client } = yield* blocks
      const { code, text } = yield* within(run(python, ["-c", portOf(client, address.port)], dir), "20 seconds")
      expect([code, text.trim()]).toEqual([0, "7 True"])
    })
  )

  it.scopedLive("serves a client", () =>
    Effect.gen(function* () {
      const { dir, wire } = yield* certificates
      yield* pythonIn(dir)
      const port = yield* freePort
      const { client, server } = yield* blocks
      // What reads the certificates stands in the block of the client.
      const program = [
        client.slice(0, client.indexOf("channel =")),
        "class Node:\n    def Prove(self, request, context):\n        return poh_pb2.PohAck(slot=request.slot, valid=True)\n",
        portOf(server, port),
        'print("serving", flush=True)\nserver.wait_for_termination()\n'
      ].join("\n")
      const { said } = yield* start(python, ["-c", program], dir)
      yield* within(said(/serving/), "20 seconds")
      const poh = yield* Effect.provide(Transport.client(PohService, `localhost:${port}`), wire)
      expect(yield* poh.prove({ slot: 7n })).toMatchObject({ slot: 7n, valid: true })
    })
  )
})

describe("buf curl of the guide", () => {
  it.scopedLive("calls a node by its reflection", () =>
    Effect.gen(function* () {
      const { dir, wire } = yield* certificates
      const { address } = yield* Effect.provide(listening, wire)
      const { curl } = yield* blocks
      const env = { PATH: `${process.cwd()}/node_modules/.bin:${process.env.PATH}`, XDG_CACHE_HOME: join(dir, "cache") }
      const { code, stdout } = yield* within(run("sh", ["-c", portOf(curl, address.port)], dir, env), "20 seconds")
      expect([code, JSON.parse(stdout)]).toEqual([0, { slot: "7", valid: true }])
    })
  )
})
