/** Small calls beside a large stream on one connection, with and without loss: `npm run bench:head-of-line -- --help`. */
import * as Os from "node:os"
import { setTimeout as sleep } from "node:timers/promises"
import { parseArgs } from "node:util"
import * as Effect from "effect/Effect"
import type { Certificates } from "./contestant.js"
import * as Harness from "./harness.js"
import * as Network from "./network.js"
import * as Report from "./report.js"

const usage = `npm run bench:head-of-line -- [options]
  --only a,b    these contestants; default quic-live,grpc-live,tls-live
  --loss a,b    percent of the packets that are lost; default 0,2; above 0 only with the rights to make a network (root)
  --mtu n       the largest packet; default 1500
  --rounds n    default 3; each with processes of its own
  --seconds n   how long the calls are measured, alone and beside the stream; default 5
  --inflight n  calls in flight; default 4
  --mib n       size of the stream, most of which is left when the time is over; default 1024`

const { values } = parseArgs({
  options: {
    only: { type: "string", default: "quic-live,grpc-live,tls-live" },
    loss: { type: "string", default: "0,2" },
    mtu: { type: "string", default: "1500" },
    rounds: { type: "string", default: "3" },
    seconds: { type: "string", default: "5" },
    inflight: { type: "string", default: "4" },
    mib: { type: "string", default: "1024" },
    help: { type: "boolean", default: false }
  }
})

const MiB = 1024 * 1024
const messageSize = 64 * 1024
const pace = { slowSeconds: 0, pauseMillis: 0 }

interface Result {
  /** Milliseconds. */
  readonly alone: number
  readonly p50: number
  readonly p99: number
  readonly callsPerSecond: number
  /** MiB per second. */
  readonly stream: number
}

const measure = (contestant: string, loss: number, certificates: Certificates): Promise<Result> =>
  Harness.withPair(contestant, async (server, client) => {
    const calls = { inFlight: Number(values.inflight), seconds: Number(values.seconds), bytes: 100 }
    const port = await server.ask("serve", { certificates })
    await client.ask("connect", { certificates, port, count: 1 })
    await client.ask("load", { ...calls, seconds: 1 })
    if (Network.isInside()) {
      Network.lose(loss)
    }
    const alone = await client.ask("load", calls)
    const repeat = Math.ceil((Number(values.mib) * MiB) / messageSize)
    let isOver = false
    const stream = client.ask("download", { bytes: messageSize, repeat, pace }).then(
      () => {
        isOver = true
      },
      () => {}
    )
    await Promise.race([stream, sleep(1000)])
    const started = performance.now()
    const before = await client.ask("watched")
    const beside = await client.ask("load", calls)
    const after = await client.ask("watched")
    const seconds = (performance.now() - started) / 1000
    if (isOver) {
      throw new Error("the stream ended before the calls: it has to be larger")
    }
    return {
      alone: alone.p99,
      p50: beside.p50,
      p99: beside.p99,
      callsPerSecond: beside.callsPerSecond,
      stream: (after.consumed.bytes - before.consumed.bytes) / MiB / seconds
    }
  })

const run = async (losses: ReadonlyArray<number>) => {
  Harness.build()
  const certificates = await Effect.runPromise(Harness.makeCertificates)
  const names = values.only.split(",")
  const results = new Map<string, Array<Result>>()
  for (let round = 0; round < Number(values.rounds); round++) {
    for (const loss of losses) {
      for (const name of names) {
        const result = await measure(name, loss, certificates)
        if (Network.isInside()) {
          Network.lose(0)
        }
        const key = `${loss} % ${name}`
        results.set(key, [...(results.get(key) ?? []), result])
        console.error(`round ${round + 1}/${values.rounds} ${key}: p99 ${Report.number(result.p99, 1)} ms`)
      }
    }
  }
  const rows = [...results].map(([key, each]) => {
    const cell = (of: (result: Result) => number, digits: number) => Report.spread(each.map(of), digits)
    return [
      key,
      cell(({ p99 }) => p99, 1),
      cell(({ p50 }) => p50, 1),
      cell(({ alone }) => alone, 1),
      cell(({ callsPerSecond }) => callsPerSecond, 0),
      cell(({ stream }) => stream, 1)
    ]
  })
  const where = Network.isInside() ? `MTU ${values.mtu}` : "plain loopback"
  console.log(
    `${values.inflight} calls of 100 bytes in flight beside a stream on the same connection, ${where}, ` +
      `load average ${Os.loadavg()[0]?.toFixed(1)}\n`
  )
  console.log(Report.table(["loss", "p99 ms", "p50 ms", "p99 ms alone", "calls/s", "stream MiB/s"], rows))
}

const losses = values.loss.split(",").map(Number)

if (values.help) {
  console.log(usage)
} else if (Network.isInside()) {
  await run(losses)
} else if (!Network.enter(Number(values.mtu))) {
  console.log("a network namespace is not permitted here: plain loopback, nothing is lost")
  await run([0])
}
