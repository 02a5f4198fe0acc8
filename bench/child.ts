/** One side of a contestant in a process of its own, which does what the parent asks over IPC. */
import * as Inspector from "node:inspector/promises"
import { setTimeout as sleep } from "node:timers/promises"
import {
  type Certificates,
  type Client,
  type Connection,
  type Consumer,
  type Contestant,
  directions,
  type Work
} from "./contestant.js"
import { type Profile, summarize } from "./profile.js"

const [name = ""] = process.argv.slice(2)
const importStarted = performance.now()
const { default: contestant }: { readonly default: Contestant } = await import(`./contestants/${name}.js`)
const importMillis = performance.now() - importStarted

const connections: Array<Connection> = []
const profiler = new Inspector.Session()

const connect = async (client: Client, port: number) => {
  const connection = await client.connect(port)
  await connection.work(makeWork(100, once(), []))
  return connection
}

const once = () => {
  let left = 1
  return () => left-- > 0
}

/** Every request is different, every reply has to be the same. */
const makeWork = (bytes: number, more: () => boolean, latencies: Array<number>): Work => {
  // Two bytes for the field's tag and length make up the rest of a small message.
  const payload = Buffer.alloc(Math.max(bytes - 2, 4), latencies.length)
  let calls = 0
  let started = 0
  return {
    next: () => {
      started = performance.now()
      if (!more()) {
        return undefined
      }
      calls += 1
      payload.writeUInt32LE(calls, 0)
      return { payload }
    },
    done: (reply) => {
      if (Buffer.compare(payload, reply.payload) !== 0) {
        throw new Error(`${name} gave a wrong reply`)
      }
      latencies.push(performance.now() - started)
    }
  }
}

const percentile = (sorted: ReadonlyArray<number>, p: number) => sorted[Math.floor((sorted.length - 1) * p)] ?? 0

const ascending = (a: number, b: number) => a - b

const usage = () => {
  const { system, user } = process.cpuUsage()
  return { cpuSeconds: (user + system) / 1e6 }
}

interface Pace {
  /** How long every message is followed by a pause; from then on it goes as fast as it can. */
  readonly slowSeconds: number
  readonly pauseMillis: number
}

const consumed = { messages: 0, bytes: 0 }

const makeConsumer = (pace: Pace): Consumer => {
  let slowUntil: number | undefined
  return (payload) => {
    slowUntil ??= performance.now() + pace.slowSeconds * 1000
    consumed.messages += 1
    consumed.bytes += payload.length
    return performance.now() < slowUntil ? sleep(pace.pauseMillis) : undefined
  }
}

interface Sample {
  readonly seconds: number
  readonly rss: number
  readonly consumed: number
}

const samples: Array<Sample> = []

const required = <A>(value: A | undefined): A => {
  if (value === undefined) {
    throw new Error(`${name} can't do that`)
  }
  return value
}

interface Target {
  readonly certificates: Certificates
  readonly port: number
}

interface Load {
  readonly inFlight: number
  readonly bytes: number
  readonly seconds?: number
  readonly calls?: number
}

const commands = {
  serve: ({ certificates, pace }: { readonly certificates: Certificates; readonly pace?: Pace }) =>
    contestant.serve(certificates, makeConsumer(pace ?? { slowSeconds: 0, pauseMillis: 0 })),

  serveCleartext: () => required(contestant.serveCleartext)(() => undefined),

  /** How long it took to import the contestant, in milliseconds. */
  importMillis: async () => importMillis,

  /** The streams in which the contestant takes part. */
  directions: async () => directions.filter((direction) => connections[0]?.[direction] !== undefined),

  /** Opens connections, makes a call on each and keeps them. Gives the time of the first in milliseconds. */
  connect: async ({ certificates, count, port }: Target & { readonly count: number }) => {
    const started = performance.now()
    const client = await contestant.client(certificates)
    connections.push(await connect(client, port))
    const millis = performance.now() - started
    let left = count - 1
    const connectMore = async () => {
      while (left > 0) {
        left -= 1
        connections.push(await connect(client, port))
      }
    }
    // Both ends have something to do at a time.
    await Promise.all(Array.from({ length: 8 }, connectMore))
    return millis
  },

  /** Starts a client, connects it, connects it again, and stops all that, time and again. Gives medians in milliseconds. */
  startUp: async ({ certificates, port, times }: Target & { readonly times: number }) => {
    const first: Array<number> = []
    const further: Array<number> = []
    for (let i = 0; i < times; i++) {
      const started = performance.now()
      const client = await contestant.client(certificates)
      const one = await connect(client, port)
      const between = performance.now()
      const other = await connect(client, port)
      first.push(between - started)
      further.push(performance.now() - between)
      await one.close()
      await other.close()
      await client.close()
    }
    return { first: percentile(first.sort(ascending), 0.5), further: percentile(further.sort(ascending), 0.5) }
  },

  /** Keeps so many calls in flight on the first connection, for a time or until so many have been made. */
  load: async (options: Load) => {
    const [connection] = connections
    const latencies: Array<number> = []
    const before = usage()
    const started = performance.now()
    const end = started + (options.seconds ?? Number.POSITIVE_INFINITY) * 1000
    let left = options.calls ?? Number.POSITIVE_INFINITY
    const more = () => left-- > 0 && performance.now() < end
    await Promise.all(
      Array.from({ length: options.inFlight }, () => connection?.work(makeWork(options.bytes, more, latencies)))
    )
    const seconds = (performance.now() - started) / 1000
    latencies.sort(ascending)
    return {
      calls: latencies.length,
      callsPerSecond: latencies.length / seconds,
      p50: percentile(latencies, 0.5),
      p99: percentile(latencies, 0.99),
      cpuSeconds: usage().cpuSeconds - before.cpuSeconds
    }
  },

  usage: async () => usage(),

  /** What the process holds after a full garbage collection, in bytes. */
  memory: async () => {
    for (let i = 0; i < 3; i++) {
      globalThis.gc?.()
      await sleep(100)
    }
    const { external, heapUsed, rss } = process.memoryUsage()
    return { rss, peakRss: process.resourceUsage().maxRSS * 1024, heap: heapUsed + external }
  },

  download: async ({ bytes, pace, repeat }: { readonly repeat: number; readonly bytes: number; readonly pace: Pace }) =>
    required(connections[0]?.download)({ repeat, payloadSize: bytes }, makeConsumer(pace)),

  upload: ({ bytes, repeat }: { readonly repeat: number; readonly bytes: number }) =>
    required(connections[0]?.upload)(new Uint8Array(bytes), repeat),

  /** Looks at the process time and again, until it ends. */
  watch: async ({ everyMillis }: { readonly everyMillis: number }) => {
    const started = performance.now()
    setInterval(() => {
      const seconds = (performance.now() - started) / 1000
      samples.push({ seconds, rss: process.memoryUsage.rss(), consumed: consumed.bytes })
    }, everyMillis)
  },

  watched: async () => ({ samples, consumed }),

  startProfile: async () => {
    profiler.connect()
    await profiler.post("Profiler.enable")
    await profiler.post("Profiler.start")
  },

  stopProfile: async (options: { readonly file: string }) => {
    const { profile } = await profiler.post("Profiler.stop")
    profiler.disconnect()
    return summarize(profile as Profile, options.file)
  }
}

export type Commands = typeof commands

process.on("message", async ({ args, command, id }: { id: number; command: keyof Commands; args: never }) => {
  try {
    process.send?.({ id, result: await commands[command](args) })
  } catch (error) {
    process.send?.({ id, error: error instanceof Error ? (error.stack ?? error.message) : String(error) })
  }
})
process.on("disconnect", () => process.exit())
process.send?.({ id: 0 })
