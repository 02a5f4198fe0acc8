/** What idle connections and calls in flight cost in memory: `npm run bench:crowd -- --help`. */
import { setTimeout as sleep } from "node:timers/promises"
import { parseArgs } from "node:util"
import * as Effect from "effect/Effect"
import type { Certificates } from "./contestant.js"
import * as Harness from "./harness.js"
import * as Report from "./report.js"
import { unanswered } from "./waiting/waiting.js"

const usage = `npm run bench:crowd -- [options]
  --only a,b       these contestants, of tls-live, grpc-live, grpc-js-layer; default tls-live
  --rounds n       default 3; each with processes of its own
  --connections n  idle connections, 0 leaves them out; default 1000
  --calls n        calls in flight on one connection, 0 leaves them out; default 10000`

const { values } = parseArgs({
  options: {
    only: { type: "string", default: "tls-live" },
    rounds: { type: "string", default: "3" },
    connections: { type: "string", default: "1000" },
    calls: { type: "string", default: "10000" },
    help: { type: "boolean", default: false }
  }
})

/** The KiB that each of so many things costs the server and the client, and what else is to be told. */
type Cost = ReadonlyArray<number>

const measure = async (
  server: Harness.Child,
  client: Harness.Child,
  count: number,
  make: () => Promise<unknown>
): Promise<Cost> => {
  const now = () => Promise.all([server.ask("memory"), client.ask("memory")])
  const before = await now()
  await make()
  const after = await now()
  return (["heap", "rss"] as const).flatMap((key) =>
    after.map((side, i) => (side[key] - (before[i]?.[key] ?? 0)) / count / 1024)
  )
}

const connections = (name: string, certificates: Certificates, count: number) =>
  Harness.withPair(`../waiting/${name}`, async (server, client) => {
    const port = await server.ask("serve", { certificates })
    // What the first connections load and compile is no part of what the others hold.
    await client.ask("startUp", { certificates, port, times: 5 })
    return measure(server, client, count, () => client.ask("connect", { certificates, port, count }))
  })

const calls = (name: string, certificates: Certificates, count: number) =>
  Harness.withPair(`../waiting/${name}`, async (server, client) => {
    const port = await server.ask("serve", { certificates })
    await client.ask("connect", { certificates, port, count: 1 })
    await client.ask("load", { inFlight: 64, seconds: 1, bytes: 100 })
    return measure(server, client, count, async () => {
      // They end with their processes.
      const failed = client.ask("load", { inFlight: count, seconds: 3600, bytes: unanswered })
      failed.catch(() => {})
      // They count when their handlers have begun to wait.
      while ((await server.ask("watched")).consumed.messages < count) {
        await Promise.race([sleep(100), failed])
      }
    })
  })

const main = async () => {
  Harness.build()
  const certificates = await Effect.runPromise(Harness.makeCertificates)
  const names = values.only.split(",")
  const table = async (title: string, run: typeof calls, count: number) => {
    if (count === 0) {
      return
    }
    const results = new Map<string, Array<Cost>>(names.map((name) => [name, []]))
    for (let round = 0; round < Number(values.rounds); round++) {
      for (const name of names) {
        const cost = await run(name, certificates, count)
        console.error(`round ${round + 1}/${values.rounds} ${name}, ${title}: ${Report.number(cost[0] ?? 0, 1)} KiB`)
        results.get(name)?.push(cost)
      }
    }
    const rows = [...results].map(([name, rounds]) => [
      name,
      ...[0, 1, 2, 3].map((column) =>
        Report.spread(
          rounds.map((each) => each[column] ?? Number.NaN),
          1
        )
      )
    ])
    console.log(`${Report.number(count)} ${title}, KiB for each\n`)
    console.log(`${Report.table(["", "server heap", "client heap", "server RSS", "client RSS"], rows)}\n`)
  }
  await table("idle connections", connections, Number(values.connections))
  await table("calls in flight on one connection", calls, Number(values.calls))
}

if (values.help) {
  console.log(usage)
} else {
  await main()
}
