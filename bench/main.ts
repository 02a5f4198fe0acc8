/** Unary calls side by side: `npm run bench -- --help`. */
import * as Os from "node:os"
import { parseArgs } from "node:util"
import * as Effect from "effect/Effect"
import type { Certificates } from "./contestant.js"
import * as Harness from "./harness.js"
import type { Summary } from "./profile.js"
import * as Report from "./report.js"

const usage = `npm run bench -- [options]
  --only a,b       these contestants and the baselines: ${Harness.contestants.join(", ")}
  --baseline a,b   what the ratios refer to; default grpc-js
  --rounds n       default 5; each with processes of its own
  --seconds n      how long each load is measured in a round; default 3
  --warmup n       seconds of load before that; default 3
  --inflight a,b   calls in flight; default 1,64
  --bytes n        size of a message; default 100
  --connections n  for the memory per connection, 0 leaves it out; default 200
  --starts n       connects per round for the start-up time, 0 leaves it out; default 20
  --profile dir    write CPU profiles of the last round there, and print what costs most
  --json           all numbers, as JSON on stdout`

const { values } = parseArgs({
  options: {
    only: { type: "string", default: Harness.contestants.join(",") },
    baseline: { type: "string", default: "grpc-js" },
    rounds: { type: "string", default: "5" },
    seconds: { type: "string", default: "3" },
    warmup: { type: "string", default: "3" },
    inflight: { type: "string", default: "1,64" },
    bytes: { type: "string", default: "100" },
    connections: { type: "string", default: "200" },
    starts: { type: "string", default: "20" },
    profile: { type: "string" },
    json: { type: "boolean", default: false },
    help: { type: "boolean", default: false }
  }
})

const baselines = values.baseline.split(",")
const names = [...new Set([...baselines, ...values.only.split(",")])]
const rounds = Number(values.rounds)
const seconds = Number(values.seconds)
const warmup = Number(values.warmup)
const inFlights = values.inflight.split(",").map(Number)
const bytes = Number(values.bytes)
const connections = Number(values.connections)
const starts = Number(values.starts)

/** What one contestant did in one round. Times in milliseconds, CPU in seconds for 1,000 calls, memory in KiB. */
interface Result {
  readonly contestant: string
  readonly firstStart: number
  readonly start: number | undefined
  readonly further: number | undefined
  readonly loads: ReadonlyArray<Load>
  readonly memory: Memory | undefined
}

interface Load {
  readonly inFlight: number
  readonly callsPerSecond: number
  readonly p50: number
  readonly p99: number
  readonly clientCpu: number
  readonly serverCpu: number
}

interface Memory {
  readonly clientHeap: number
  readonly clientRss: number
  readonly serverHeap: number
  readonly serverRss: number
}

const profiles: Array<{ readonly title: string; readonly summary: Summary }> = []

/** The parts of a round in which everyone is measured once, so that what else the machine does hits all alike. */
const slices = 6

interface Pair {
  readonly contestant: string
  readonly server: Harness.Child
  readonly client: Harness.Child
  readonly port: number
  readonly firstStart: number
}

const open = async (contestant: string, certificates: Certificates): Promise<Pair> => {
  const [server, client] = await Promise.all([Harness.start(contestant), Harness.start(contestant)])
  const port = await server.ask("serve", { certificates })
  const firstStart = await client.ask("connect", { certificates, port, count: 1 })
  return { contestant, server, client, port, firstStart }
}

const load = async ({ client, server }: Pair, inFlight: number): Promise<Load> => {
  const before = await server.ask("usage")
  const measured = await client.ask("load", { inFlight, seconds: seconds / slices, bytes })
  const after = await server.ask("usage")
  return {
    inFlight,
    callsPerSecond: measured.callsPerSecond,
    p50: measured.p50,
    p99: measured.p99,
    clientCpu: (measured.cpuSeconds * 1000) / measured.calls,
    serverCpu: ((after.cpuSeconds - before.cpuSeconds) * 1000) / measured.calls
  }
}

/** Lets each take its turn as often as there are slices. What each measured then goes by contestant. */
const takeTurns = async <A>(pairs: ReadonlyArray<Pair>, measure: (pair: Pair) => Promise<A>) => {
  const measured = new Map<string, Array<A>>(pairs.map(({ contestant }) => [contestant, []]))
  for (let slice = 0; slice < slices; slice++) {
    for (const pair of [...pairs.slice(slice % pairs.length), ...pairs.slice(0, slice % pairs.length)]) {
      measured.get(pair.contestant)?.push(await measure(pair))
    }
  }
  return measured
}

const startProfile = ({ client, server }: Pair) => Promise.all([server.ask("startProfile"), client.ask("startProfile")])

const stopProfile = async ({ client, contestant, server }: Pair, inFlight: number) => {
  for (const [side, child] of Object.entries({ client, server })) {
    const title = `${contestant}-${inFlight}-${side}`
    const summary = await child.ask("stopProfile", { file: `${values.profile}/${title}.cpuprofile` })
    profiles.push({ title, summary })
  }
}

const medians = <K extends string>(samples: ReadonlyArray<{ readonly [key in K]: number }>, keys: ReadonlyArray<K>) =>
  Object.fromEntries(keys.map((key) => [key, Report.median(samples.map((sample) => sample[key]))])) as Record<K, number>

const measures = ["inFlight", "callsPerSecond", "p50", "p99", "clientCpu", "serverCpu"] as const

const speed = async (pairs: ReadonlyArray<Pair>, certificates: Certificates, profiled: boolean) => {
  const loads: Array<ReadonlyMap<string, ReadonlyArray<Load>>> = []
  for (const inFlight of inFlights) {
    for (const { client } of pairs) {
      await client.ask("load", { inFlight, seconds: warmup, bytes })
    }
    if (profiled) {
      await Promise.all(pairs.map(startProfile))
    }
    loads.push(await takeTurns(pairs, (pair) => load(pair, inFlight)))
    if (profiled) {
      await Promise.all(pairs.map((pair) => stopProfile(pair, inFlight)))
    }
  }
  const startUps = await takeTurns(starts === 0 ? [] : pairs, ({ client, port }) =>
    client.ask("startUp", { certificates, port, times: Math.ceil(starts / slices) })
  )
  return (contestant: string) => ({
    loads: loads.map((each) => medians(each.get(contestant) ?? [], measures)),
    startUp: startUps.has(contestant) ? medians(startUps.get(contestant) ?? [], ["first", "further"]) : undefined
  })
}

const memory = (contestant: string, certificates: Certificates) =>
  Harness.withPair(contestant, async (server, client): Promise<Memory> => {
    const measure = () => Promise.all([server.ask("memory"), client.ask("memory")])
    const port = await server.ask("serve", { certificates })
    // What the first connections load and compile is no part of what the others hold.
    await client.ask("startUp", { certificates, port, times: 5 })
    const [serverBefore, clientBefore] = await measure()
    await client.ask("connect", { certificates, port, count: connections })
    const [serverAfter, clientAfter] = await measure()
    const each = (after: number, before: number) => (after - before) / connections / 1024
    return {
      clientHeap: each(clientAfter.heap, clientBefore.heap),
      clientRss: each(clientAfter.rss, clientBefore.rss),
      serverHeap: each(serverAfter.heap, serverBefore.heap),
      serverRss: each(serverAfter.rss, serverBefore.rss)
    }
  })

const run = async (): Promise<ReadonlyArray<ReadonlyArray<Result>>> => {
  const certificates = await Effect.runPromise(Harness.makeCertificates)
  const results: Array<ReadonlyArray<Result>> = []
  for (let round = 0; round < rounds; round++) {
    const pairs: Array<Pair> = []
    for (const contestant of names) {
      pairs.push(await open(contestant, certificates))
    }
    const of = await speed(pairs, certificates, values.profile !== undefined && round === rounds - 1)
    for (const { client, server } of pairs) {
      client.stop()
      server.stop()
    }
    const inRound: Array<Result> = []
    for (const { contestant, firstStart } of pairs) {
      const { loads, startUp } = of(contestant)
      inRound.push({
        contestant,
        firstStart,
        start: startUp?.first,
        further: startUp?.further,
        loads,
        memory: connections === 0 ? undefined : await memory(contestant, certificates)
      })
      const rates = loads.map((each) => `${Report.number(each.callsPerSecond)} at ${each.inFlight}`)
      console.error(`round ${round + 1}/${rounds} ${contestant}: calls/s ${rates.join(", ")}`)
    }
    results.push(inRound)
  }
  return results
}

/** A number of each round, and the same divided by that of each baseline in that round. */
const makeColumn =
  (results: ReadonlyArray<ReadonlyArray<Result>>) =>
  (contestant: string, get: (result: Result) => number | undefined) => {
    const of = (name: string) =>
      results.flatMap((round) => {
        const result = round.find((each) => each.contestant === name)
        return result === undefined ? [] : (get(result) ?? [])
      })
    const numbers = of(contestant)
    const ratios = baselines.map((baseline) => {
      const base = of(baseline)
      return Report.spread(
        numbers.map((n, i) => n / (base[i] ?? Number.NaN)),
        2
      )
    })
    return { numbers, ratios }
  }

type Column = ReturnType<typeof makeColumn>

const ratioHeads = baselines.map((baseline) => `x ${baseline}`)

const presentConnections = (column: Column): string => {
  const rows = names.map((name) => {
    const start = column(name, (result) => result.start)
    const of = (key: keyof Memory) => column(name, (result) => result.memory?.[key])
    return [
      name,
      Report.spread(start.numbers, 1),
      ...start.ratios,
      Report.spread(column(name, (result) => result.further).numbers, 1),
      Report.spread(column(name, (result) => result.firstStart).numbers),
      Report.spread(of("clientHeap").numbers),
      Report.spread(of("serverHeap").numbers),
      Report.spread(of("clientRss").numbers),
      Report.spread(of("serverRss").numbers)
    ]
  })
  const heads = [
    "",
    "start ms",
    ...ratioHeads,
    "2nd peer ms",
    "cold ms",
    "client heap",
    "server heap",
    "client RSS",
    "server RSS"
  ]
  return `from nothing to the first reply, and KiB for each of ${connections} connections\n\n${Report.table(heads, rows)}`
}

const present = (results: ReadonlyArray<ReadonlyArray<Result>>): string => {
  const column = makeColumn(results)
  const parts: Array<string> = []
  for (const [i, inFlight] of inFlights.entries()) {
    const rows = names.map((name) => {
      const of = (key: keyof Load) => column(name, (result) => result.loads[i]?.[key])
      const rate = of("callsPerSecond")
      return [
        name,
        Report.spread(rate.numbers),
        ...rate.ratios,
        Report.spread(of("p50").numbers, 2),
        Report.spread(of("p99").numbers, 2),
        Report.number(Report.median(of("clientCpu").numbers), 3),
        Report.number(Report.median(of("serverCpu").numbers), 3)
      ]
    })
    const heads = ["", "calls/s", ...ratioHeads, "p50 ms", "p99 ms", "client CPU s/1000", "server CPU s/1000"]
    parts.push(`${inFlight} in flight, ${bytes}-byte messages\n\n${Report.table(heads, rows)}`)
  }
  if (starts > 0 || connections > 0) {
    parts.push(presentConnections(column))
  }
  for (const { summary, title } of profiles) {
    parts.push(Report.profile(title, summary))
  }
  return parts.join("\n\n")
}

const load1 = () => Os.loadavg()[0]?.toFixed(1)

if (values.help) {
  console.log(usage)
} else {
  Harness.build()
  const loadBefore = load1()
  const results = await run()
  console.error(
    `\nNode ${process.version}, ${Os.cpus().length} x ${Os.cpus()[0]?.model}; load average ${loadBefore} before, ${load1()} after;` +
      `\nmTLS 1.3, server and client in separate processes; medians of ${rounds} rounds (smallest-largest)\n`
  )
  console.log(values.json ? JSON.stringify({ node: process.version, results }) : present(results))
}
