/**
 * Each wire over a link that stalls, is cut and comes back, with large messages: every call is answered or fails, none runs
 * twice, memory stays flat, and a client is back within 5 seconds. `SOAK_SECONDS` says how long, 20 by default.
 */
import * as Dgram from "node:dgram"
import { once } from "node:events"
import { describe, expect, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Logger from "effect/Logger"
import type * as Scope from "effect/Scope"
import { Credentials, Quic, Tls, Transport } from "effect-transport"
import { grpcEngines } from "../fixtures/grpcEngines.js"
import { EchoService, echo } from "../suite/fixtures/echo.js"
import { leavesNothing } from "../suite/fixtures/expect.js"
import { proxy } from "../suite/fixtures/proxy.js"

const seconds = Number(process.env.SOAK_SECONDS ?? 20)
const dev = Credentials.layerDev()

interface Network {
  readonly target: string
  /** Nothing gets through, and nobody is told. */
  readonly freeze: Effect.Effect<void>
  readonly thaw: Effect.Effect<void>
  /** Ends what goes through, where the wire knows of that. */
  readonly cut: Effect.Effect<void>
}

/** A UDP proxy in front of a port that loses 5 packets of 100 and lets 5 wait. */
const udpProxy = (port: number): Effect.Effect<Network, never, Scope.Scope> =>
  Effect.gen(function* () {
    let isFrozen = false
    const ways = new Map<string, Dgram.Socket>()
    const timers = new Set<NodeJS.Timeout>()
    const carry = (send: () => void) => {
      const chance = Math.random()
      if (isFrozen || chance < 0.05) {
        return
      }
      if (chance < 0.1) {
        const timer = setTimeout(() => {
          timers.delete(timer)
          send()
        }, 5)
        timers.add(timer)
      } else {
        send()
      }
    }
    const front = yield* Effect.acquireRelease(
      Effect.promise(async () => {
        const socket = Dgram.createSocket("udp4").on("error", () => {})
        socket.bind(0, "127.0.0.1")
        await once(socket, "listening")
        return socket
      }),
      (socket) =>
        Effect.sync(() => {
          for (const timer of timers) {
            clearTimeout(timer)
          }
          for (const way of ways.values()) {
            way.close()
          }
          socket.close()
        })
    )
    front.on("message", (packet, from) => {
      const name = String(from.port)
      let way = ways.get(name)
      if (way === undefined) {
        way = Dgram.createSocket("udp4").on("error", () => {})
        way.on("message", (answer) => carry(() => front.send(answer, from.port, from.address)))
        ways.set(name, way)
      }
      const to = way
      carry(() => to.send(packet, port, "127.0.0.1"))
    })
    return {
      target: `127.0.0.1:${front.address().port}`,
      freeze: Effect.sync(() => {
        isFrozen = true
      }),
      thaw: Effect.sync(() => {
        isFrozen = false
      }),
      cut: Effect.void
    }
  })

const wires: ReadonlyArray<
  readonly [
    name: string,
    layer: Layer.Layer<Transport.Transport, unknown>,
    network: (port: number) => Effect.Effect<Network, never, Scope.Scope>
  ]
> = [
  ...grpcEngines.map(({ layer, name }) => [name, Layer.provide(layer(), dev), proxy] as const),
  ["TlsLive", Layer.provide(Tls.layer(), dev), proxy],
  ["QuicLive", Layer.provide(Quic.layer(), dev), udpProxy]
]

const payload = new Uint8Array(200_000).fill(7)

const timeout = "1 second"

for (const [name, layer, network] of wires) {
  describe(name, () => {
    it.live(
      `${seconds} seconds of a bad link`,
      () =>
        leavesNothing(
          Effect.flatMap(Layer.build(Layer.orDie(layer)), (context) =>
            Effect.gen(function* () {
              const runs = new Map<string, number>()
              const handlers = Transport.handlers(EchoService, {
                ...echo,
                echo: (request) => {
                  runs.set(request.message, (runs.get(request.message) ?? 0) + 1)
                  return Effect.succeed({ message: request.message, payload: request.payload })
                }
              })
              const { address } = yield* Transport.listen([handlers])
              const link = yield* network(address.port)
              const client = yield* Transport.client(EchoService, link.target)
              const outcomes: Record<string, number> = {}
              let calls = 0
              let isOver = false
              const worker = Effect.gen(function* () {
                while (!isOver) {
                  calls += 1
                  const message = String(calls)
                  const large = calls % 10 === 0
                  const outcome = yield* client
                    .echo({ message, payload: large ? payload : payload.subarray(0, 100) }, { timeout })
                    .pipe(
                      Effect.map((answer) =>
                        answer.message === message && answer.payload.length === (large ? payload.length : 100)
                          ? "ok"
                          : "wrong"
                      ),
                      Effect.catchAll(({ _tag }) => Effect.succeed(_tag))
                    )
                  outcomes[outcome] = (outcomes[outcome] ?? 0) + 1
                  yield* Effect.sleep("10 millis")
                }
              })
              const workers = yield* Effect.fork(
                Effect.all(
                  Array.from({ length: 8 }, () => worker),
                  { concurrency: "unbounded" }
                )
              )
              const until = performance.now() + seconds * 1000
              const rss: Array<number> = []
              const backAfter: Array<number> = []
              const answered = () => outcomes.ok ?? 0
              for (let round = 0; performance.now() < until; round++) {
                yield* Effect.sleep("2 seconds")
                const isCut = round % 2 === 1
                yield* link.freeze
                if (isCut) {
                  yield* link.cut
                }
                yield* Effect.sleep(`${1 + ((round * 4) % 10)} seconds`)
                yield* link.thaw
                const before = answered()
                const since = performance.now()
                while (answered() === before && performance.now() - since < 30_000) {
                  yield* Effect.sleep("10 millis")
                }
                backAfter.push(Math.round(performance.now() - since))
                rss.push(Math.round(process.memoryUsage().rss / 1024 / 1024))
              }
              isOver = true
              yield* workers
              console.log(JSON.stringify({ name, calls, outcomes, backAfter, rss }))
              const sum = Object.values(outcomes).reduce((a, b) => a + b, 0)
              expect(sum).toBe(calls)
              expect(
                Object.keys(outcomes).filter((tag) => !["ok", "DeadlineExceeded", "Unavailable"].includes(tag))
              ).toEqual([])
              expect([...runs.values()].filter((times) => times > 1)).toEqual([])
              expect(Math.max(...backAfter)).toBeLessThan(5000)
              const half = rss[Math.floor(rss.length / 2)] ?? 0
              expect((rss.at(-1) ?? 0) - half).toBeLessThan(100)
            }).pipe(Effect.provide(context), Effect.provide(Logger.remove(Logger.defaultLogger)))
          )
        ),
      (seconds + 60) * 1000
    )
  })
}
