/** Imports and requires every module of the installed package, but the one for tests under Vitest, and other packages that are given. */
import { createRequire } from "node:module"

const require = createRequire(import.meta.url)
const { exports, name } = require("effect-transport/package.json")
const modules = Object.keys(exports).filter((key) => !key.endsWith(".json") && key !== "./testing")
for (const key of modules) {
  await import(name + key.slice(1))
  require(name + key.slice(1))
}
for (const other of process.argv.slice(2)) {
  await import(other)
}
console.log(`node ${process.version}: ${modules.length} modules import and can be required`)
