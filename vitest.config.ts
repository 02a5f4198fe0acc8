import { readFileSync } from "node:fs"
import { defineConfig } from "vitest/config"

const { compilerOptions } = JSON.parse(readFileSync(new URL("tsconfig.json", import.meta.url), "utf8"))

export default defineConfig({
  test: {
    include: ["test/**/*.test.ts"],
    pool: "forks",
    testTimeout: 20_000
  },
  resolve: {
    // What the repository imports as "effect-transport" is its source, here as in tsconfig.json.
    alias: Object.entries<[string]>(compilerOptions.paths).map(([name, [file]]) => ({
      find: new RegExp(`^${name}$`),
      replacement: new URL(file, import.meta.url).pathname
    }))
  }
})
