/** This checkout next to another one, for the CPU that a call costs: `npm run bench:compare -- --help`. */
import * as Os from "node:os"
import * as Path from "node:path"
import { parseArgs } from "node:util"
import * as Effect from "effect/Effect"
import type { Certificates } from "./contestant.js"
import * as Harness from "./harness.js"
import * as Report from "./report.js"

const usage = `npm run bench:compare -- --against dir [options]
  --against dir    the other checkout, with its node_modules; this checkout's own path shows the noise alone
  --only a,b       contestants of unary calls; default tls-live,quic-live,grpc-live,rpc-over-tls,memory-live
  --bulk a,b       contestants of one large stream; default tls-live
  --rounds n       default 15, fewer are too few for a verdict; each with processes of its own
  --seconds n      about how long each load is measured in a round; default 0.8
  --warmup n       seconds of load before that; default 0.5
  --inflight a,b   calls in flight; default 1,64
  --bytes n        size of a message of the calls; default 100
  --mib n          size of the stream; default 256
  --message n      size of a message of the stream in KiB; default 64
  --json           all numbers, as JSON on stdout`

const { values } = parseArgs({
  options: {
    against: { type: "string" },
    only: { type: "string", default: "tls-live,quic-live,grpc-live,rpc-over-tls,memory-live" },
    bulk: { type: "string", default: "tls-live" },
    rounds: { type: "string", default: "15" },
    seconds: { type: "string", default: "0.8" },
    warmup: { type: "string", default: "0.5" },
    inflight: { type: "string", default: "1,64" },
    bytes: { type: "string", default: "100" },
    mib: { type: "string", default: "256" },
    message: { type: "string", default: "64" },
    json: { type: "boolean", default: false },
    help: { type: "boolean", default: false }
  }
})

const list = (names: string) => names.split(",").filter((name) => name !== "")

/** The parts of a measurement between which the checkouts take turns. */
const slices = 8

/** Room for young objects, without which V8 makes a stream of either of two speeds; see bench/README.md. */
const roomy = ["--min-semi-space-size=128", "--max-semi-space-size=256"]

/** CPU a call may grow by this much in any case. */
const tolerance = 0.03

/** Where the noise would allow more than this, the run says nothing. */
const maxAllowed = 1.1

/** What was done, calls or MiB, and what it took: seconds, and seconds of CPU on both sides. */
interface Cost {
  readonly amount: number
  readonly seconds: number
  readonly cpu: number
}

/** One kind of load. Each checkout does as much as the others, so that the compiler of V8 has come as far with each. */
interface Load {
  readonly title: string
  /** Warms up, and gives the amount that the others have to do for it. */
  readonly calibrate: (client: Harness.Child) => Promise<number>
  readonly run: (client: Harness.Child, amount: number) => Promise<unknown>
  /** What is done in a slice, as a share of that amount. */
  readonly share: number
}

/** Loads that one contestant is put under in the same processes. */
interface Item {
  readonly contestant: string
  readonly flags: ReadonlyArray<string>
  readonly loads: ReadonlyArray<Load>
}

/** What a load cost in one round: the other checkout, this one, and the other a second time, which tells the noise. */
type Measured = readonly [before: Cost, after: Cost, again: Cost]

const calls = (contestant: string, inFlight: number): Load => {
  const options = { inFlight, bytes: Number(values.bytes) }
  return {
    title: `${contestant}, ${inFlight} in flight`,
    calibrate: async (client) => (await client.ask("load", { ...options, seconds: Number(values.warmup) })).calls,
    run: (client, amount) => client.ask("load", { ...options, calls: amount }),
    share: Number(values.seconds) / Number(values.warmup) / slices
  }
}

const stream = (contestant: string): Load => {
  const kib = Number(values.message)
  const pace = { slowSeconds: 0, pauseMillis: 0 }
  const run = (client: Harness.Child, mib: number) =>
    client.ask("download", { bytes: kib * 1024, repeat: Math.ceil((mib * 1024) / kib), pace })
  const mib = Number(values.mib) / 2
  return {
    title: `${contestant}, stream (MiB)`,
    calibrate: async (client) => {
      await run(client, mib)
      return mib
    },
    run,
    share: 2 / slices
  }
}

interface Pair {
  readonly server: Harness.Child
  readonly client: Harness.Child
}

const open = async ({ contestant, flags }: Item, certificates: Certificates, built?: string): Promise<Pair> => {
  const start = () => Harness.start(contestant, { flags, ...(built === undefined ? {} : { built }) })
  const [server, client] = await Promise.all([start(), start()])
  const port = await server.ask("serve", { certificates })
  await client.ask("connect", { certificates, port, count: 1 })
  return { server, client }
}

const usedCpu = async ({ client, server }: Pair) =>
  (await client.ask("usage")).cpuSeconds + (await server.ask("usage")).cpuSeconds

const measureSlice = async (pair: Pair, load: Load, amount: number): Promise<Cost> => {
  const cpuBefore = await usedCpu(pair)
  const started = performance.now()
  await load.run(pair.client, amount)
  const seconds = (performance.now() - started) / 1000
  return { amount, seconds, cpu: (await usedCpu(pair)) - cpuBefore }
}

const sum = (costs: ReadonlyArray<Cost>): Cost => ({
  amount: costs.reduce((total, { amount }) => total + amount, 0),
  seconds: costs.reduce((total, { seconds }) => total + seconds, 0),
  cpu: costs.reduce((total, { cpu }) => total + cpu, 0)
})

/** One round of a load. This checkout stands between the two turns of the other, so that a drift hits both alike. */
const measure = async (before: Pair, after: Pair, again: Pair, load: Load): Promise<Measured> => {
  const costs = new Map<Pair, Array<Cost>>([before, after, again].map((pair) => [pair, []]))
  const amount = await load.calibrate(before.client)
  await load.run(after.client, amount)
  await load.run(again.client, amount)
  for (let slice = 0; slice < slices; slice++) {
    for (const pair of slice % 2 === 0 ? [before, after, again] : [again, after, before]) {
      costs.get(pair)?.push(await measureSlice(pair, load, Math.ceil(amount * load.share)))
    }
  }
  const of = (pair: Pair) => sum(costs.get(pair) ?? [])
  return [of(before), of(after), of(again)]
}

const measureItem = async (item: Item, other: string, certificates: Certificates) => {
  const [before, after, again] = await Promise.all([
    open(item, certificates, other),
    open(item, certificates),
    open(item, certificates, other)
  ])
  const measured: Array<readonly [title: string, Measured]> = []
  for (const load of item.loads) {
    measured.push([load.title, await measure(before, after, again, load)])
  }
  for (const { client, server } of [before, after, again]) {
    client.stop()
    server.stop()
  }
  return measured
}

type Results = ReadonlyMap<string, ReadonlyArray<Measured>>

const run = async (items: ReadonlyArray<Item>, other: string): Promise<Results> => {
  const certificates = await Effect.runPromise(Harness.makeCertificates)
  const results = new Map<string, Array<Measured>>()
  for (let round = 0; round < Number(values.rounds); round++) {
    for (const item of items) {
      for (const [title, measured] of await measureItem(item, other, certificates)) {
        results.set(title, [...(results.get(title) ?? []), measured])
        console.error(`round ${round + 1}/${values.rounds} ${title}: CPU x ${Report.number(growth(measured), 3)}`)
      }
    }
  }
  return results
}

/** Microseconds of CPU for a call or a MiB. */
const each = ({ amount, cpu }: Cost) => (cpu * 1e6) / amount

/** The CPU of this checkout in one round, as a multiple of the other's. */
const growth = ([before, after, again]: Measured) => (2 * each(after)) / (each(before) + each(again))

/** The same for the other checkout against itself: 1, but for the noise. */
const noise = ([before, , again]: Measured) => each(again) / each(before)

const row = (title: string, rounds: ReadonlyArray<Measured>) => {
  // How far a round goes astray where nothing differs. The median does not mind a round that something else disturbed.
  const spread = Report.median(rounds.map((measured) => Math.abs(noise(measured) - 1)))
  const allowed = 1 + Math.max(tolerance, 2 * spread)
  const isWithin = Report.median(rounds.map(growth)) <= allowed
  const holds = isWithin && allowed <= maxAllowed
  const medianOf = (of: (measured: Measured) => number) => Report.number(Report.median(rounds.map(of)), 1)
  const rate = (of: (measured: Measured) => Cost) =>
    Report.number(Report.median(rounds.map((measured) => of(measured).amount / of(measured).seconds)))
  const cells = [
    title,
    medianOf(([before]) => each(before)),
    medianOf(([, after]) => each(after)),
    Report.spread(rounds.map(growth), 3),
    Report.spread(rounds.map(noise), 3),
    Report.number(allowed, 3),
    isWithin ? (holds ? "holds" : "NOISE") : "GREW",
    rate(([before]) => before),
    rate(([, after]) => after)
  ]
  return { cells, holds }
}

/** MemoryLive has no sockets, so that a call over it must cost less than one over TlsLive. */
const memoryNextToTls = (results: Results, inFlight: number) => {
  const tls = results.get(calls("tls-live", inFlight).title)
  const memory = results.get(calls("memory-live", inFlight).title)
  if (tls === undefined || memory === undefined) {
    return []
  }
  const ratios = memory.flatMap(([, after], i) => (tls[i] === undefined ? [] : [each(after) / each(tls[i][1])]))
  const holds = Report.median(ratios) < 1
  const text = `memory-live, ${inFlight} in flight: ${Report.spread(ratios, 2)} of the CPU of tls-live in this checkout`
  return [{ text: `${text}: ${holds ? "holds" : "MORE"}`, holds }]
}

const present = (results: Results) => {
  const rows = [...results].map(([title, rounds]) => row(title, rounds))
  const heads = ["", "other us", "this us", "this/other", "other/other", "allowed", "", "other/s", "this/s"]
  console.log(
    Report.table(
      heads,
      rows.map(({ cells }) => cells)
    )
  )
  const memory = list(values.inflight).flatMap((inFlight) => memoryNextToTls(results, Number(inFlight)))
  console.log(["", ...memory.map(({ text }) => text)].join("\n"))
  process.exitCode = [...rows, ...memory].every(({ holds }) => holds) ? 0 : 1
}

const main = async (against: string) => {
  const items: ReadonlyArray<Item> = [
    ...list(values.only).map((contestant) => ({
      contestant,
      flags: [],
      loads: list(values.inflight).map((inFlight) => calls(contestant, Number(inFlight)))
    })),
    ...list(values.bulk).map((contestant) => ({ contestant, flags: roomy, loads: [stream(contestant)] }))
  ]
  Harness.build()
  const load1 = () => Os.loadavg()[0]?.toFixed(1)
  const loadBefore = load1()
  const results = await run(items, Harness.buildOther(Path.resolve(against)))
  console.error(
    `\nNode ${process.version}; load average ${loadBefore} before, ${load1()} after; CPU of client and server for a call ` +
      `or a MiB;\nmedians of ${values.rounds} rounds (smallest-largest)\n`
  )
  values.json ? console.log(JSON.stringify(Object.fromEntries(results))) : present(results)
}

if (values.help || values.against === undefined) {
  console.log(usage)
  process.exitCode = values.help ? 0 : 1
} else {
  await main(values.against)
}
