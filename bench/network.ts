/** A network of its own for a benchmark, in a namespace: `npm run bench:network -- --help`. */
import { execFileSync, spawnSync } from "node:child_process"
import { fileURLToPath } from "node:url"
import { parseArgs } from "node:util"

const usage = `npm run bench:network -- [options] command...
Runs a command where 127.0.0.1 is a link of its own. Linux, with the rights to make one (root).
  --mtu n   the largest packet of the link; default 1500
  --loss n  percent of the packets that are lost; default 0`

const variable = "BENCH_NETWORK"

/** Whether this process is in such a network. */
export const isInside = (): boolean => process.env[variable] !== undefined

/**
 * Runs this process's own command again in a network that goes with it. False where that is not permitted. Packets are cut
 * to the MTU before they are sent, as a real link would carry them.
 */
export const enter = (mtu: number): boolean => {
  const name = `bench-${process.pid}`
  try {
    execFileSync("ip", ["netns", "add", name], { stdio: "ignore" })
  } catch {
    return false
  }
  // The command gets the signal too, and the network has to go when it has ended.
  process.on("SIGINT", () => {})
  try {
    execFileSync("ip", ["-n", name, "link", "set", "lo", "mtu", String(mtu), "gso_max_segs", "1", "up"])
    const again = [...process.execArgv, ...process.argv.slice(1)]
    const { status } = spawnSync("ip", ["netns", "exec", name, process.execPath, ...again], {
      stdio: "inherit",
      env: { ...process.env, [variable]: name }
    })
    process.exitCode = status ?? 1
    return true
  } finally {
    execFileSync("ip", ["netns", "del", name])
  }
}

/** Loses so many percent of the packets from now on. */
export const lose = (percent: number): void => {
  if (!isInside()) {
    throw new Error("packets are only lost in a network of their own")
  }
  const rules = [
    "add table ip bench",
    "delete table ip bench",
    "add table ip bench",
    "add chain ip bench input { type filter hook input priority 0; }",
    ...(percent > 0 ? [`add rule ip bench input numgen random mod 1000 < ${Math.round(percent * 10)} drop`] : [])
  ]
  execFileSync("nft", ["-f", "-"], { input: `${rules.join("\n")}\n` })
}

const main = () => {
  const options = {
    mtu: { type: "string", default: "1500" },
    loss: { type: "string", default: "0" },
    help: { type: "boolean", default: false }
  } as const
  const all = process.argv.slice(2)
  // What stands behind the command is the command's.
  const { tokens } = parseArgs({ args: all, options, strict: false, tokens: true })
  const at = tokens.find(({ kind }) => kind === "positional")?.index ?? all.length
  const { values } = parseArgs({ args: all.slice(0, at), options })
  const [command, ...args] = all.slice(at)
  if (values.help || command === undefined) {
    return console.log(usage)
  }
  if (!isInside()) {
    if (!enter(Number(values.mtu))) {
      console.log("skipped: a network namespace is not permitted here")
    }
    return
  }
  lose(Number(values.loss))
  process.exitCode = spawnSync(command, args, { stdio: "inherit" }).status ?? 1
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  main()
}
