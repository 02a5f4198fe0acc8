import { spawn } from "node:child_process"
import { mkdtemp, rm } from "node:fs/promises"
import { createServer } from "node:net"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { fileURLToPath } from "node:url"
import { expect, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Redacted from "effect/Redacted"
import * as Schedule from "effect/Schedule"
import { DevCa } from "effect-transport"
import { Greeter } from "../../examples/sharding/greeter.js"
import { client, type Node } from "../../examples/sharding/node.js"
import { within } from "../fixtures/expect.js"

const freePort = Effect.async<number>((resume) => {
  const server = createServer().listen(0, "127.0.0.1", () => {
    const address = server.address()
    server.close(() => resume(Effect.succeed(typeof address === "object" && address !== null ? address.port : 0)))
  })
})

/** A runner in a process of its own. */
const start = (node: Node) =>
  Effect.acquireRelease(
    Effect.sync(() =>
      spawn(
        process.execPath,
        [
          "--import",
          "tsx",
          fileURLToPath(new URL("../../examples/sharding/main.ts", import.meta.url)),
          JSON.stringify(node)
        ],
        { stdio: ["ignore", "pipe", "inherit"] }
      )
    ),
    (runner) => Effect.sync(() => runner.kill("SIGKILL"))
  )

it.scopedLive(
  "three runners, of which one is killed: every message is answered",
  () =>
    Effect.gen(function* () {
      const directory = yield* Effect.acquireRelease(
        Effect.promise(() => mkdtemp(join(tmpdir(), "sharding-"))),
        (path) => Effect.promise(() => rm(path, { recursive: true, force: true }))
      )
      const { ca, issue } = yield* DevCa.make()
      const { cert, key } = yield* issue({ names: ["127.0.0.1"] })
      const common = { database: join(directory, "cluster.db"), ca, cert, key: Redacted.value(key) }
      const runners = yield* Effect.forEach([1, 2, 3], () =>
        Effect.flatMap(freePort, (port) => start({ ...common, port }))
      )
      yield* Effect.gen(function* () {
        const greeter = yield* Greeter.client
        let lastId = 0
        const greet = (entity: number) => {
          lastId += 1
          // SQLite lets one of several processes write at a time; its messages have keys, so asking again is safe.
          return greeter(`greeter ${entity % 50}`)
            .Greet({ id: `${lastId}` })
            .pipe(
              Effect.retry({ while: ({ _tag }) => _tag === "PersistenceError", schedule: Schedule.spaced("50 millis") })
            )
        }
        const entities = Array.from({ length: 50 }, (_, i) => i)
        const processes = Effect.map(
          Effect.forEach(entities, greet, { concurrency: "unbounded" }),
          (replies) => new Set(replies.map(({ process }) => process))
        )
        // Shards are spread when all three are there.
        const spread = yield* within(
          Effect.repeat(Effect.delay(processes, "200 millis"), { until: ({ size }) => size === 3 }),
          "40 seconds"
        )
        expect(spread).toEqual(new Set(runners.map(({ pid }) => pid)))

        let answered = 0
        const count = Effect.sync(() => {
          answered += 1
          if (answered === 100) {
            runners[0]?.kill("SIGKILL")
          }
        })
        const ids = Array.from({ length: 1000 }, (_, i) => `${lastId + 1 + i}`)
        const replies = yield* within(
          Effect.forEach(ids, (_, n) => Effect.zipLeft(greet(n), count), { concurrency: "unbounded" }),
          "60 seconds"
        )
        expect(replies.map(({ id }) => id)).toEqual(ids)
        expect(yield* within(processes, "20 seconds")).toEqual(new Set(runners.slice(1).map(({ pid }) => pid)))
      }).pipe(Effect.provide(client({ ...common, port: undefined })))
    }),
  180_000
)
