import { writeFile } from "node:fs/promises"
import { join } from "node:path"
import { expect, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import { cli, commandFolder, jsonOf, line, plain, process_, refused, served } from "../fixtures/cli.js"
import { run } from "../fixtures/command.js"
import { directory } from "../suite/fixtures/system.js"

const nodes = Effect.gen(function* () {
  const dir = yield* directory
  yield* jsonOf(dir, "certs new-ca")
  yield* jsonOf(dir, "certs issue localhost 127.0.0.1")
  return { dir, own: "--cert localhost.crt --key localhost.key --ca ca/ca.crt" }
})

for (const wire of ["grpc", "tls", "quic"]) {
  it.scopedLive(`bench calls a node of serve over ${wire}, as fast as it goes and at a rate`, () =>
    Effect.gen(function* () {
      const { dir, own } = yield* nodes
      const { child, ended, target } = yield* served(dir, `--wire ${wire} ${own}`)
      const fast = yield* jsonOf(dir, `bench ${target} --wire ${wire} ${own} --call echo --size 1000 -c 4 -d 300ms`)
      expect(fast).toMatchObject({ wire, target, call: "echo", concurrency: 4, errors: {} })
      const { count, max, min, p50, p99 } = fast.latencyMillis
      expect(count).toBe(fast.calls)
      expect(count).toBeGreaterThan(3)
      expect([min, p50, p99, max]).toEqual([min, p50, p99, max].sort((a, b) => a - b))
      const bars: ReadonlyArray<{ readonly count: number }> = fast.histogram
      expect(bars.reduce((sum, bar) => sum + bar.count, 0)).toBe(count)
      const paced = yield* jsonOf(dir, `bench ${target} --wire ${wire} ${own} --rate 20 -d 500ms`)
      expect(paced).toMatchObject({ call: "health", rate: 20, calls: 10, errors: {} })
      // A peer that is refused has an exit code of its own, and one that is not there another.
      const { code, says } = yield* refused(dir, `bench ${target} --wire ${wire} --ca ca/ca.crt -d 1s`)
      expect(code).toBe(3)
      expect(says).toContain("--cert and --key")
      child.kill("SIGINT")
      expect(yield* ended).toBe(130)
      expect((yield* refused(dir, `bench ${target} --wire ${wire} ${own} --timeout 2s`)).code).toBe(78)
    })
  )
}

it.scopedLive("calls that all fail are counted, and the exit code is that of their status", () =>
  Effect.gen(function* () {
    const { dir } = yield* nodes
    const { target } = yield* served(dir, "--insecure")
    const { all, code, stdout } = yield* line(
      dir,
      `bench ${target} --insecure --call echo --size 5000000 -c 1 -d 100ms --json`
    )
    expect(code, all).toBe(64 + 8)
    expect(JSON.parse(stdout)).toMatchObject({ errors: { ResourceExhausted: expect.any(Number) } })
  })
)

it.scopedLive("doctor looks at this machine, and at the dates of certificates", () =>
  Effect.gen(function* () {
    const { dir } = yield* nodes
    const ended = yield* process_(dir, ["doctor", "--json", "--cert", "localhost.crt", "--cert", "nowhere"])
    expect(ended.code, ended.all).toBe(1)
    const { checks, ok } = JSON.parse(ended.stdout)
    expect(ok).toBe(false)
    const statuses = Object.fromEntries(
      checks.map((check: { readonly name: string; readonly status: string }) => [check.name, check.status])
    )
    expect(statuses).toMatchObject({
      node: "ok",
      effect: "ok",
      clock: "ok",
      "localhost.crt: CN=localhost": "ok",
      nowhere: "failed"
    })
    expect(Object.keys(statuses)).toEqual(expect.arrayContaining(["QUIC", "open files", "effect-transport"]))
    expect((yield* line(dir, "doctor")).code).toBe(0)
  })
)

it.scopedLive("help tells the defaults, completions are for three shells, and colors for those who want them", () =>
  Effect.gen(function* () {
    const dir = yield* directory
    const help = yield* line(dir, "bench --help")
    expect(help.code).toBe(0)
    for (const says of ["--wire", "Default: grpc.", "--timeout", "Default: 10s.", "--concurrency", "Default: 10,"]) {
      expect(help.stdout).toContain(says)
    }
    const csi = "\u001b["
    expect(help.stdout).not.toContain(csi)
    expect((yield* cli(dir, ["--help"], { NO_COLOR: "", FORCE_COLOR: "1" })).stdout).toContain(csi)
    expect((yield* cli(dir, ["--help"], { NO_COLOR: "1", FORCE_COLOR: "1" })).stdout).not.toContain(csi)
    for (const shell of ["bash", "zsh", "fish"]) {
      const { stdout } = yield* line(dir, `--completions ${shell}`)
      expect(stdout, shell).toContain("effect-transport")
      expect(stdout, shell).toContain("new-ca")
    }
    const folder = yield* commandFolder
    const checked = yield* run("bash", ["-n", "-c", (yield* line(dir, "--completions bash")).stdout], dir)
    expect(checked.text).toBe("")
    // Whoever has seen enough ends it, without a word.
    const piped = yield* run("bash", ["-c", `"${folder}/effect-transport" --help | head -n 1`], dir, plain)
    expect(piped).toMatchObject({ code: 0, text: "effect-transport\n" })
  })
)

it.scopedLive("bad input is one line that says what to do", () =>
  Effect.gen(function* () {
    const { dir, own } = yield* nodes
    yield* Effect.promise(() => writeFile(join(dir, "junk"), "junk"))
    for (const [args, code, says] of [
      ["bench", 2, "target"],
      ["bench localhost --insecure", 2, "host:port"],
      ["bench localhost:1 -d 3x --insecure", 2, "500ms"],
      ["bench localhost:1 -c 0 --insecure", 2, "less than 1"],
      ["bench localhost:1 --rate -1 --insecure", 2, "rate"],
      ["bench localhost:1 -H x --insecure", 2, "key: value"],
      ["bench localhost:1 -H grpc-x:1 --insecure", 2, "metadata"],
      ["bench localhost:1", 2, "--ca"],
      ["bench localhost:1 --ca nowhere", 1, "--ca"],
      ["bench localhost:1 --ca junk", 1, "--ca"],
      ["bench localhost:1 --ca ca/ca.crt --cert localhost.crt", 2, "--key"],
      ["bench localhost:1 --ca ca/ca.crt --cert localhost.crt --key ca/ca.key", 1, "belong together"],
      ["bench localhost:1 --p12 junk --cert localhost.crt", 2, "one or the other"],
      ["bench localhost:1 --pin abc", 1, "certs pin"],
      ["bench localhost:1 --insecure --wire quic", 1, "--wire grpc"],
      ["bench localhost:1 --insecure --wire http", 2, "grpc, quic, tls"],
      ["bench unix:/nowhere --wire quic --ca ca/ca.crt", 67, "unix"],
      ["serve", 2, "--ca"],
      ["serve --ca ca/ca.crt", 1, "--cert"],
      [`serve --port 80000 ${own}`, 1, "65535"],
      [`serve --host 192.0.2.1 ${own}`, 1, "--host"],
      ["doctor --jsno", 2, "--help"],
      ["sing", 2, "certs"]
    ] as const) {
      const { code: found, says: line } = yield* refused(dir, args)
      expect({ args, code: found }).toEqual({ args, code })
      expect(line, args).toContain(says)
    }
    const { all, code, stdout } = yield* line(dir, "bench localhost:1 --json")
    expect({ code, stdout }).toEqual({ code: 2, stdout: "" })
    expect(JSON.parse(all)).toMatchObject({ error: { tag: "Failure", hint: expect.stringContaining("--ca") } })
  })
)
