/** Imports every module of the installed package, but the one for tests under Vitest, and other packages that are given. */
import { createRequire } from "node:module"

const { exports, name } = createRequire(import.meta.url)("effect-transport/package.json")
const modules = Object.keys(exports).filter((key) => !key.endsWith(".json") && key !== "./testing")
for (const key of modules) {
  await import(name + key.slice(1))
}
for (const other of process.argv.slice(2)) {
  await import(other)
}
console.log(`node ${process.version}: ${modules.length} modules import`)
