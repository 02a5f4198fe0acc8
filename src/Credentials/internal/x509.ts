/**
 * Loads the X.509 library when the first throw-away certificate is made: it takes 0.2 s, and a program with
 * certificates of its own never needs it.
 */
import { createRequire } from "node:module"

/** The library. */
export type X509 = typeof import("@peculiar/x509", { with: { "resolution-mode": "require" }})

/**
 * The functions of the metadata proposal that the library's container (tsyringe) calls while it loads, and never later.
 */
const shim = { getMetadata: () => undefined, getOwnMetadata: () => undefined }

/**
 * tsyringe refuses to load without `reflect-metadata`, but none of the classes that are registered with it has a
 * constructor parameter that it would have to look up. So it gets empty answers for as long as it loads, and the global
 * `Reflect` is then as it was, whether or not the program uses `reflect-metadata` itself. `require`, because it leaves
 * no moment in which other code could see the difference.
 */
export const load = (): X509 => {
  const require = createRequire(import.meta.url)
  if ("getMetadata" in Reflect) {
    return require("@peculiar/x509")
  }
  Object.assign(Reflect, shim)
  try {
    return require("@peculiar/x509")
  } finally {
    for (const name of Object.keys(shim)) {
      Reflect.deleteProperty(Reflect, name)
    }
  }
}
