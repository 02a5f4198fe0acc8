/** Versions, packages and limits of this machine. */
import { createRequire } from "node:module"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Layer from "effect/Layer"
import { Credentials, Quic } from "effect-transport"
import { version } from "../../shared/version.js"

/** One thing that was looked at. */
export interface Check {
  readonly name: string
  readonly status: "ok" | "warning" | "failed"
  readonly value: string
  /** What to do where all is not well. */
  readonly advice?: string
}

const require = createRequire(import.meta.url)

/** The version of a package as this program would import it. */
const versionOf = (name: string): string | undefined => {
  try {
    const { version }: { readonly version: string } = require(`${name}/package.json`)
    return version
  } catch {
    return undefined
  }
}

/** The oldest Node that the packages run on. */
const nodeWanted = [20, 19] as const

const node = (): Check => {
  const [major = 0, minor = 0] = process.versions.node.split(".").map(Number)
  const isOld = major < nodeWanted[0] || (major === nodeWanted[0] && minor < nodeWanted[1])
  return {
    name: "node",
    status: isOld ? "failed" : "ok",
    value: `${process.version} (${process.platform}-${process.arch}, OpenSSL ${process.versions.openssl})`,
    ...(isOld ? { advice: `install Node ${nodeWanted.join(".")} or newer` } : {})
  }
}

const library = (): Check => {
  const found = versionOf("effect-transport")
  return found === undefined
    ? { name: "effect-transport", status: "failed", value: "not found", advice: "npm install effect-transport" }
    : { name: "effect-transport", status: "ok", value: found }
}

const effect = (): Check => {
  const found = versionOf("effect") ?? "not found"
  return found.startsWith("3.")
    ? { name: "effect", status: "ok", value: found }
    : { name: "effect", status: "failed", value: found, advice: "npm install effect@3" }
}

const optional = (name: string, what: string): Check => {
  const found = versionOf(name)
  return found === undefined
    ? { name, status: "warning", value: "not installed", advice: `npm install ${name}, if you need ${what}` }
    : { name, status: "ok", value: found }
}

/** Whether QUIC can be had: the package is there, and its binary loads. */
const quic: Effect.Effect<Check> = Layer.build(Layer.provide(Quic.QuicLive, Credentials.layerDev())).pipe(
  Effect.scoped,
  Effect.either,
  Effect.map(
    Either.match({
      onLeft: (error): Check => ({
        name: "QUIC",
        status: "warning",
        value: "can't be used",
        advice:
          error._tag === "MissingPackage" && error.reason === "NotInstalled"
            ? `npm install ${error.package}`
            : `${error.message}: use --wire grpc or tls here`
      }),
      onRight: (): Check => ({
        name: "QUIC",
        status: "ok",
        value: `the engine loads (${versionOf("@infisical/quic")})`
      })
    })
  )
)

/** Below it a node with many peers runs out of sockets. */
const openFilesWanted = 4096

/** Of the process: what `ulimit -n` says. Node raises its own soft limit to the hard one when it starts. */
const openFiles = (): Check => {
  const name = "open files"
  const report: unknown = process.report.getReport()
  const { soft, hard } =
    (report as { readonly userLimits?: { readonly open_files?: { readonly soft: unknown; readonly hard: unknown } } })
      .userLimits?.open_files ?? {}
  const limit = soft === "unlimited" ? Number.POSITIVE_INFINITY : Number(soft)
  return Number.isNaN(limit)
    ? { name, status: "ok", value: "no limit is known on this system" }
    : limit < openFilesWanted
      ? {
          name,
          status: "warning",
          value: `${soft} (hard limit ${hard})`,
          advice: `ulimit -n ${openFilesWanted} or more`
        }
      : { name, status: "ok", value: String(soft) }
}

/** Before the day on which this was written a clock is surely wrong. */
const earliest = Date.UTC(2026, 0, 1)

const clock = (): Check => {
  const now = new Date()
  return now.getTime() < earliest
    ? { name: "clock", status: "failed", value: now.toISOString(), advice: "set it: certificates are verified by it" }
    : { name: "clock", status: "ok", value: now.toISOString() }
}

/** All that needs no file. */
export const machineChecks: Effect.Effect<ReadonlyArray<Check>> = Effect.map(quic, (quic) => [
  { name: "effect-transport-cli", status: "ok", value: version },
  library(),
  effect(),
  node(),
  quic,
  optional("@effect/cluster", "ClusterTransport"),
  optional("@bufbuild/protovalidate", "Middleware.validation"),
  openFiles(),
  clock()
])
