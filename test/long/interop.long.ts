/** gRPC's interoperability tests with other implementations on Node, and with those in other languages, from Debian. */
import { existsSync } from "node:fs"
import { join } from "node:path"
import { fileURLToPath } from "node:url"
import { describe } from "@effect/vitest"
import * as Effect from "effect/Effect"
import { describeWhere, run } from "../fixtures/command.js"
import { connectNode } from "../fixtures/interop/connectNode.js"
import { interopSuite } from "../fixtures/interop/interopSuite.js"
import { niceGrpc } from "../fixtures/interop/niceGrpc.js"
import { processPeer } from "../fixtures/interop/processPeer.js"
import { hasPythonModules, python } from "../fixtures/python.js"
import { isInstalled } from "../suite/fixtures/system.js"

for (const peer of [niceGrpc, connectNode]) {
  describe(`with ${peer.name}`, () => interopSuite(peer))
}

const path = (relative: string) => fileURLToPath(new URL(relative, import.meta.url))

const hasGrpcio = hasPythonModules("grpc", "google.protobuf")

describeWhere(hasGrpcio, "with grpcio", "python3-grpcio is not installed", () =>
  interopSuite(processPeer("grpcio", Effect.succeed([python, path("../fixtures/interop/peer.py")])))
)

/** Where Debian puts the sources of Go packages. */
const goPath = "/usr/share/gocode"
const hasGrpcGo = isInstalled("go") && existsSync(join(goPath, "src/google.golang.org/grpc"))

/** Builds the peer from Debian's packages alone, once. */
const goPeer = Effect.runSync(
  Effect.cached(
    Effect.gen(function* () {
      const cache = path("../../node_modules/.cache/go")
      const built = join(cache, "peer")
      const environment = { GO111MODULE: "off", GOPATH: goPath, GOCACHE: cache, GOFLAGS: "", CGO_ENABLED: "0" }
      const args = ["build", "-o", built, path("../fixtures/interop/peer.go")]
      const { code, text } = yield* run("go", args, path("../.."), environment)
      return code === 0 ? ([built] as const) : yield* Effect.dieMessage(`go build: ${text}`)
    })
  )
)

describeWhere(hasGrpcGo, "with grpc-go", "golang-google-grpc-dev is not installed", () =>
  interopSuite(processPeer("grpc-go", goPeer))
)
