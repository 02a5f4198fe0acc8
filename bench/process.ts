/** Processes that are no contestants: what they are bound to, print, and use of the CPU. Linux alone. */
import { type ChildProcess, spawn } from "node:child_process"
import { readFileSync } from "node:fs"

/** A second has so many of the ticks that Linux counts CPU in, on every machine in use. */
const ticksPerSecond = 100

/** The seconds of CPU that a process has used. */
export const cpuSeconds = (pid: number): number => {
  // The name of the process stands in brackets and may hold anything; utime and stime are the 12th and 13th field behind it.
  const stat = readFileSync(`/proc/${pid}/stat`, "utf8")
  const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ")
  return (Number(fields[11]) + Number(fields[12])) / ticksPerSecond
}

/** Starts a command on one core. */
export const startOn = (core: number, command: string, args: ReadonlyArray<string>, env: NodeJS.ProcessEnv = {}) =>
  spawn("taskset", ["-c", String(core), command, ...args], {
    stdio: ["pipe", "pipe", "inherit"],
    env: { ...process.env, ...env }
  })

/** Waits until a process has ended well, and returns what it has printed. */
export const output = (child: ChildProcess): Promise<string> =>
  new Promise((resolve, reject) => {
    let text = ""
    child.stdout?.setEncoding("utf8").on("data", (chunk: string) => {
      text += chunk
    })
    child.on("error", reject)
    child.on("close", (code) =>
      code === 0 ? resolve(text) : reject(new Error(`${child.spawnargs.join(" ")}: ${text}`))
    )
  })
