import { type ChildProcess, execFile, spawn, spawnSync } from "node:child_process"
import { once } from "node:events"
import { mkdtemp, rm, writeFile } from "node:fs/promises"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { promisify } from "node:util"
import * as Effect from "effect/Effect"
import * as Redacted from "effect/Redacted"
import type * as DevCa from "../../src/Tls/DevCa.js"

/** Whether there is an `openssl` to be the foreign peer; without it the tests that need one are skipped. */
export const available = spawnSync("openssl", ["version"]).status === 0

/** A directory for one test. */
export const directory = Effect.acquireRelease(
  Effect.promise(() => mkdtemp(join(tmpdir(), "openssl-"))),
  (path) => Effect.promise(() => rm(path, { recursive: true }))
)

/** Runs a command to its end. */
export const run = (cwd: string, ...args: ReadonlyArray<string>) =>
  Effect.promise(() => promisify(execFile)("openssl", args, { cwd }))

/** Files of a certificate, as arguments of `s_server` and `s_client`. */
export const identity = (dir: string, name: string, { cert, key }: DevCa.Issued) =>
  Effect.promise(async () => {
    await writeFile(join(dir, `${name}.pem`), cert)
    await writeFile(join(dir, `${name}.key`), Redacted.value(key))
    return ["-cert", `${name}.pem`, "-key", `${name}.key`, "-cert_chain", `${name}.pem`]
  })

/** A file of the directory. */
export const file = (dir: string, name: string, text: string) =>
  Effect.promise(async () => {
    await writeFile(join(dir, name), text)
    return name
  })

const start = (cwd: string, args: ReadonlyArray<string>) =>
  Effect.acquireRelease(
    Effect.sync(() => {
      const child = spawn("openssl", args, { cwd, stdio: ["pipe", "pipe", "pipe"] })
      child.stdin.on("error", () => {})
      const output = { text: "" }
      for (const stream of [child.stdout, child.stderr]) {
        stream.on("data", (chunk) => {
          output.text += String(chunk)
        })
      }
      return { child, output }
    }),
    ({ child }) =>
      Effect.promise(async () => {
        if (child.exitCode === null && child.signalCode === null) {
          child.kill("SIGKILL")
          await once(child, "exit")
        }
      })
  )

/** Until the output says what is looked for. */
const said = (child: ChildProcess, output: { readonly text: string }, pattern: RegExp) =>
  Effect.async<RegExpExecArray>((resume) => {
    const look = () => {
      const match = pattern.exec(output.text)
      if (match !== null) {
        resume(Effect.succeed(match))
      }
    }
    child.stdout?.on("data", look)
    child.stderr?.on("data", look)
    look()
  })

/** A TLS server on loopback; the port that the system chose. */
export const server = (cwd: string, ...args: ReadonlyArray<string>) =>
  Effect.gen(function* () {
    const { child, output } = yield* start(cwd, ["s_server", "-accept", "127.0.0.1:0", ...args])
    const match = yield* said(child, output, /ACCEPT 127\.0\.0\.1:(\d+)/)
    return Number(match[1])
  })

/** A TLS client that connects to loopback; what it has printed when the pattern appears. */
export const client = (cwd: string, port: number, ...args: ReadonlyArray<string>) =>
  Effect.gen(function* () {
    const { child, output } = yield* start(cwd, [
      "s_client",
      "-connect",
      `127.0.0.1:${port}`,
      "-servername",
      "localhost",
      "-alpn",
      "h2",
      ...args
    ])
    return { write: (text: string) => child.stdin.write(text), said: (pattern: RegExp) => said(child, output, pattern) }
  })
