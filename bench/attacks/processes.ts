/** The processes of the attacks, each bound to a core. */
import { fork } from "node:child_process"
import * as Harness from "../harness.js"
import type { Answer, Commands } from "./protocol.js"

export interface Process {
  readonly ask: <K extends keyof Commands>(command: K, ...args: Parameters<Commands[K]>) => Promise<Answer<K>>
  readonly stop: () => void
}

/** Starts a file of this folder, which serves what it is asked. */
export const start = async (name: string, core: number, args: ReadonlyArray<string> = []): Promise<Process> => {
  const child = fork(Harness.builtFile(`attacks/${name}`), args, {
    stdio: ["inherit", 2, 2, "ipc"],
    execPath: "taskset",
    execArgv: ["-c", String(core), process.execPath, "--no-deprecation"]
  })
  const waiting = new Map<number, { resolve: (result: never) => void; reject: (error: Error) => void }>()
  child.on("message", ({ error, id, result }: { id: number; result: never; error?: string }) => {
    const { reject, resolve } = waiting.get(id) ?? {}
    waiting.delete(id)
    error === undefined ? resolve?.(result) : reject?.(new Error(`${name}: ${error}`))
  })
  child.on("exit", (code, signal) => {
    for (const { reject } of waiting.values()) {
      reject(new Error(`${name} exited with ${code ?? signal}`))
    }
  })
  const reply = (id: number) => new Promise<never>((resolve, reject) => waiting.set(id, { resolve, reject }))
  let lastId = 0
  await reply(0)
  return {
    ask: (command, ...args) => {
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
