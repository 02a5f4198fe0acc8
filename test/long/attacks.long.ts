/** The attacks of docs/guide/admission.md, with bounds that only tell whether a good client beside them is served at all. */
import { spawn } from "node:child_process"
import { createInterface } from "node:readline"
import { afterAll, beforeAll, describe, expect, it } from "@effect/vitest"
import { describeWith } from "../fixtures/command.js"
import { otherWires } from "../fixtures/grpcEngines.js"

interface Calls {
  readonly count: number
  readonly failures: number
  readonly p50: number
  readonly p99: number
}

interface Row {
  readonly attack: string
  readonly wire: string
  readonly before: Calls
  readonly during: Calls
  readonly after: Calls
  /** MiB. */
  readonly grown: number
  readonly did: string
}

/** What the processes may take to start on a machine that does much else. */
const timeout = 480_000

const wires = otherWires(["GrpcLive", "TlsLive", "QuicLive"])

/** Runs them one after the other in processes of their own: a row for each. */
const run = () => {
  const args = ["bench/attacks.ts", "--quick", "--json", "--wires", wires.join()]
  const child = spawn(process.execPath, ["--import", "tsx", ...args], { stdio: ["ignore", "pipe", "pipe"] })
  const rows = new Map<string, Row>()
  let errors = ""
  child.stderr.on("data", (chunk: Buffer) => {
    errors += chunk
  })
  createInterface(child.stdout).on("line", (line) => {
    const row: Row = JSON.parse(line)
    rows.set(`${row.wire}, ${row.attack}`, row)
  })
  const ended = new Promise<number | null>((resolve) => child.once("close", resolve))
  return {
    /** The rows, when all attacks are over. */
    rows: async () => {
      expect(await ended, errors).toBe(0)
      return { rows, errors }
    },
    stop: () => child.kill()
  }
}

const attacks = [
  "handshakes from one source",
  "handshakes from a /64",
  "silent connections",
  "one identity, 50 connections",
  "a tenant at 10 times its rate",
  "messages of 4 MiB",
  "slow readers",
  "denied calls in a loop",
  "calls cancelled at once"
]

describeWith(["taskset"], "a good client is served beside", () => {
  let running: ReturnType<typeof run> | undefined
  let result: Awaited<ReturnType<ReturnType<typeof run>["rows"]>> | undefined
  beforeAll(async () => {
    running = run()
    result = await running.rows()
  }, timeout)
  afterAll(() => running?.stop())

  describe.each(wires)("%s", (wire) => {
    for (const attack of attacks) {
      it(attack, (context) => {
        const row = result?.rows.get(`${wire}, ${attack}`)
        if (row === undefined && attack === "handshakes from a /64" && result?.errors.includes("skipped") === true) {
          return context.skip("there can be no network namespace here")
        }
        console.log(`${wire}, ${attack}: ${JSON.stringify(row)}`)
        expect(row).toBeDefined()
        for (const calls of row === undefined ? [] : [row.before, row.during, row.after]) {
          expect(calls.failures).toBe(0)
          expect(calls.count).toBeGreaterThan(0)
          // A node that stands still answers later, or never.
          expect(calls.p50).toBeLessThan(5000)
          expect(calls.p99).toBeLessThan(10_000)
        }
        expect(row?.grown).toBeLessThan(400)
      })
    }
  })
})
