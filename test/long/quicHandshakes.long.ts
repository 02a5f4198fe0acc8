/** Handshakes of CRYPTO frames without end (CVE-2024-1765): what they cost a listener, and a client beside them. */
import * as Dgram from "node:dgram"
import { once } from "node:events"
import { expect, it } from "@effect/vitest"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import { Credentials, Quic, Transport } from "effect-transport"
import * as Refusal from "../../src/Quic/engine/refusal.js"
import { echoHandlers } from "../fixtures/grpc.js"
import { EchoService } from "../suite/fixtures/echo.js"
import { within } from "../suite/fixtures/expect.js"

const mebibyte = 1024 * 1024

/** The first packet of a client, padded. */
const first = Buffer.alloc(1200)
first[0] = 0xc0
first.writeUInt32BE(1, 1)
Buffer.from([8, 1, 2, 3, 4, 5, 6, 7, 8, 4, 9, 9, 9, 9]).copy(first, 5)

/** One handshake that does not end: frames of one byte, with gaps between them, so that none can be handed on. */
const flood = (port: number, packets: number) =>
  Effect.gen(function* () {
    const socket = Dgram.createSocket("udp4").bind(0, "127.0.0.1")
    yield* Effect.addFinalizer(() => Effect.sync(() => socket.close()))
    yield* Effect.promise(() => once(socket, "listening"))
    const asked = Effect.async<Buffer>((resume) => {
      socket.once("message", (packet) => {
        clearInterval(timer)
        resume(Effect.succeed(packet))
      })
      // It may get lost among those of the others.
      const timer = setInterval(() => socket.send(first, port, "127.0.0.1"), 50)
      return Effect.sync(() => clearInterval(timer))
    })
    const retry = yield* within(asked, "10 seconds")
    const id = retry.subarray(11, 19)
    const token = retry.subarray(19, -16)
    for (let number = 0; number < packets; number++) {
      const frames = Buffer.concat(
        Array.from({ length: 160 }, (_, i) => {
          const offset = 1 + 2 * (number * 160 + i)
          return Buffer.of(0x06, 0x80, offset >> 16, (offset >> 8) & 0xff, offset & 0xff, 1, 0x55)
        })
      )
      const from = Buffer.of(9, 9, 9, 9)
      socket.send(Refusal.seal({ by: "client", keyId: id, to: id, from, token, number, frames }), port, "127.0.0.1")
      if (number % 20 === 0) {
        yield* Effect.sleep("1 millis")
      }
    }
  }).pipe(Effect.scoped)

it.scopedLive("handshakes without end cost a listener no more than their budget", () =>
  Effect.gen(function* () {
    // Without the penalty box, which would end this at once.
    const options = { serverName: "localhost", maxRefusals: Number.POSITIVE_INFINITY }
    const context = yield* Layer.build(Layer.provide(Quic.layer(options), Credentials.layerDev()))
    const run = Effect.provide(context)
    const { address, target } = yield* run(Transport.listen([echoHandlers()]))
    const client = yield* run(Transport.client(EchoService, target))
    yield* client.echo({ message: "warm" })
    const before = process.memoryUsage().rss
    const latencies: Array<number> = []
    const good = yield* Effect.fork(
      Effect.forever(
        Effect.gen(function* () {
          const [elapsed] = yield* Effect.timed(client.echo({ message: "good" }))
          latencies.push(Duration.toMillis(elapsed))
          yield* Effect.sleep("5 millis")
        })
      )
    )
    // 15 MB in all, of which a listener without a budget keeps twenty times as much.
    yield* Effect.replicateEffect(flood(address.port, 300), 40, { concurrency: 4, discard: true })
    yield* Fiber.interrupt(good)
    const grown = (process.memoryUsage().rss - before) / mebibyte
    latencies.sort((a, b) => a - b)
    const at = (part: number) => latencies[Math.floor(latencies.length * part)]?.toFixed(1)
    console.log(
      `RSS grew by ${grown.toFixed(0)} MiB; ${latencies.length} good calls, ${at(0.5)} ms, p99 ${at(0.99)} ms`
    )
    expect(grown).toBeLessThan(300)
    expect((yield* client.echo({ message: "after" })).message).toBe("after")
  })
)
