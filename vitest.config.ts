import { readFileSync } from "node:fs"
import { availableParallelism } from "node:os"
import { defineConfig } from "vitest/config"
import { BaseSequencer, type TestSpecification } from "vitest/node"

const { compilerOptions } = JSON.parse(readFileSync(new URL("tsconfig.json", import.meta.url), "utf8"))

/** More than there are cores: for half of their time tests wait, for a deadline or for another process. */
const workers = 2 * availableParallelism()

/** Begins with the files that run a suite: they take longest and are small, and Vitest would begin with large ones. */
class SuitesFirst extends BaseSequencer {
  override async sort(files: Array<TestSpecification>): Promise<Array<TestSpecification>> {
    const runsSuite = ({ moduleId }: TestSpecification) => /Suite\(/.test(readFileSync(moduleId, "utf8"))
    const sorted = await super.sort(files)
    return [...sorted.filter(runsSuite), ...sorted.filter((file) => !runsSuite(file))]
  }
}

export default defineConfig({
  test: {
    include: ["test/**/*.test.ts"],
    pool: "forks",
    poolOptions: {
      forks: {
        // Loading modules costs as much as a quarter of all tests do, so that the files of one worker share them.
        isolate: false,
        // Tinypool fails at times where it ends a worker that has become idle (3.2.7), so that there are as many to the end.
        minForks: workers,
        maxForks: workers
      }
    },
    // The tests of gRPC run on both engines, those of `@grpc/grpc-js` in `npm run test:long`.
    env: { GRPC_ENGINE: process.env.GRPC_ENGINE ?? "GrpcLive" },
    // What a test that passes has logged says nothing.
    silent: "passed-only",
    sequence: { sequencer: SuitesFirst },
    // Only what hangs takes that long.
    testTimeout: 60_000
  },
  resolve: {
    // What the repository imports as "effect-transport" is its source, here as in tsconfig.json.
    alias: Object.entries<[string]>(compilerOptions.paths).map(([name, [file]]) => ({
      find: new RegExp(`^${name}$`),
      replacement: new URL(file, import.meta.url).pathname
    }))
  }
})
