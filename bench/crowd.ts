/** What idle connections and calls in flight of TlsLive cost in memory: `npm run bench:crowd -- --help`. */
import { setTimeout as sleep } from "node:timers/promises"
import { fileURLToPath } from "node:url"
import { parseArgs } from "node:util"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as ManagedRuntime from "effect/ManagedRuntime"
import * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import * as Credentials from "effect-transport/Credentials"
import * as Tls from "effect-transport/Tls"
import * as Transport from "effect-transport/Transport"
import { EchoService } from "../examples/gen/echo/v1/echo_pb.js"
import type { Certificates, Consumer, Contestant } from "./contestant.js"
import { bindHost, host } from "./echo.js"
import type * as Harness from "./harness.js"
import * as Report from "./report.js"

const usage = `npm run bench:crowd -- [options]
  --rounds n       default 3; each with processes of its own
  --connections n  idle connections; default 1000
  --calls n        calls in flight on one connection; default 10000`

/** Requests of this size are never answered. */
const unanswered = 128

const open = async (certificates: Certificates) => {
  const transport = Tls.layer({ serverName: "localhost", maxConcurrentStreams: 100_000 })
  const runtime = ManagedRuntime.make(Layer.provide(transport, Credentials.layerPem(certificates)))
  const scope = Effect.runSync(Scope.make())
  return <A, E>(effect: Effect.Effect<A, E, Transport.Transport | Scope.Scope>) =>
    runtime.runPromise(Scope.extend(effect, scope))
}

const handlers = (consumer: Consumer) =>
  Transport.handlers(EchoService, {
    echo: ({ payload }) => {
      if (payload.length < unanswered - 2) {
        return Effect.succeed({ payload })
      }
      consumer(payload)
      return Effect.never
    },
    echoServerStream: () => Stream.never,
    echoClientStream: () => Effect.never,
    echoBidi: () => Stream.never
  })

/** TlsLive, with handlers that wait. The processes of the second table run this file as a contestant. */
export default {
  serve: async (certificates, consumer) => {
    const run = await open(certificates)
    return (await run(Transport.listen([handlers(consumer)], { host: bindHost }))).address.port
  },
  client: async (certificates) => {
    const run = await open(certificates)
    return {
      connect: async (port) => {
        const client = await run(Transport.client(EchoService, `${host}:${port}`))
        return {
          work: async ({ done, next }) => {
            for (let message = next(); message !== undefined; message = next()) {
              done(await Effect.runPromise(client.echo(message, { timeout: "1 hour" })))
            }
          },
          close: async () => {}
        }
      },
      close: async () => {}
    }
  }
} satisfies Contestant

/** The KiB that each of so many things costs the server and the client. */
const measure = async (
  server: Harness.Child,
  client: Harness.Child,
  count: number,
  make: () => Promise<unknown>
): Promise<ReadonlyArray<number>> => {
  const now = () => Promise.all([server.ask("memory"), client.ask("memory")])
  const before = await now()
  await make()
  const after = await now()
  return (["heap", "rss"] as const).flatMap((key) =>
    after.map((side, i) => (side[key] - (before[i]?.[key] ?? 0)) / count / 1024)
  )
}

const connections = ({ withPair }: typeof Harness, certificates: Certificates, count: number) =>
  withPair("tls-live", async (server, client) => {
    const port = await server.ask("serve", { certificates })
    // What the first connections load and compile is no part of what the others hold.
    await client.ask("startUp", { certificates, port, times: 5 })
    return measure(server, client, count, () => client.ask("connect", { certificates, port, count }))
  })

const calls = ({ withPair }: typeof Harness, certificates: Certificates, count: number) =>
  withPair("../crowd", async (server, client) => {
    const port = await server.ask("serve", { certificates })
    await client.ask("connect", { certificates, port, count: 1 })
    await client.ask("load", { inFlight: 64, seconds: 1, bytes: 100 })
    return measure(server, client, count, async () => {
      client.ask("load", { inFlight: count, seconds: 3600, bytes: unanswered }).catch(() => {})
      // They count when their handlers have begun to wait.
      while ((await server.ask("watched")).consumed.messages < count) {
        await sleep(100)
      }
    })
  })

const main = async () => {
  const { values } = parseArgs({
    options: {
      rounds: { type: "string", default: "3" },
      connections: { type: "string", default: "1000" },
      calls: { type: "string", default: "10000" },
      help: { type: "boolean", default: false }
    }
  })
  if (values.help) {
    return console.log(usage)
  }
  // Only the parent can load this.
  const harness = await import("./harness.js")
  harness.build()
  const certificates = await Effect.runPromise(harness.makeCertificates)
  const row = async (name: string, run: typeof calls, count: number) => {
    const rounds: Array<ReadonlyArray<number>> = []
    for (let i = 0; i < Number(values.rounds); i++) {
      rounds.push(await run(harness, certificates, count))
    }
    const cells = [0, 1, 2, 3].map((column) =>
      Report.spread(
        rounds.map((each) => each[column] ?? Number.NaN),
        1
      )
    )
    return [`${Report.number(count)} ${name}`, ...cells]
  }
  const rows = [
    await row("idle connections", connections, Number(values.connections)),
    await row("calls in flight", calls, Number(values.calls))
  ]
  console.log("KiB for each\n")
  console.log(Report.table(["TlsLive", "server heap", "client heap", "server RSS", "client RSS"], rows))
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  await main()
}
