/** One stream each way where a round trip takes long: `npm run bench:long-path -- --help`. */
import { fork } from "node:child_process"
import { once } from "node:events"
import { setTimeout as sleep } from "node:timers/promises"
import { parseArgs } from "node:util"
import * as Effect from "effect/Effect"
import { type Certificates, type Direction, directions } from "./contestant.js"
import * as Harness from "./harness.js"
import * as Report from "./report.js"

const usage = `npm run bench:long-path -- [options]
The delay is made by a proxy in a process of its own.
  --only a,b         these and the plain TLS pipe; default grpc-live,grpc-js
  --round-trip n     milliseconds; default 80
  --rounds n         default 5; each with processes of its own
  --seconds n        how long a stream is measured; default 3
  --warmup n         seconds of the stream before that, in which windows grow; default 3
  --message n        size of a message in KiB; default 64`

const { values } = parseArgs({
  options: {
    only: { type: "string", default: "grpc-live,grpc-js" },
    "round-trip": { type: "string", default: "80" },
    rounds: { type: "string", default: "5" },
    seconds: { type: "string", default: "3" },
    warmup: { type: "string", default: "3" },
    message: { type: "string", default: "64" },
    help: { type: "boolean", default: false }
  }
})

const MiB = 1024 * 1024
const pipe = "pipe"
const bytes = Number(values.message) * 1024
/** More than there is time for. */
const repeat = 2 ** 31 - 1

interface Proxy {
  readonly port: number
  readonly stop: () => void
}

const startProxy = async (port: number): Promise<Proxy> => {
  const child = fork(Harness.builtFile("delay"), [String(port), values["round-trip"]])
  const [own] = await once(child, "message")
  return { port: own, stop: () => child.disconnect() }
}

/** MiB per second: while windows grow, and afterwards. */
interface Result {
  readonly first: number
  readonly later: number
}

const measure = (name: string, direction: Direction, certificates: Certificates): Promise<Result> =>
  Harness.withPair(name === pipe ? "../pipe" : name, async (server, client) => {
    const proxy = await startProxy(await server.ask("serve", { certificates }))
    try {
      await client.ask("connect", { certificates, port: proxy.port, count: 1 })
      const pace = { slowSeconds: 0, pauseMillis: 0 }
      const running =
        direction === "download"
          ? client.ask("download", { bytes, repeat, pace })
          : client.ask("upload", { bytes, repeat })
      // It does not end before its processes do.
      const failed = running.then(() => Promise.reject(new Error(`${name}: the stream ended before it was measured`)))
      failed.catch(() => {})
      const consumer = direction === "download" ? client : server
      const run = async (seconds: number) => {
        const started = performance.now()
        const before = (await consumer.ask("watched")).consumed.bytes
        await Promise.race([sleep(seconds * 1000), failed])
        const after = (await consumer.ask("watched")).consumed.bytes
        return (((after - before) / MiB) * 1000) / (performance.now() - started)
      }
      return { first: await run(Number(values.warmup)), later: await run(Number(values.seconds)) }
    } finally {
      proxy.stop()
    }
  })

const main = async () => {
  Harness.build()
  const certificates = await Effect.runPromise(Harness.makeCertificates)
  const names = [pipe, ...values.only.split(",")]
  const rows: Array<ReadonlyArray<string>> = []
  for (const direction of directions) {
    const results = new Map<string, Array<Result>>(names.map((name) => [name, []]))
    for (let round = 0; round < Number(values.rounds); round++) {
      for (const name of names) {
        const result = await measure(name, direction, certificates)
        const speed = `${Report.number(result.later, 1)} MiB/s`
        console.error(`round ${round + 1}/${values.rounds} ${name}, ${direction}: ${speed}`)
        results.get(name)?.push(result)
      }
    }
    for (const [name, each] of results) {
      const of = (key: keyof Result, to?: string) =>
        each.map((result, i) => result[key] / (to === undefined ? 1 : (results.get(to)?.[i]?.[key] ?? Number.NaN)))
      rows.push([
        `${direction}, ${name}`,
        Report.spread(of("later"), 1),
        Report.spread(of("later", pipe), 3),
        Report.spread(of("first"), 1)
      ])
    }
  }
  console.log(`One stream, ${values["round-trip"]} ms of round trip, messages of ${values.message} KiB\n`)
  console.log(Report.table(["", "MiB/s", "x pipe", `MiB/s in the first ${values.warmup} s`], rows))
}

if (values.help) {
  console.log(usage)
} else {
  await main()
}
