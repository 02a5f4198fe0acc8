/**
 * Runs what `npm test` leaves: the tests of gRPC on `@grpc/grpc-js`, several files at once, then those of `test/long`: what
 * waits for other programs two files at a time, what measures one file at a time. Arguments go to Vitest; the file of
 * `--outputFile.json` tells of all.
 */
import { spawnSync } from "node:child_process"
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"

const outputFlag = "--outputFile.json="
const output = process.argv.find((argument) => argument.startsWith(outputFlag))?.slice(outputFlag.length)
const args = process.argv.slice(2).filter((argument) => !argument.startsWith(outputFlag))

/** What is read here of the JSON that Vitest writes, which is Jest's. */
interface Report {
  success: boolean
  startTime: number
  testResults: ReadonlyArray<unknown>
  [count: `num${string}`]: number
}

const run = (config: string, report: string): boolean => {
  const { error, status } = spawnSync(
    "vitest",
    ["run", "--config", config, ...args, ...(output === undefined ? [] : [outputFlag + report])],
    { stdio: "inherit" }
  )
  if (error !== undefined) {
    throw error
  }
  return status === 0
}

const merge = (one: Report, two: Report): Report => {
  const merged: Report = {
    ...two,
    success: one.success && two.success,
    startTime: one.startTime,
    testResults: [...one.testResults, ...two.testResults]
  }
  for (const key of Object.keys(two)) {
    if (isCount(key)) {
      merged[key] = (one[key] ?? 0) + (two[key] ?? 0)
    }
  }
  return merged
}

const isCount = (key: string): key is `num${string}` => key.startsWith("num")

/** An engine that is named runs alone: the tests of `test/long` look for themselves. */
const engine = process.env.GRPC_ENGINE ?? ""
const configs = [
  ...(engine === "" || engine === "Grpc.layerGrpcJs" ? ["vitest.grpcJs.config.ts"] : []),
  "vitest.peers.config.ts",
  "vitest.long.config.ts"
]

const folder = mkdtempSync(join(tmpdir(), "effect-transport-"))
try {
  const reports = configs.map((_, index) => join(folder, `${index}.json`))
  const passed = configs.map((config, index) => run(config, reports[index] ?? ""))
  if (output !== undefined) {
    const read = reports.map((report): Report => JSON.parse(readFileSync(report, "utf8")))
    writeFileSync(output, JSON.stringify(read.reduce(merge)))
  }
  process.exitCode = passed.every(Boolean) ? 0 : 1
} finally {
  rmSync(folder, { recursive: true, force: true })
}
