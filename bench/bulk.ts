/** One large stream each way, next to a plain TLS socket: `npm run bench:bulk -- --help`. */
import { parseArgs } from "node:util"
import * as Effect from "effect/Effect"
import { type Certificates, type Direction, directions } from "./contestant.js"
import * as Harness from "./harness.js"
import * as Report from "./report.js"

const usage = `npm run bench:bulk -- [options]
  --only a,b       these and the pipe; default bare-tls,tls-live,grpc-live,grpc-js
  --direction a,b  download (from server to client), upload; default both, as far as a contestant has them
  --rounds n       default 3; each with processes of its own
  --mib n          size of the stream; default 1024
  --warmup n       MiB before those that count; default 128
  --message n      size of a message in KiB; default 64
  --young n        MiB that V8 has for young objects at the least, and twice that at the most; see bench/README.md
  --profile d      write CPU profiles of the last round there, and print what costs most`

const { values } = parseArgs({
  options: {
    only: { type: "string", default: "bare-tls,tls-live,grpc-live,grpc-js" },
    direction: { type: "string", default: directions.join(",") },
    rounds: { type: "string", default: "3" },
    mib: { type: "string", default: "1024" },
    warmup: { type: "string", default: "128" },
    message: { type: "string", default: "64" },
    young: { type: "string" },
    profile: { type: "string" },
    help: { type: "boolean", default: false }
  }
})

const MiB = 1024 * 1024
const pipe = "pipe"
const rounds = Number(values.rounds)
const bytes = Number(values.message) * 1024
const count = (mib: string) => Math.ceil((Number(mib) * MiB) / bytes)
const repeat = count(values.mib)
const gib = (repeat * bytes) / 1024 ** 3
const { young } = values
const flags =
  young === undefined ? [] : [`--min-semi-space-size=${young}`, `--max-semi-space-size=${2 * Number(young)}`]

/** What one run came to: MiB per second, and seconds of CPU on each side for a GiB. */
interface Result {
  readonly speed: number
  readonly serverCpu: number
  readonly clientCpu: number
}

const stream = async (client: Harness.Child, direction: Direction, repeat: number) => {
  if (direction === "download") {
    return client.ask("download", { bytes, repeat, pace: { slowSeconds: 0, pauseMillis: 0 } })
  }
  const received = await client.ask("upload", { bytes, repeat })
  if (received !== repeat) {
    throw new Error(`${received} messages of ${repeat} arrived`)
  }
}

const profiled = async <A>(title: string, { client, server }: Pair, run: () => Promise<A>): Promise<A> => {
  if (values.profile === undefined) {
    return run()
  }
  const sides = Object.entries({ client, server })
  await Promise.all(sides.map(([, child]) => child.ask("startProfile")))
  const result = await run()
  for (const [side, child] of sides) {
    const name = `${title}-${side}`
    console.log(Report.profile(name, await child.ask("stopProfile", { file: `${values.profile}/${name}.cpuprofile` })))
  }
  return result
}

interface Pair {
  readonly server: Harness.Child
  readonly client: Harness.Child
}

const measure = async ({ client, server }: Pair, direction: Direction): Promise<Result> => {
  const usage = () => Promise.all([server.ask("usage"), client.ask("usage")])
  const [serverBefore, clientBefore] = await usage()
  const started = performance.now()
  await stream(client, direction, repeat)
  const seconds = (performance.now() - started) / 1000
  const [serverAfter, clientAfter] = await usage()
  return {
    speed: (repeat * bytes) / MiB / seconds,
    serverCpu: (serverAfter.cpuSeconds - serverBefore.cpuSeconds) / gib,
    clientCpu: (clientAfter.cpuSeconds - clientBefore.cpuSeconds) / gib
  }
}

/** Undefined where the contestant has no such stream. */
const run = (name: string, direction: Direction, certificates: Certificates, isLast: boolean) =>
  Harness.withPair(
    name === pipe ? "../pipe" : name,
    async (server, client): Promise<Result | undefined> => {
      const port = await server.ask("serve", { certificates })
      await client.ask("connect", { certificates, port, count: 1 })
      if (!(await client.ask("directions")).includes(direction)) {
        return undefined
      }
      // A handshake and the compiler of V8 are no part of it.
      await stream(client, direction, count(values.warmup))
      const pair = { client, server }
      return isLast ? profiled(`${name}-${direction}`, pair, () => measure(pair, direction)) : measure(pair, direction)
    },
    flags
  )

const present = (direction: Direction, results: ReadonlyMap<string, ReadonlyArray<Result>>) => {
  const rows = [...results].flatMap(([name, each]) => {
    const ratios = (to: string) =>
      each.map(({ speed }, round) => speed / (results.get(to)?.[round]?.speed ?? Number.NaN))
    const cell = (key: keyof Result, digits: number) =>
      Report.spread(
        each.map((result) => result[key]),
        digits
      )
    const cpu = [cell("serverCpu", 2), cell("clientCpu", 2)]
    const row = [name, cell("speed", 0), Report.spread(ratios(pipe), 2), Report.spread(ratios("grpc-js"), 2), ...cpu]
    return each.length === 0 ? [] : [row]
  })
  const heads = [direction, "MiB/s", "x pipe", "x grpc-js", "server CPU s/GiB", "client CPU s/GiB"]
  console.log(`${Report.table(heads, rows)}\n`)
}

const main = async () => {
  Harness.build()
  const certificates = await Effect.runPromise(Harness.makeCertificates)
  const names = [pipe, ...values.only.split(",")]
  for (const direction of directions.filter((each) => values.direction.split(",").includes(each))) {
    const results = new Map<string, Array<Result>>(names.map((name) => [name, []]))
    for (let round = 0; round < rounds; round++) {
      for (const name of names) {
        const result = await run(name, direction, certificates, round === rounds - 1)
        if (result !== undefined) {
          const speed = `${Report.number(result.speed)} MiB/s`
          console.error(`round ${round + 1}/${rounds} ${name}, ${direction}: ${speed}`)
          results.get(name)?.push(result)
        }
      }
    }
    present(direction, results)
  }
}

if (values.help) {
  console.log(usage)
} else {
  await main()
}
