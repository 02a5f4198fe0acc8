import { defineConfig, mergeConfig } from "vitest/config"
import base from "./vitest.config.js"
import { peers } from "./vitest.peers.config.js"

/** What needs more than the 5 seconds of a test: attacks and soaks, one file at a time because they measure. */
export default mergeConfig(
  { ...base, test: { ...base.test, env: {}, include: [] } },
  defineConfig({
    test: {
      include: ["test/long/**/*.long.ts"],
      exclude: peers,
      fileParallelism: false,
      // A process for each file: some measure what theirs has in use.
      poolOptions: { forks: { isolate: true, minForks: 1, maxForks: 1 } },
      passWithNoTests: true,
      testTimeout: 300_000,
      hookTimeout: 60_000
    }
  })
)
