/** The verification app as a process: how it starts, and how it ends. */
import { spawn } from "node:child_process"
import { once } from "node:events"
import { createServer } from "node:net"
import { describe, expect, it } from "@effect/vitest"

/** No more than this may pass from Ctrl-C to the end of all processes, in milliseconds. */
const promptly = 8000

const run = (command: string, ...args: ReadonlyArray<string>) => {
  // A group of its own: a terminal sends the signal of Ctrl-C to all of them.
  const child = spawn(command, args, { detached: true, stdio: ["ignore", "pipe", "pipe"] })
  let output = ""
  const url = new Promise<string>((resolve) => {
    const read = (data: Buffer) => {
      output += data
      const [, found] = /^verify: (http:\S+?)\/ [\s\S]*memory .*\n/m.exec(output) ?? []
      if (found !== undefined) {
        resolve(found)
      }
    }
    child.stdout.on("data", read)
    child.stderr.on("data", read)
  })
  const closed = once(child, "close")
  const group = (signal: NodeJS.Signals) => {
    try {
      process.kill(-(child.pid ?? Number.NaN), signal)
    } catch {
      // All of them have ended.
    }
  }
  return {
    /** Where it listens, once it does. */
    url: () =>
      Promise.race([
        url,
        closed.then(() => {
          throw new Error(`it ended: ${output}`)
        })
      ]),
    output: () => output,
    ended: closed.then(([code]) => ({ code: code as number | null, output })),
    /** Completes when the last process of the group has let go of its output. */
    interrupt: async () => {
      const start = performance.now()
      group("SIGINT")
      const [code] = await closed
      return { code, millis: performance.now() - start }
    },
    [Symbol.dispose]: () => group("SIGKILL")
  }
}

const tsx = ["--import", "tsx"]

const program = ["examples/verify/main.ts"]

const port = (url: string) => new URL(url).port

describe("npm run verify", () => {
  it("prints where it is and what it runs, and ends with Ctrl-C", async () => {
    using app = run("npm", "run", "verify")
    const url = await app.url()
    expect(url).toMatch(/^http:\/\/127\.0\.0\.1:\d+$/)
    expect((await fetch(`${url}/grpc_echo?msg=hello`)).status).toBe(200)
    for (const transport of ["grpc", "tls", "quic", "memory"]) {
      expect(app.output()).toMatch(new RegExp(`^ {2}${transport} +a node on 127.0.0.1:\\d+$`, "m"))
    }
    fetch(`${url}/grpc_echo?msg=late&delayMillis=10000`).catch(() => {})
    const handled = async (): Promise<string> => (await fetch(`${url}/metrics`)).text()
    await expect.poll(handled, { timeout: 10_000 }).toMatch(/^effect_transport_calls_in_flight 1$/m)
    expect((await app.interrupt()).millis).toBeLessThan(promptly)
    expect(app.output()).toMatch(/^verify: everything is closed$/m)
    await expect(fetch(url)).rejects.toThrow()
  })

  it("ends in time while echoes, retries and the poll of a page go on", async () => {
    using app = run(process.execPath, ...tsx, ...program)
    const url = await app.url()
    // The first call over each transport is news of its own.
    await Promise.all(["grpc", "tls", "quic", "memory"].map((each) => fetch(`${url}/echo/${each}?msg=x`)))
    const { version } = JSON.parse(await (await fetch(`${url}/nodes`)).text())
    const json = { method: "POST", headers: { "content-type": "application/json" } }
    const retry = JSON.stringify({ failures: 9, maxAttempts: 10, initialBackoff: 2000 })
    const held = [
      fetch(`${url}/nodes?since=${version}`),
      fetch(`${url}/retry_test`, { ...json, body: retry }),
      ...["grpc", "tls", "quic", "memory"].map((each) => fetch(`${url}/echo/${each}?msg=x&delayMillis=10000`))
    ].map((answer) => answer.then(({ status }) => status).catch(() => "broken off"))
    const handled = async (): Promise<string> => (await fetch(`${url}/metrics`)).text()
    await expect.poll(handled, { timeout: 10_000 }).toMatch(/^effect_transport_calls_in_flight 4$/m)

    const { code, millis } = await app.interrupt()
    expect(code).toBe(0)
    expect(app.output()).toMatch(/^verify: everything is closed$/m)
    expect(millis).toBeLessThan(promptly)
    const [poll, ...others] = await Promise.all(held)
    expect(poll).toBe(200)
    expect(others).toEqual(others.map(() => expect.stringMatching("broken off")))
  })

  it("takes a port, and says when it is in use or none", async () => {
    const taken = createServer().listen(0, "127.0.0.1")
    await once(taken, "listening")
    const address = taken.address()
    const inUse = typeof address === "object" ? String(address?.port) : ""
    using clash = run(process.execPath, ...tsx, ...program, "--port", inUse)
    const { code, output } = await clash.ended
    expect(output).toContain(`port ${inUse} is in use; choose another with --port`)
    expect(output).not.toContain("    at ")
    expect(code).toBe(1)
    taken.close()
    await once(taken, "close")

    using app = run(process.execPath, ...tsx, ...program, "--port", inUse)
    expect(port(await app.url())).toBe(inUse)

    using wrong = run(process.execPath, ...tsx, ...program, "--port", "65536")
    expect(await wrong.ended).toMatchObject({ code: 1, output: expect.stringContaining("--port takes 0 to 65535") })
  })

  it("runs without the QUIC engine, and says that QUIC is absent and why", async () => {
    const hook = `
      import { register } from "node:module"
      register("data:text/javascript," + encodeURIComponent(\`
        export const resolve = (name, context, next) => {
          if (name === "@infisical/quic") throw Object.assign(new Error("not installed"), { code: "ERR_MODULE_NOT_FOUND" })
          return next(name, context)
        }
      \`))
    `
    using app = run(
      process.execPath,
      ...tsx,
      "--import",
      `data:text/javascript,${encodeURIComponent(hook)}`,
      ...program
    )
    const url = await app.url()
    expect(app.output()).toMatch(/^ {2}quic +absent: QUIC needs the package @infisical\/quic with a binary for /m)
    const refused = await fetch(`${url}/echo/quic?msg=x`)
    expect(refused.status).toBe(501)
    expect(await refused.json()).toMatchObject({ _tag: "TransportAbsent" })
    expect((await fetch(`${url}/healthz`)).status).toBe(200)
    expect((await fetch(`${url}/echo/tls?msg=x`)).status).toBe(200)
    expect((await app.interrupt()).code).toBe(0)
  })
})
