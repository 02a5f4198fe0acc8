/** The parent's side: builds the benchmarks, starts their processes and talks to them. */
import { execFileSync, fork } from "node:child_process"
import { mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs"
import { fileURLToPath } from "node:url"
import * as Effect from "effect/Effect"
import * as Redacted from "effect/Redacted"
import * as DevCa from "../src/Credentials/DevCa.js"
import type { Commands } from "./child.js"
import type { Certificates } from "./contestant.js"

const path = (relative: string) => fileURLToPath(new URL(relative, import.meta.url))

const built = mkdtempSync(path("../node_modules/.bench-"))
process.on("exit", () => rmSync(built, { recursive: true }))

/** Compiles what the children run: as tsx would run it, each closure made per call would cost a `defineProperty`. */
export const build = () => {
  execFileSync(path("../node_modules/.bin/tsc"), ["-p", path("tsconfig.json"), "--outDir", built], { stdio: "inherit" })
  writeFileSync(`${built}/package.json`, '{ "type": "module" }\n')
}

export const contestants: ReadonlyArray<string> = readdirSync(path("contestants")).map((file) =>
  file.replace(".ts", "")
)

/** One certificate for both sides, of a CA that is made for this run. */
export const makeCertificates: Effect.Effect<Certificates> = Effect.gen(function* () {
  const { ca, issue } = yield* DevCa.make()
  const { cert, key } = yield* issue({ names: ["localhost", "127.0.0.1"] })
  return { ca, cert, key: Redacted.value(key) }
})

export interface Child {
  readonly ask: <K extends keyof Commands>(
    command: K,
    ...args: Parameters<Commands[K]>
  ) => Promise<Awaited<ReturnType<Commands[K]>>>
  readonly stop: () => void
}

/** Starts a process for one side of a contestant, with further flags for Node. */
export const start = async (contestant: string, flags: ReadonlyArray<string> = []): Promise<Child> => {
  const child = fork(`${built}/bench/child.js`, [contestant], {
    execArgv: ["--expose-gc", "--tls-min-v1.3", "--no-deprecation", ...flags]
  })
  const waiting = new Map<number, { resolve: (result: never) => void; reject: (error: Error) => void }>()
  child.on("message", ({ error, id, result }: { id: number; result: never; error?: string }) => {
    const { reject, resolve } = waiting.get(id) ?? {}
    waiting.delete(id)
    error === undefined ? resolve?.(result) : reject?.(new Error(error))
  })
  child.on("exit", (code) => {
    for (const { reject } of waiting.values()) {
      reject(new Error(`${contestant} exited with ${code}`))
    }
  })
  let lastId = 0
  const reply = (id: number) => new Promise<never>((resolve, reject) => waiting.set(id, { resolve, reject }))
  await reply(0)
  return {
    ask: (command, ...[args]) => {
      lastId += 1
      child.send({ id: lastId, command, args })
      return reply(lastId)
    },
    stop: () => child.disconnect()
  }
}

/** Runs something with a server and a client in processes of their own. */
export const withPair = async <A>(
  contestant: string,
  use: (server: Child, client: Child) => Promise<A>,
  flags: ReadonlyArray<string> = []
): Promise<A> => {
  const pair = await Promise.all([start(contestant, flags), start(contestant, flags)])
  try {
    return await use(...pair)
  } finally {
    for (const child of pair) {
      child.stop()
    }
  }
}
