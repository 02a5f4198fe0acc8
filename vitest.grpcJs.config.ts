import { readdirSync, readFileSync } from "node:fs"
import { join } from "node:path"
import { defineConfig, mergeConfig } from "vitest/config"
import base from "./vitest.config.js"

/** What a test file names that runs on both engines. */
const runsOnBoth = /\b(?:grpcEngines|describeEngines|interopSuite)\b(?!\.js)/

const include = readdirSync("test", { recursive: true, encoding: "utf8" })
  .map((file) => join("test", file))
  .filter((file) => file.endsWith(".test.ts") && runsOnBoth.test(readFileSync(file, "utf8")))

/** What `npm test` runs on GrpcLive, on the engine `@grpc/grpc-js`. */
export default mergeConfig(
  { ...base, test: { ...base.test, include } },
  defineConfig({ test: { env: { GRPC_ENGINE: "Grpc.layerGrpcJs" }, passWithNoTests: true } })
)
