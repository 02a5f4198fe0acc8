import { execFile } from "node:child_process"
import { promisify } from "node:util"
import { expect, it } from "@effect/vitest"

it("neither grpc-js nor node:http2 is loaded before Grpc.layerGrpcJs is built", async () => {
  const program = ["test/fixtures/loadedModules.ts"]
  const { stdout } = await promisify(execFile)("node_modules/.bin/tsx", program, { timeout: 30_000 })
  expect(
    stdout
      .trim()
      .split("\n")
      .map((line) => JSON.parse(line))
  ).toEqual([
    { step: "imported", grpcJs: false, http2: false },
    { step: "built GrpcLive, MemoryLive and TlsLive", grpcJs: false, http2: false },
    { step: "built Grpc.layerGrpcJs", grpcJs: true, http2: true }
  ])
})
