/** How long it takes from a new process to the first reply: `npm run bench:start-up -- --help`. */
import { parseArgs } from "node:util"
import * as Effect from "effect/Effect"
import type { Certificates } from "./contestant.js"
import * as Harness from "./harness.js"
import * as Report from "./report.js"

const usage = `npm run bench:start-up -- [options]
  --only a,b  these and grpc-js; default grpc-live,grpc-js,grpc-js-layer,nice-grpc,connect-node,tls-live
  --rounds n  default 11; each with processes of its own
"effect" is the import of what every program of Effect has anyway.`

const { values } = parseArgs({
  options: {
    only: { type: "string", default: "grpc-live,grpc-js,grpc-js-layer,nice-grpc,connect-node,tls-live" },
    rounds: { type: "string", default: "11" },
    help: { type: "boolean", default: false }
  }
})

const baseline = "grpc-js"

/** Milliseconds and MiB. */
interface Result {
  /** Of what a client or server of the contestant imports, with the messages. */
  readonly import: number
  /** From there until it listens. */
  readonly listen: number
  /** From the import until the first reply, in the first call that either process sees. */
  readonly firstReply: number
  /** Of all that, as a client sees it. */
  readonly total: number
  readonly rss: number
}

const measure = (name: string, certificates: Certificates): Promise<Result> =>
  Harness.withPair(name, async (server, client) => {
    const imported = await client.ask("importMillis")
    const started = performance.now()
    const port = await server.ask("serve", { certificates })
    const listen = performance.now() - started
    const firstReply = await client.ask("connect", { certificates, port, count: 1 })
    const { rss } = await client.ask("memory")
    return { import: imported, listen, firstReply, total: imported + firstReply, rss: rss / 1024 / 1024 }
  })

const importEffect = async (): Promise<number> => {
  const child = await Harness.start("../effectAlone")
  const millis = await child.ask("importMillis")
  child.stop()
  return millis
}

const main = async () => {
  Harness.build()
  const certificates = await Effect.runPromise(Harness.makeCertificates)
  const names = [...new Set([...values.only.split(","), baseline])]
  const results = new Map<string, Array<Result>>(names.map((name) => [name, []]))
  const effect: Array<number> = []
  for (let round = 0; round < Number(values.rounds); round++) {
    effect.push(await importEffect())
    for (const name of names) {
      results.get(name)?.push(await measure(name, certificates))
    }
  }
  const rows = [...results].map(([name, each]) => {
    const of = (key: keyof Result) => each.map((result) => result[key])
    const base = results.get(baseline) ?? []
    const ratios = each.map(({ total }, i) => total / (base[i]?.total ?? Number.NaN))
    const cells = (["import", "listen", "firstReply", "total"] as const).map((key) => Report.spread(of(key)))
    return [name, ...cells, Report.spread(ratios, 2), Report.spread(of("rss"))]
  })
  const heads = [
    "",
    "import ms",
    "listen ms",
    "first reply ms",
    "import to reply ms",
    `x ${baseline}`,
    "client RSS MiB"
  ]
  const none = heads.slice(2).map(() => "-")
  console.log(Report.table(heads, [...rows, ["effect", Report.spread(effect), ...none]]))
}

if (values.help) {
  console.log(usage)
} else {
  await main()
}
