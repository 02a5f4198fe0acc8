/** Clients of gRPC with a server of others, grpc-go: `npm run bench:foreign -- --help`. */
import { parseArgs } from "node:util"
import * as Effect from "effect/Effect"
import type { Certificates } from "./contestant.js"
import * as GoServer from "./goServer.js"
import * as Harness from "./harness.js"
import * as Process from "./process.js"
import * as Report from "./report.js"

const usage = `npm run bench:foreign -- [options]
Needs taskset and Debian's golang-go and golang-google-grpc-dev. The server runs on core 0, the client on core 1.
  --only a,b      the clients: these and grpc-js; default grpc-live,grpc-js
  --rounds n      default 5; each with processes of its own
  --seconds n     default 3
  --warmup n      seconds of load before that; default 2
  --inflight a,b  calls in flight; default 1,64
  --bytes n       size of a message; default 100`

const { values } = parseArgs({
  options: {
    only: { type: "string", default: "grpc-live,grpc-js" },
    rounds: { type: "string", default: "5" },
    seconds: { type: "string", default: "3" },
    warmup: { type: "string", default: "2" },
    inflight: { type: "string", default: "1,64" },
    bytes: { type: "string", default: "100" },
    help: { type: "boolean", default: false }
  }
})

const baseline = "grpc-js"
const serverCore = 0
const clientCore = 1
const bytes = Number(values.bytes)
const inFlights = values.inflight.split(",").map(Number)

/** Times in milliseconds, CPU in microseconds for a call. */
interface Result {
  readonly callsPerSecond: number
  readonly p50: number
  readonly p99: number
  readonly clientCpu: number
  readonly serverCpu: number
}

const load = async (client: Harness.Child, server: GoServer.GoServer, inFlight: number): Promise<Result> => {
  await client.ask("load", { inFlight, seconds: Number(values.warmup), bytes })
  const before = Process.cpuSeconds(server.pid)
  const measured = await client.ask("load", { inFlight, seconds: Number(values.seconds), bytes })
  const { calls, callsPerSecond, cpuSeconds, p50, p99 } = measured
  return {
    callsPerSecond,
    p50,
    p99,
    clientCpu: (cpuSeconds * 1e6) / calls,
    serverCpu: ((Process.cpuSeconds(server.pid) - before) * 1e6) / calls
  }
}

const measure = async (name: string, certificates: Certificates): Promise<ReadonlyArray<Result>> => {
  const server = await GoServer.start(serverCore, certificates)
  const client = await Harness.start(name, { core: clientCore })
  try {
    await client.ask("connect", { certificates, port: server.port, count: 1 })
    const results: Array<Result> = []
    for (const inFlight of inFlights) {
      results.push(await load(client, server, inFlight))
    }
    return results
  } finally {
    client.stop()
    server.stop()
  }
}

const main = async () => {
  const missing = GoServer.build()
  if (missing !== undefined) {
    return console.log(`skipped: ${missing}`)
  }
  Harness.build()
  const certificates = await Effect.runPromise(Harness.makeCertificates)
  const names = [...new Set([...values.only.split(","), baseline])]
  const results = new Map<string, Array<ReadonlyArray<Result>>>(names.map((name) => [name, []]))
  for (let round = 0; round < Number(values.rounds); round++) {
    for (const name of names) {
      const result = await measure(name, certificates)
      const rates = result.map(({ callsPerSecond }, i) => `${Report.number(callsPerSecond)} at ${inFlights[i]}`)
      console.error(`round ${round + 1}/${values.rounds} ${name}: calls/s ${rates.join(", ")}`)
      results.get(name)?.push(result)
    }
  }
  for (const [i, inFlight] of inFlights.entries()) {
    const of = (name: string, key: keyof Result) =>
      (results.get(name) ?? []).map((round) => round[i]?.[key] ?? Number.NaN)
    const base = of(baseline, "callsPerSecond")
    const rows = names.map((name) => {
      const rates = of(name, "callsPerSecond")
      const ratios = rates.map((rate, round) => rate / (base[round] ?? Number.NaN))
      const cell = (key: keyof Result, digits: number) => Report.spread(of(name, key), digits)
      const cpu = [cell("clientCpu", 1), cell("serverCpu", 1)]
      return [name, Report.spread(rates), Report.spread(ratios, 2), cell("p50", 2), cell("p99", 2), ...cpu]
    })
    const heads = ["client", "calls/s", `x ${baseline}`, "p50 ms", "p99 ms", "client CPU us a call", "server CPU us"]
    console.log(`grpc-go serves, ${inFlight} in flight, ${bytes}-byte messages, each end on one core\n`)
    console.log(`${Report.table(heads, rows)}\n`)
  }
}

if (values.help) {
  console.log(usage)
} else {
  await main()
}
