/** The parent's side: builds the benchmarks, starts their processes and talks to them. */
import { execFileSync, fork } from "node:child_process"
import { cpSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { fileURLToPath } from "node:url"
import * as Effect from "effect/Effect"
import * as Redacted from "effect/Redacted"
import * as DevCa from "effect-transport/DevCa"
import type { Commands } from "./child.js"
import type { Certificates } from "./contestant.js"

const path = (relative: string) => fileURLToPath(new URL(relative, import.meta.url))

/** What compiled code is put beside the packages of its checkout, so that it finds them, and goes with this process. */
const makeBuilt = (checkout: string): string => {
  const built = mkdtempSync(`${checkout}/node_modules/.bench-`)
  process.on("exit", () => rmSync(built, { recursive: true }))
  return built
}

const compile = (checkout: string, project: string, outDir: string) => {
  const flags = ["--noCheck", "--declaration", "false", "--declarationMap", "false", "--outDir", outDir]
  execFileSync(`${checkout}/node_modules/.bin/tsc`, ["-p", project, ...flags], { stdio: "inherit" })
}

/** The compiled `src` becomes what the compiled benchmarks import as "effect-transport", whatever its layout. */
const publish = (checkout: string, built: string) => {
  const manifest = readFileSync(`${checkout}/package.json`, "utf8")
  writeFileSync(`${built}/package.json`, manifest.replaceAll('"./dist/', '"./src/'))
}

const own = path("..")
const ownBuilt = makeBuilt(own)

/** Compiles what the children run: as tsx would run it, each closure made per call would cost a `defineProperty`. */
export const build = () => {
  compile(own, path("tsconfig.json"), ownBuilt)
  publish(own, ownBuilt)
}

/** The same for another checkout: its `src` and its packages under these benchmarks, which `build` compiled. Returns where. */
export const buildOther = (checkout: string): string => {
  const built = makeBuilt(checkout)
  compile(checkout, `${checkout}/tsconfig.build.json`, `${built}/src`)
  for (const folder of ["bench", "examples"]) {
    cpSync(`${ownBuilt}/${folder}`, `${built}/${folder}`, { recursive: true })
  }
  publish(checkout, built)
  return built
}

/** A file of these benchmarks, compiled. */
export const builtFile = (name: string): string => `${ownBuilt}/bench/${name}.js`

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
  readonly pid: number
  readonly ask: <K extends keyof Commands>(
    command: K,
    ...args: Parameters<Commands[K]>
  ) => Promise<Awaited<ReturnType<Commands[K]>>>
  readonly stop: () => void
}

export interface Start {
  /** Further flags for Node. */
  readonly flags?: ReadonlyArray<string>
  /** Where the contestant was built, if not in this checkout. */
  readonly built?: string
  /** The core that the process is bound to. */
  readonly core?: number | undefined
}

/** Starts a process for one side of a contestant. */
export const start = async (contestant: string, { built = ownBuilt, core, flags = [] }: Start = {}): Promise<Child> => {
  const nodeFlags = ["--expose-gc", "--tls-min-v1.3", "--no-deprecation", ...flags]
  const child = fork(`${built}/bench/child.js`, [contestant], {
    // What it logs is no result.
    stdio: ["inherit", 2, 2, "ipc"],
    ...(core === undefined
      ? { execArgv: nodeFlags }
      : { execPath: "taskset", execArgv: ["-c", String(core), process.execPath, ...nodeFlags] })
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
    pid: child.pid ?? 0,
    ask: (command, ...[args]) => {
      lastId += 1
      child.send({ id: lastId, command, args })
      return reply(lastId)
    },
    stop: () => {
      if (child.connected) {
        child.disconnect()
      }
    }
  }
}

/** Runs something with a server and a client in processes of their own. */
export const withPair = async <A>(
  contestant: string,
  use: (server: Child, client: Child) => Promise<A>,
  flags: ReadonlyArray<string> = []
): Promise<A> => {
  const pair = await Promise.all([start(contestant, { flags }), start(contestant, { flags })])
  try {
    return await use(...pair)
  } finally {
    for (const child of pair) {
      child.stop()
    }
  }
}
