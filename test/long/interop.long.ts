/** gRPC's interoperability tests with implementations in other languages, from Debian. */
import { spawnSync } from "node:child_process"
import { fileURLToPath } from "node:url"
import * as Effect from "effect/Effect"
import { describeWhere } from "../fixtures/command.js"
import { interopSuite } from "../fixtures/interop/interopSuite.js"
import { processPeer } from "../fixtures/interop/processPeer.js"

const python = "/usr/bin/python3"
const program = fileURLToPath(new URL("../fixtures/interop/peer.py", import.meta.url))

const hasGrpcio = spawnSync(python, ["-c", "import grpc, google.protobuf"], { stdio: "ignore" }).status === 0

describeWhere(hasGrpcio, "grpcio", "python3-grpcio is not installed", () =>
  interopSuite(processPeer("grpcio", Effect.succeed([python, program])))
)
