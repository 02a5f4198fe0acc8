/** A long stream to a slow consumer, and what it costs in memory: `npm run bench:backpressure -- --help`. */
import { parseArgs } from "node:util"
import * as Effect from "effect/Effect"
import type { Certificates } from "./contestant.js"
import * as Harness from "./harness.js"
import * as Report from "./report.js"

const usage = `npm run bench:backpressure -- [options]
  --only a,b   these contestants; default grpc-live
  --mib n      size of the stream; default 1024
  --message n  size of a message in KiB; default 64
  --slow n     seconds at the beginning in which the consumer pauses after each message; default 8
  --pause n    milliseconds of such a pause; default 10
  --limit n    MiB that either process may use above what it uses idle; default 150`

const { values } = parseArgs({
  options: {
    only: { type: "string", default: "grpc-live" },
    mib: { type: "string", default: "1024" },
    message: { type: "string", default: "64" },
    slow: { type: "string", default: "8" },
    pause: { type: "string", default: "10" },
    limit: { type: "string", default: "150" },
    help: { type: "boolean", default: false }
  }
})

const MiB = 1024 * 1024
const bytes = Number(values.message) * 1024
const repeat = Math.ceil((Number(values.mib) * MiB) / bytes)
const pace = { slowSeconds: Number(values.slow), pauseMillis: Number(values.pause) }
const limit = Number(values.limit)

const mib = (n: number) => Report.number(n / MiB)

const stream = (contestant: string, direction: "download" | "upload", certificates: Certificates) =>
  Harness.withPair(contestant, async (server, client): Promise<boolean> => {
    const measure = () => Promise.all([server.ask("memory"), client.ask("memory")])
    const port = await server.ask("serve", { certificates, pace })
    await client.ask("connect", { certificates, port, count: 1 })
    const [serverIdle, clientIdle] = await measure()
    await Promise.all([server.ask("watch", { everyMillis: 1000 }), client.ask("watch", { everyMillis: 1000 })])

    const started = performance.now()
    const said =
      direction === "upload"
        ? await client.ask("upload", { bytes, repeat })
        : await client.ask("download", { bytes, repeat, pace })
    const seconds = (performance.now() - started) / 1000

    const consumer = direction === "upload" ? server : client
    const { consumed, samples } = await consumer.ask("watched")
    if (consumed.bytes !== repeat * bytes || (said ?? repeat) !== repeat) {
      throw new Error(`${consumed.bytes} bytes of ${repeat * bytes} arrived`)
    }
    const producer = direction === "upload" ? client : server
    const other = await producer.ask("watched")
    const [serverAfter, clientAfter] = await measure()
    const more = {
      server: serverAfter.peakRss - serverIdle.rss,
      client: clientAfter.peakRss - clientIdle.rss
    }

    console.log(`\n${contestant}, ${direction}: ${mib(consumed.bytes)} MiB in ${Report.number(seconds, 1)} s\n`)
    const rows = samples.map((sample, i) => [
      Report.number(sample.seconds),
      mib(sample.consumed),
      mib(other.samples[i]?.rss ?? Number.NaN),
      mib(sample.rss)
    ])
    console.log(Report.table(["second", "MiB consumed", "producer RSS", "consumer RSS"], rows))
    console.log(`\npeak above idle: server ${mib(more.server)} MiB, client ${mib(more.client)} MiB`)
    return Math.max(more.server, more.client) < limit * MiB
  })

if (values.help) {
  console.log(usage)
} else {
  Harness.build()
  const certificates = await Effect.runPromise(Harness.makeCertificates)
  for (const contestant of values.only.split(",")) {
    for (const direction of ["download", "upload"] as const) {
      if (!(await stream(contestant, direction, certificates))) {
        console.log(`more than the ${limit} MiB allowed`)
        process.exitCode = 1
      }
    }
  }
}
