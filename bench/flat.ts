/** What a connection holds after many calls: `npm run bench:flat -- --help`. */
import { parseArgs } from "node:util"
import * as Effect from "effect/Effect"
import * as Harness from "./harness.js"
import * as Report from "./report.js"

const usage = `npm run bench:flat -- [options]
  --only a,b    these contestants; default quic-live
  --calls n     calls on one connection; default 100000
  --inflight n  calls in flight; default 64`

const { values } = parseArgs({
  options: {
    only: { type: "string", default: "quic-live" },
    calls: { type: "string", default: "100000" },
    inflight: { type: "string", default: "64" },
    help: { type: "boolean", default: false }
  }
})

const calls = Number(values.calls)
const steps = 5

const run = async (contestant: string) => {
  const certificates = await Effect.runPromise(Harness.makeCertificates)
  return Harness.withPair(contestant, async (server, client) => {
    const port = await server.ask("serve", { certificates })
    await client.ask("connect", { certificates, port, count: 1 })
    // What is compiled and grown at the beginning is no part of it.
    await client.ask("load", { inFlight: Number(values.inflight), seconds: 2, bytes: 100 })
    const rows: Array<ReadonlyArray<string>> = []
    let made = 0
    for (let step = 0; step <= steps; step++) {
      while (made < (calls * step) / steps) {
        made += (await client.ask("load", { inFlight: Number(values.inflight), seconds: 0.2, bytes: 100 })).calls
      }
      const sides = await Promise.all([server.ask("memory"), client.ask("memory")])
      const mib = (bytes: number) => Report.number(bytes / 1024 / 1024, 1)
      rows.push([Report.number(made), ...sides.flatMap(({ heap, rss }) => [mib(heap), mib(rss)])])
    }
    const heads = [`${contestant}: calls`, "server heap MiB", "server RSS", "client heap MiB", "client RSS"]
    console.log(`${Report.table(heads, rows)}\n`)
  })
}

if (values.help) {
  console.log(usage)
} else {
  Harness.build()
  for (const contestant of values.only.split(",")) {
    await run(contestant)
  }
}
