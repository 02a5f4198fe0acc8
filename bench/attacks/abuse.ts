/** Attacks of those who were let in. */
import { setTimeout as sleep } from "node:timers/promises"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Stream from "effect/Stream"
import type { Certificates } from "../contestant.js"
import type { Attack, Target } from "./protocol.js"
import * as Wires from "./wires.js"

const textOf = ({ host, port }: Target) => (host.includes(":") ? `[${host}]:${port}` : `${host}:${port}`)

/** Counts how calls end. */
const makeEnds = () => {
  const ends = new Map<string, number>()
  const count = <A, E extends { readonly _tag: string }>(call: Effect.Effect<A, E>) =>
    Effect.match(call, {
      onFailure: ({ _tag }) => ends.set(_tag, (ends.get(_tag) ?? 0) + 1),
      onSuccess: () => ends.set("OK", (ends.get("OK") ?? 0) + 1)
    })
  return { count, text: () => [...ends].map(([tag, count]) => `${count} ${tag}`).join(", ") || "none ended" }
}

/** So many clients on connections of their own, of which some may not be let in. */
const connectAll = async (wire: Wires.Name, certificates: Certificates, target: Target, count: number) => {
  const connecting = Array.from({ length: count }, () =>
    Wires.connect(wire, certificates, textOf(target)).catch(() => undefined)
  )
  return (await Promise.all(connecting)).filter((each) => each !== undefined)
}

type Connected = Awaited<ReturnType<typeof connectAll>>

/** Closing waits for nobody who does not answer. */
const closeAll = (all: Connected) =>
  Promise.race([Promise.all(all.map(({ close }) => close())).catch(() => undefined), sleep(1000)])

/** As many loops on each of the connections, for so long. */
const loops = async <A, E>(
  all: Connected,
  each: number,
  millis: number,
  one: (client: Wires.Client) => Effect.Effect<A, E>
) => {
  const until = performance.now() + millis
  // An answer at once must not keep this process from looking at the time.
  const again = (client: Wires.Client) =>
    Effect.repeat(Effect.zipRight(Effect.yieldNow(), one(client)), { while: () => performance.now() < until })
  const all_ = all.flatMap(({ client }) => Array.from({ length: each }, () => again(client)))
  await Effect.runPromise(
    Effect.timeoutOption(Effect.all(all_, { concurrency: "unbounded", discard: true }), millis + 200).pipe(
      Effect.ignore
    )
  )
}

const payload = new Uint8Array(95)
const large = new Uint8Array(4 * 2 ** 20 - 1024)

const looping =
  (
    connections: number,
    each: number,
    one: (client: Wires.Client, ends: ReturnType<typeof makeEnds>) => Effect.Effect<unknown>
  ): Attack =>
  async (wire, certificates, target) => {
    const all = await connectAll(wire, certificates, target, connections)
    return async (millis) => {
      const ends = makeEnds()
      await loops(all, each, millis, (client) => one(client, ends))
      await closeAll(all)
      return `${all.length} of ${connections} connections: ${ends.text()}`
    }
  }

export const identity = looping(50, 100, (client, { count }) => count(client.echo({ payload })))

export const messages = looping(1, 8, (client, { count }) => count(client.echo({ payload: large })))

export const readers = looping(2, 50, (client, { count }) =>
  count(
    Stream.runForEach(client.echoServerStream({ repeat: 1000, payloadSize: 256 * 1024 }), () =>
      Effect.sleep("1 second")
    )
  )
)

export const denied = looping(1, 100, (client, { count }) =>
  count(Stream.runDrain(client.echoBidi(Stream.make({ payload }))))
)

export const cancels = looping(1, 100, (client, { count }) =>
  Effect.flatMap(Effect.fork(count(client.echoClientStream(Stream.never))), (fiber) =>
    Effect.zipRight(Effect.yieldNow(), Fiber.interrupt(fiber))
  )
)

const tenantRate = 2000

/** Ten times what the tenant may, whether or not it is answered. */
export const tenant: Attack = async (wire, certificates, target) => {
  const all = await connectAll(wire, certificates, target, 1)
  return async (millis) => {
    const ends = makeEnds()
    const began = performance.now()
    for (let made = 0; performance.now() - began < millis; await sleep(5)) {
      for (const { client } of all) {
        for (; made < ((performance.now() - began) / 1000) * tenantRate; made++) {
          Effect.runFork(ends.count(client.echo({ payload })))
        }
      }
    }
    await closeAll(all)
    return ends.text()
  }
}
