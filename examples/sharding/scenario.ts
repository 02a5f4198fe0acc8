import * as FileSystem from "@effect/platform/FileSystem"
import * as Path from "@effect/platform/Path"
import * as SqlClient from "@effect/sql/SqlClient"
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Option from "effect/Option"
import * as Schedule from "effect/Schedule"
import * as Stream from "effect/Stream"
import * as SubscriptionRef from "effect/SubscriptionRef"
import { DevCa } from "effect-transport"
import { Progress } from "../shared/Progress.js"
import { type networkTransports, transports } from "../shared/transports.js"
import { Greeter } from "./greeter.js"
import { client } from "./node.js"
import * as Processes from "./processes.js"

const messages = 1000
const greeters = 50

interface Options {
  readonly transport: (typeof networkTransports)[number]
  readonly nodes: number
  readonly seconds: number
}

const distinct = (replies: ReadonlyArray<{ readonly process: number }>) => new Set(replies.map((each) => each.process))

/**
 * Runners share fifty greeters. While a thousand messages wait for their answers, the runner with the singleton is
 * killed: its greeters come back on the others, and so do the answers.
 */
export const scenario = ({ nodes, seconds, transport }: Options) =>
  Effect.gen(function* () {
    const { line } = yield* Progress
    const files = yield* FileSystem.FileSystem
    const directory = yield* files.makeTempDirectoryScoped({ prefix: "sharding-" })
    const path = yield* Path.Path
    const database = path.join(directory, "cluster.db")
    const { ca, issue } = yield* DevCa.make()
    const cluster = { transport, database, ca, ...(yield* issue({ names: ["127.0.0.1"] })) }

    return yield* Effect.gen(function* () {
      const sql = yield* SqlClient.SqlClient
      const greeter = yield* Greeter.client
      const singleton = yield* SubscriptionRef.make<number | undefined>(undefined)
      yield* line("sharding", `starts ${nodes} runners as processes, which talk over ${transports[transport].title}`)
      const runners = yield* Effect.replicateEffect(
        Processes.start(cluster, (process) => SubscriptionRef.set(singleton, process)),
        nodes
      )
      yield* line("sharding", `started runners ${runners.map(({ process }) => process).join(", ")}`)

      /** Messages to all greeters in turn. Two with the same key would be the same message. */
      const greet = (key: string, count: number, unless?: string) =>
        Effect.forEach(
          Array.from({ length: count }, (_, n) => n),
          (n) => greeter(`greeter ${n % greeters}`).Greet({ id: `${key} ${n}`, unless }),
          { concurrency: "unbounded" }
        )
      const spread = Effect.flatMap(Clock.currentTimeMillis, (now) =>
        Effect.map(greet(`at ${now}`, greeters), distinct)
      )
      const before = yield* Effect.repeat(Effect.delay(spread, "200 millis"), {
        until: ({ size }) => size === runners.length
      })
      yield* line("sharding", `greeters live in ${[...before].join(", ")}`)

      const worked = { rounds: 0 }
      const work = Effect.map(Effect.delay(spread, "50 millis"), () => {
        worked.rounds += 1
      })
      // A round that has begun ends: what is in flight below is what is sent there.
      yield* Effect.repeat(work, Schedule.recurUpTo(`${seconds} seconds`))
      yield* line("sharding", `${worked.rounds * greeters} messages were answered in ${seconds} s`)

      const hold = path.join(directory, "hold")
      yield* files.writeFileString(hold, "")
      const call = yield* Effect.fork(greet("message", messages, hold))
      const waiting = Effect.map(
        sql<{ readonly count: number }>`SELECT COUNT(*) AS count FROM cluster_messages WHERE processed = 0`,
        ([row]) => row?.count ?? 0
      )
      const inFlight = yield* Effect.repeat(Effect.delay(waiting, "50 millis"), { until: (count) => count >= messages })
      const home = yield* SubscriptionRef.get(singleton)
      yield* Effect.forEach(runners, (runner) => (runner.process === home ? runner.kill : Effect.void))
      yield* line(String(home), `WAS KILLED: the singleton lived there, and ${inFlight} messages are in flight`, "bad")
      yield* files.remove(hold)

      const replies = yield* Fiber.join(call)
      const by = [...distinct(replies)].join(", ")
      yield* line("sharding", `${replies.length} of ${messages} messages are answered, by ${by}`, "good")
      const newHome = Option.getOrUndefined(
        yield* Stream.runHead(Stream.filter(singleton.changes, (process) => process !== home))
      )
      yield* line("sharding", `the singleton lives in ${newHome}`)
      const left = yield* waiting
      return {
        ok: replies.length === messages && left === 0 && !distinct(replies).has(home ?? Number.NaN),
        transport,
        runners: runners.map(({ process }) => process),
        before: [...before],
        home,
        inFlight,
        answered: replies.map(({ id }) => id),
        answeredBy: [...distinct(replies)],
        newHome,
        left
      }
    }).pipe(Effect.provide(client(cluster)))
  })
