/** The good client beside an attack. It calls at the times that are due, whether or not it was answered. */
import * as Effect from "effect/Effect"
import type { Latencies } from "./protocol.js"
import { serve } from "./protocol.js"
import { connectFrom } from "./source.js"
import * as Wires from "./wires.js"

const [from = "127.0.0.2"] = process.argv.slice(2)
connectFrom(() => from)

const payload = new Uint8Array(95)
let client: Wires.Client | undefined

const call = Effect.suspend(
  (): Effect.Effect<unknown, unknown> =>
    client === undefined ? Effect.fail("not connected") : client.echo({ payload }, { timeout: "10 seconds" })
)

const at = (sorted: ReadonlyArray<number>, part: number) => sorted[Math.floor((sorted.length - 1) * part)] ?? Number.NaN

/** A turn every millisecond begins the calls that are due. */
const openLoop = (rate: number, millis: number, skip: number): Promise<Latencies> =>
  new Promise((resolve) => {
    const latencies: Array<number> = []
    const began = performance.now()
    let started = 0
    let ended = 0
    let failures = 0
    let isOver = false
    const end = () => {
      ended += 1
      if (isOver && ended === started) {
        const sorted = latencies.sort((a, b) => a - b)
        resolve({
          count: sorted.length,
          failures,
          p50: at(sorted, 0.5),
          p99: at(sorted, 0.99),
          most: at(sorted, 1)
        })
      }
    }
    const begin = (due: number) => {
      started += 1
      Effect.runCallback(call, {
        onExit: (exit) => {
          if (exit._tag === "Failure") {
            failures += 1
          } else if (due - began >= skip) {
            latencies.push(performance.now() - due)
          }
          end()
        }
      })
    }
    const timer = setInterval(() => {
      const now = performance.now() - began
      for (let due = started * (1000 / rate); due <= Math.min(now, millis); due = started * (1000 / rate)) {
        begin(began + due)
      }
      if (now >= millis) {
        clearInterval(timer)
        isOver = true
        started += 1
        end()
      }
    }, 1)
  })

serve({
  connect: async (wire, certificates, target) => {
    client = (await Wires.connect(wire, certificates, target)).client
  },
  capacity: async (inFlight, millis) => {
    let calls = 0
    const until = performance.now() + millis
    const loop = Effect.repeat(
      Effect.tap(call, () => {
        calls += 1
      }),
      { while: () => performance.now() < until }
    )
    await Effect.runPromise(Effect.replicateEffect(loop, inFlight, { concurrency: inFlight, discard: true }))
    return (calls / millis) * 1000
  },
  calls: openLoop
})
