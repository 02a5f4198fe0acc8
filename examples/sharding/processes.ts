import { createServer } from "node:net"
import { fileURLToPath } from "node:url"
import * as Command from "@effect/platform/Command"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"
import { singletonIsHere } from "./greeter.js"
import { type Cluster, RunnerJson, variable } from "./node.js"

const program = fileURLToPath(new URL("runner.ts", import.meta.url))

const freePort = Effect.async<number>((resume) => {
  const server = createServer().listen(0, "127.0.0.1", () => {
    const address = server.address()
    server.close(() => resume(Effect.succeed(typeof address === "object" && address !== null ? address.port : 0)))
  })
})

/** A runner in a process of its own, until the scope closes. It says when the singleton has come to it. */
export const start = (cluster: typeof Cluster.Type, onSingleton: (process: number) => Effect.Effect<void>) =>
  Effect.gen(function* () {
    const port = yield* freePort
    const json = yield* Schema.encode(RunnerJson)({ ...cluster, port })
    const child = yield* Command.make(process.execPath, "--import", "tsx", program).pipe(
      Command.env({ [variable]: json }),
      Command.stderr("inherit"),
      Command.start
    )
    const kill = Effect.ignore(child.kill("SIGKILL"))
    yield* Effect.addFinalizer(() => kill)
    yield* child.stdout.pipe(
      Stream.decodeText(),
      Stream.splitLines,
      Stream.runForEach((line) => (line === singletonIsHere ? onSingleton(child.pid) : Effect.void)),
      Effect.forkScoped
    )
    return { process: child.pid as number, port, kill }
  })
