import { readFileSync } from "node:fs"
import { availableParallelism } from "node:os"
import { defineConfig } from "vitest/config"

const { compilerOptions } = JSON.parse(readFileSync(new URL("tsconfig.json", import.meta.url), "utf8"))

export default defineConfig({
  test: {
    include: ["test/**/*.test.ts"],
    pool: "forks",
    // On two cores Vitest would take one worker, and leave the other core idle.
    poolOptions: { forks: { maxForks: Math.max(2, availableParallelism() - 1) } },
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
