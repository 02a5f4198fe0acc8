/** Servers of gRPC under a client of others, h2load: `npm run bench:h2load -- --help`. */
import { execFileSync } from "node:child_process"
import { mkdtempSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { fileURLToPath } from "node:url"
import { parseArgs } from "node:util"
import * as Effect from "effect/Effect"
import type { Certificates } from "./contestant.js"
import { echoPath, host, request, response } from "./echo.js"
import * as GoServer from "./goServer.js"
import * as Harness from "./harness.js"
import * as Process from "./process.js"
import * as Report from "./report.js"

const usage = `npm run bench:h2load -- [options]
Needs h2load and taskset; for TLS a C compiler, with which h2load gets a client certificate; for "go" Debian's golang-go and
golang-google-grpc-dev. The server runs on core 0, h2load on core 1.
  --only a,b       these and grpc-js; default grpc-live,grpc-js,go
  --wires a,b      tls (mutual), cleartext; default both
  --rounds n       default 5; each with processes of its own
  --seconds n      default 3
  --warmup n       seconds of load before that; default 2
  --connections n  default 1
  --inflight n     calls in flight on each connection; default 64
  --bytes n        size of a message; default 100`

const { values } = parseArgs({
  options: {
    only: { type: "string", default: "grpc-live,grpc-js,go" },
    wires: { type: "string", default: "tls,cleartext" },
    rounds: { type: "string", default: "5" },
    seconds: { type: "string", default: "3" },
    warmup: { type: "string", default: "2" },
    connections: { type: "string", default: "1" },
    inflight: { type: "string", default: "64" },
    bytes: { type: "string", default: "100" },
    help: { type: "boolean", default: false }
  }
})

const baseline = "grpc-js"
const serverCore = 0
const clientCore = 1

type Wire = "tls" | "cleartext"

interface Server {
  readonly port: number
  readonly pid: number
  readonly stop: () => void
}

const start = async (name: string, certificates: Certificates | undefined): Promise<Server> => {
  if (name === "go") {
    return GoServer.start(serverCore, certificates)
  }
  const child = await Harness.start(name, { core: serverCore })
  const port = await (certificates === undefined ? child.ask("serveCleartext") : child.ask("serve", { certificates }))
  return { port, pid: child.pid, stop: child.stop }
}

const payload = Buffer.alloc(Number(values.bytes) - 2, "x")

const framed = (message: Buffer) => {
  const prefix = Buffer.alloc(5)
  prefix.writeUInt32BE(message.length, 1)
  return Buffer.concat([prefix, message])
}

/** What h2load needs beside its arguments. */
interface Files {
  readonly body: string
  readonly env: NodeJS.ProcessEnv
}

const makeFiles = (folder: string, { cert, key }: Certificates, wires: ReadonlyArray<string>): Files => {
  const files = {
    body: `${folder}/body`,
    cert: `${folder}/cert`,
    key: `${folder}/key`,
    preload: `${folder}/preload.so`
  }
  writeFileSync(files.body, framed(request.serialize({ payload })))
  if (!wires.includes("tls")) {
    return { body: files.body, env: {} }
  }
  writeFileSync(files.cert, cert)
  writeFileSync(files.key, key, { mode: 0o600 })
  const source = fileURLToPath(new URL("clientCertificate.c", import.meta.url))
  execFileSync("cc", ["-shared", "-fPIC", "-O2", "-o", files.preload, source, "-ldl"])
  const env = { LD_PRELOAD: files.preload, CLIENT_CERTIFICATE: files.cert, CLIENT_KEY: files.key }
  return { body: files.body, env }
}

/** Puts a server under load for so long, and returns how many calls it has answered, all with the right reply. */
const load = async (wire: Wire, port: number, { body, env }: Files, seconds: number): Promise<number> => {
  const url = `${wire === "tls" ? "https" : "http"}://localhost:${port}${echoPath}`
  const concurrency = ["-c", values.connections, "-m", values.inflight, "-D", `${Math.round(seconds * 1000)}ms`]
  const headers = ["-H", "te: trailers", "-H", "content-type: application/grpc"]
  const args = [...concurrency, ...headers, "-d", body, "--connect-to", `${host}:${port}`, url]
  const printed = await Process.output(Process.startOn(clientCore, "h2load", args, wire === "tls" ? env : {}))
  const number = (pattern: RegExp) => Number(pattern.exec(printed)?.[1])
  const done = number(/ (\d+) done,/)
  const failed = number(/ (\d+) failed,/)
  const bytes = number(/ \((\d+)\) data$/m)
  const expected = framed(response.serialize({ payload })).length
  // An error of gRPC is a success of HTTP, but has no message. Replies that the end cuts off count for nothing.
  if (!(done > 0) || failed !== 0 || bytes < done * expected) {
    throw new Error(`h2load was not answered as it should be:\n${printed}`)
  }
  return done
}

interface Result {
  readonly callsPerSecond: number
  /** Microseconds for a call. */
  readonly cpu: number
}

const measure = async (name: string, wire: Wire, certificates: Certificates, files: Files): Promise<Result> => {
  const { pid, port, stop } = await start(name, wire === "tls" ? certificates : undefined)
  try {
    await load(wire, port, files, Number(values.warmup))
    const before = Process.cpuSeconds(pid)
    const calls = await load(wire, port, files, Number(values.seconds))
    return {
      callsPerSecond: calls / Number(values.seconds),
      cpu: ((Process.cpuSeconds(pid) - before) * 1e6) / calls
    }
  } finally {
    stop()
  }
}

const present = (wire: Wire, results: ReadonlyMap<string, ReadonlyArray<Result>>) => {
  const rows = [...results].map(([name, rounds]) => {
    const rates = rounds.map(({ callsPerSecond }) => callsPerSecond)
    const ratios = rates.map((rate, i) => rate / (results.get(baseline)?.[i]?.callsPerSecond ?? Number.NaN))
    const cpu = rounds.map(({ cpu }) => cpu)
    return [name, Report.spread(rates), Report.spread(ratios, 2), Report.spread(cpu, 1)]
  })
  const load = `${values.connections} x ${values.inflight} in flight, ${values.bytes}-byte messages`
  console.log(`h2load, ${wire}, ${load}, the server on one core\n`)
  console.log(`${Report.table(["", "calls/s", `x ${baseline}`, "server CPU us a call"], rows)}\n`)
}

const main = async () => {
  Harness.build()
  const missing = GoServer.build()
  const names = [...new Set([...values.only.split(","), baseline])].filter(
    (name) => name !== "go" || missing === undefined
  )
  if (missing !== undefined && values.only.split(",").includes("go")) {
    console.log(`go takes no part: ${missing}`)
  }
  const certificates = await Effect.runPromise(Harness.makeCertificates)
  const folder = mkdtempSync(`${tmpdir()}/bench-h2load-`)
  try {
    const wires = (["tls", "cleartext"] as const).filter((wire) => values.wires.split(",").includes(wire))
    const files = makeFiles(folder, certificates, wires)
    for (const wire of wires) {
      const results = new Map<string, Array<Result>>(names.map((name) => [name, []]))
      for (let round = 0; round < Number(values.rounds); round++) {
        for (const name of names) {
          const result = await measure(name, wire, certificates, files)
          console.error(
            `round ${round + 1}/${values.rounds} ${name}, ${wire}: ${Report.number(result.callsPerSecond)} calls/s`
          )
          results.get(name)?.push(result)
        }
      }
      present(wire, results)
    }
  } finally {
    rmSync(folder, { recursive: true })
  }
}

if (values.help) {
  console.log(usage)
} else {
  await main()
}
