import { execFile } from "node:child_process"
import { writeFile } from "node:fs/promises"
import { join } from "node:path"
import { promisify } from "node:util"
import * as Effect from "effect/Effect"
import * as Redacted from "effect/Redacted"
import type * as DevCa from "../../src/Credentials/DevCa.js"
import * as Command from "../fixtures/command.js"

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

/** A TLS server on loopback; the port that the system chose. */
export const server = (cwd: string, ...args: ReadonlyArray<string>) =>
  Effect.gen(function* () {
    const { said } = yield* Command.start("openssl", ["s_server", "-accept", "127.0.0.1:0", ...args], cwd)
    const match = yield* said(/ACCEPT 127\.0\.0\.1:(\d+)/)
    return Number(match[1])
  })

/** A TLS client that connects to loopback; what it has printed when the pattern appears. */
export const client = (cwd: string, port: number, ...args: ReadonlyArray<string>) =>
  Effect.gen(function* () {
    const { child, said } = yield* Command.start(
      "openssl",
      ["s_client", "-connect", `127.0.0.1:${port}`, "-servername", "localhost", "-alpn", "h2", ...args],
      cwd
    )
    return { write: (text: string) => child.stdin?.write(text), said }
  })
