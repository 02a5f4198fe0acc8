/** The server of go/echo.go, built from Debian's packages golang-go and golang-google-grpc-dev, which need no network. */
import { execFileSync } from "node:child_process"
import { once } from "node:events"
import { existsSync, mkdirSync } from "node:fs"
import { fileURLToPath } from "node:url"
import type { Certificates } from "./contestant.js"
import * as Process from "./process.js"

const path = (relative: string) => fileURLToPath(new URL(relative, import.meta.url))

/** Where Debian puts the sources of Go packages. */
const goPath = "/usr/share/gocode"
const cache = path("../node_modules/.cache/go")
const binary = `${cache}/bench-echo`

/** Says what is missing, if anything. */
export const build = (): string | undefined => {
  if (!existsSync(`${goPath}/src/google.golang.org/grpc`)) {
    return "golang-google-grpc-dev is not installed"
  }
  mkdirSync(cache, { recursive: true })
  const env = { GO111MODULE: "off", GOPATH: goPath, GOCACHE: cache, GOFLAGS: "", CGO_ENABLED: "0" }
  try {
    execFileSync("go", ["build", "-o", binary, path("go/echo.go")], { env: { ...process.env, ...env } })
    return undefined
  } catch (error) {
    return `go build failed: ${error}`
  }
}

export interface GoServer {
  readonly port: number
  readonly pid: number
  readonly stop: () => void
}

/** Starts it on one core, in cleartext if there are no certificates. It ends with this process. */
export const start = async (core: number, certificates: Certificates | undefined): Promise<GoServer> => {
  const child = Process.startOn(core, binary, [])
  child.stdin.write(`${JSON.stringify(certificates ?? {})}\n`)
  const [port] = await once(child.stdout.setEncoding("utf8"), "data")
  return { port: Number(port), pid: child.pid ?? 0, stop: () => child.stdin.end() }
}
