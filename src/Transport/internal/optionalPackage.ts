/** Loads a package that need not be installed, when a layer needs it. */
import { arch, platform } from "node:process"
import * as Effect from "effect/Effect"
import { MissingPackage } from "../TransportError.js"

/** Node's name for this platform, as binaries are named: `linux-x64`. */
const platformName = `${platform}-${arch}`

/** The package that an import did not find, where its error names one. */
const notFound = (cause: unknown): string | undefined => {
  const isNotFound =
    cause instanceof Error &&
    "code" in cause &&
    (cause.code === "ERR_MODULE_NOT_FOUND" || cause.code === "MODULE_NOT_FOUND")
  return isNotFound
    ? /^Cannot find (?:package|module) '((?:@[^/']+\/)?[^./'][^/']*)/.exec(cause.message)?.[1]
    : undefined
}

/** The package that is missing, and why, by the error that importing `name` failed with. */
const missing = (name: string, hasBinary: boolean, cause: unknown): Pick<MissingPackage, "package" | "reason"> => {
  const absent = notFound(cause)
  return hasBinary && absent !== name
    ? { package: name, reason: "NoBinary" }
    : { package: absent ?? name, reason: "NotInstalled" }
}

/**
 * Loads a package by a function that imports it. Fails with `MissingPackage`: `NotInstalled` names the package, or that of
 * its own peers, which is not there; `NoBinary` is what else keeps a package with a binary from being loaded.
 *
 * `user` is what needs it, as the message says.
 */
export const load = <A>(
  user: string,
  name: string,
  hasBinary: boolean,
  importIt: () => Promise<A>
): Effect.Effect<A, MissingPackage> =>
  Effect.tryPromise({
    try: importIt,
    catch: (cause) => {
      const { package: absent, reason } = missing(name, hasBinary, cause)
      return new MissingPackage({
        package: absent,
        reason,
        platform: platformName,
        message:
          reason === "NoBinary"
            ? `${user} needs the package ${absent} with a binary for ${platformName}`
            : `${user} needs the package ${absent}, which is not installed`,
        cause
      })
    }
  })
