/** QuicLive where packets get lost, and where the link is cut: two processes in network namespaces of their own. */
import { spawnSync } from "node:child_process"
import { describe, expect, it } from "@effect/vitest"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import { run, start } from "../fixtures/command.js"
import { writeCertificates } from "../Quic/peerSupport.js"
import { within } from "../suite/fixtures/expect.js"
import { directory, isInstalled } from "../suite/fixtures/system.js"

const root = new URL("../..", import.meta.url).pathname

/** Names of this run; a network interface's has 15 characters at the most. */
const name = `et${process.pid.toString(36)}`
const [server, client] = [`${name}s`, `${name}c`]

const command = (...[program = "", ...args]: ReadonlyArray<string>) =>
  Effect.flatMap(run(program, args, root), ({ code, text }) =>
    code === 0 ? Effect.succeed(text) : Effect.dieMessage(`${program} ${args.join(" ")}: ${text}`)
  )

/** Why there are no namespaces here; undefined where there are. */
const obstacle = ["ip", "nft"].some((program) => !isInstalled(program))
  ? "ip and nft are not installed"
  : spawnSync("ip", ["netns", "add", name]).status !== 0 || spawnSync("ip", ["netns", "del", name]).status !== 0
    ? "network namespaces are not permitted"
    : undefined

/** Drops packets that arrive at either end with a probability, in percent. */
const dropping = (percent: number) => {
  const rule = percent === 100 ? "drop" : `numgen random mod 100 < ${percent} drop`
  return Effect.forEach(
    [server, client],
    (namespace) =>
      command(
        ...["ip", "netns", "exec", namespace, "nft"],
        "flush ruleset; add table inet loss; add chain inet loss in { type filter hook input priority 0; }" +
          (percent === 0 ? "" : `; add rule inet loss in ${rule}`)
      ),
    { discard: true }
  )
}

/** Two namespaces and a link between them, for one test. */
const link = Effect.gen(function* () {
  for (const namespace of [server, client]) {
    yield* Effect.acquireRelease(command("ip", "netns", "add", namespace), () =>
      command("ip", "netns", "del", namespace)
    )
  }
  yield* command(
    ...["ip", "link", "add", "wire", "netns", server],
    ...["type", "veth", "peer", "name", "wire", "netns", client]
  )
  for (const [namespace, address] of [
    [server, "10.77.0.1/30"],
    [client, "10.77.0.2/30"]
  ] as const) {
    yield* command("ip", "-n", namespace, "addr", "add", address, "dev", "wire")
    yield* command("ip", "-n", namespace, "link", "set", "lo", "up")
    yield* command("ip", "-n", namespace, "link", "set", "wire", "up")
  }
})

interface Sizes {
  readonly calls: number
  readonly messages: number
  readonly timeout: string
}

/** Runs the listener and the client, and gives what the client says. */
const exchange = (sizes: Sizes) =>
  Effect.gen(function* () {
    const dir = yield* Effect.tap(directory, writeCertificates)
    const program = (namespace: string, mode: string, options: object) =>
      start(
        "ip",
        [
          ...["netns", "exec", namespace, process.execPath, "--import", "tsx", "test/fixtures/lossProgram.ts", mode],
          JSON.stringify({ directory: dir, ...options })
        ],
        root
      )
    const listener = yield* program(server, "serve", { host: "10.77.0.1" })
    const [, target] = yield* listener.said(/^>> (.*:\d+)$/m)
    const calling = yield* program(client, "call", { target, ...sizes })
    const json = (pattern: RegExp) => Effect.map(calling.said(pattern), ([, text = ""]) => JSON.parse(text))
    return {
      connected: calling.said(/^>> connected$/m),
      unary: json(/^>> (\{"outcomes".*\})$/m),
      streamed: json(/^>> (\{"outcome":.*\})$/m)
    }
  })

const test = (title: string, body: Effect.Effect<void, unknown, Scope.Scope>, duration: Duration.DurationInput) =>
  it.scopedLive.skipIf(obstacle !== undefined)(
    obstacle === undefined ? title : `${title} (skipped: ${obstacle})`,
    () => within(body, duration),
    Duration.toMillis(duration) + 10_000
  )

const calls = 10_000
/** Of 64 KiB. */
const messages = 1600

const sum = (outcomes: Readonly<Record<string, number>>) => Object.values(outcomes).reduce((a, b) => a + b, 0)

/** What a call may end with that did not get through: its deadline has passed, or the connection was given up. */
const typed = ["ok", "DeadlineExceeded", "Unavailable"]

describe("over QUIC, with packets lost in both directions", () => {
  test(
    "5 %: calls and a stream of 100 MB arrive intact",
    Effect.gen(function* () {
      yield* link
      yield* dropping(5)
      const { streamed, unary } = yield* exchange({ calls, messages, timeout: "60 seconds" })
      expect((yield* unary).outcomes).toEqual({ ok: calls })
      expect(yield* streamed).toMatchObject({ outcome: "ok", messages })
    }),
    "4 minutes"
  )

  test(
    "20 %: calls and a stream of 100 MB arrive intact, or fail typed in their time",
    Effect.gen(function* () {
      yield* link
      yield* dropping(20)
      const { streamed, unary } = yield* exchange({ calls, messages, timeout: "2 minutes" })
      const { outcomes } = yield* unary
      expect(Object.keys(outcomes).filter((outcome) => !typed.includes(outcome))).toEqual([])
      expect(sum(outcomes)).toBe(calls)
      expect(outcomes.ok).toBeGreaterThan(calls * 0.9)
      const stream = yield* streamed
      expect(typed).toContain(stream.outcome)
      expect(stream.messages).toBe(stream.outcome === "ok" ? messages : expect.any(Number))
      expect(stream.seconds).toBeLessThan(125)
    }),
    "6 minutes"
  )

  test(
    "all of them for 3 seconds, twice: calls and a stream of 100 MB wait, and arrive intact",
    Effect.gen(function* () {
      yield* link
      const { connected, streamed, unary } = yield* exchange({ calls, messages, timeout: "60 seconds" })
      const cut = Effect.zipRight(dropping(100), Effect.zipRight(Effect.sleep("3 seconds"), dropping(0)))
      yield* connected
      yield* cut
      expect((yield* unary).outcomes).toEqual({ ok: calls })
      yield* cut
      expect(yield* streamed).toMatchObject({ outcome: "ok", messages })
    }),
    "4 minutes"
  )
})
