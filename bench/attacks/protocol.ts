/** What the processes of the attacks are asked, and answer. */
import type { Certificates } from "../contestant.js"
import type * as Wires from "./wires.js"

/** Of calls of the good client, in milliseconds since they were due. */
export interface Latencies {
  readonly count: number
  readonly failures: number
  readonly p50: number
  readonly p99: number
  readonly most: number
}

/** What the listener had to bear since it was asked the last time. */
export interface Strain {
  /** The longest that its event loop was held, in milliseconds. */
  readonly pause: number
  /** Its memory now, and the most it was, in MiB. */
  readonly rss: number
  readonly peak: number
}

export interface Commands {
  readonly listen: (wire: Wires.Name, certificates: Certificates, hosts: ReadonlyArray<string>) => ReadonlyArray<number>
  readonly strain: () => Strain
  readonly connect: (wire: Wires.Name, certificates: Certificates, target: string) => void
  /** Calls a second with so many in flight. */
  readonly capacity: (inFlight: number, millis: number) => number
  /** Calls at a rate, whether or not those before have ended; those that begin in the first milliseconds don't count. */
  readonly calls: (rate: number, millis: number, skip: number) => Latencies
  /** Makes what an attack needs before it begins, such as connections. */
  readonly prepare: (attack: string, wire: Wires.Name, certificates: Certificates, target: Target) => void
  /** Does what is bad for so long; says what it did. */
  readonly attack: (millis: number) => string
}

/** An attack: what comes before it, and then what it does for so many milliseconds. */
export type Attack = (
  wire: Wires.Name,
  certificates: Certificates,
  target: Target
) => Promise<(millis: number) => Promise<string>>

export interface Target {
  readonly host: string
  readonly port: number
}

export type Answer<K extends keyof Commands> = ReturnType<Commands[K]>

/** Commands as a process has them: they may take their time. */
export type Implementation = {
  readonly [K in keyof Commands]?: (...args: Parameters<Commands[K]>) => Promise<Answer<K>> | Answer<K>
}

/** Serves what the parent asks, until it hangs up. */
export const serve = (commands: Implementation): void => {
  process.on("message", async ({ args, command, id }: { id: number; command: keyof Commands; args: never }) => {
    const f = commands[command] as ((...args: ReadonlyArray<unknown>) => unknown) | undefined
    try {
      process.send?.({ id, result: await f?.(...(args as ReadonlyArray<unknown>)) })
    } catch (error) {
      process.send?.({ id, error: error instanceof Error ? (error.stack ?? error.message) : String(error) })
    }
  })
  process.on("disconnect", () => process.exit(0))
  process.send?.({ id: 0 })
}
