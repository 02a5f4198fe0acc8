/** What a peer of a TlsLive listener can make it keep. */
import * as NodeTls from "node:tls"
import { setFlagsFromString } from "node:v8"
import { runInNewContext } from "node:vm"
import { describe, expect, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Metric from "effect/Metric"
import * as Redacted from "effect/Redacted"
import * as Stream from "effect/Stream"
import { Credentials, DevCa, Tls, Transport, TransportMetrics } from "effect-transport"
import { EchoService } from "../../examples/gen/echo/v1/echo_pb.js"
import * as Wire from "../../src/protocol/wire/Wire.js"
import { Flag } from "../../src/protocol/wire/Wire.js"
import * as Frames from "../../src/protocol/wire/WireFrames.js"
import * as Writer from "../../src/protocol/wire/WireWriter.js"
import { rawMaterial } from "../suite/fixtures/certificates.js"
import { echo } from "../suite/fixtures/echo.js"
import { eventually, leavesNothing } from "../suite/fixtures/expect.js"
import { captureLog } from "../suite/fixtures/observe.js"

const ca = await Effect.runPromise(DevCa.make())
const issued = await Effect.runPromise(ca.issue({ names: ["127.0.0.1"] }))

const serve = (
  options: Tls.TlsOptions = {},
  implementation: Partial<Transport.Implementation<typeof EchoService>> = {}
) =>
  Effect.gen(function* () {
    const { layer, lines } = yield* captureLog
    const context = yield* Layer.build(
      Tls.layer(options).pipe(
        Layer.provide(Layer.succeed(Credentials.Credentials, Credentials.make(rawMaterial(issued, ca.ca))))
      )
    )
    const run = <A, E, R>(effect: Effect.Effect<A, E, R>) => effect.pipe(Effect.provide(context), Effect.provide(layer))
    const { address, target } = yield* run(
      Transport.listen([Transport.handlers(EchoService, { ...echo, ...implementation }) as Transport.Handlers<never>])
    )
    return { port: address.port, client: yield* run(Transport.client(EchoService, target)), lines }
  })

const bytes = (write: (writer: Writer.Writer) => void) => {
  const writer = Writer.make()
  write(writer)
  return Buffer.concat(writer.take())
}

const most = 2 ** 31

/** A peer that allows this end everything, and of which the test says whether it reads. */
const peer = (port: number) =>
  Effect.async<NodeTls.TLSSocket>((resume) => {
    const socket = NodeTls.connect({
      port,
      host: "127.0.0.1",
      ca: ca.ca,
      cert: issued.cert,
      key: Redacted.value(issued.key),
      ALPNProtocols: [Wire.alpnProtocol]
    })
    socket.on("error", () => {})
    socket.once("secureConnect", () => {
      const settings = {
        maxMessageSize: most,
        maxMetadataSize: most,
        maxCalls: 100,
        streamWindow: most,
        connectionWindow: most
      }
      socket.write(bytes((writer) => Frames.writeSettings(writer, settings)))
      resume(Effect.succeed(socket))
    })
    return Effect.sync(() => socket.destroy())
  }).pipe((connected) => Effect.acquireRelease(connected, (socket) => Effect.sync(() => socket.destroy())))

const open = (call: number, method: string, message?: Uint8Array) =>
  bytes((writer) =>
    Frames.writeOpen(
      writer,
      call,
      { path: `/echo.v1.EchoService/${method}`, timeout: Number.POSITIVE_INFINITY, metadata: [] },
      message,
      message !== undefined
    )
  )

const piece = Buffer.alloc(Wire.maxPiece, 7)

const pieceOf = (call: number, flags: number) =>
  bytes((writer) => Frames.writeMessage(writer, flags, call, piece, 0, piece.length))

/** Writes and waits for the socket, so that this end of the test keeps nothing itself. */
const write = (socket: NodeTls.TLSSocket, chunk: Buffer) =>
  Effect.async<void>((resume) => {
    socket.write(chunk, () => resume(Effect.void))
  })

setFlagsFromString("--expose-gc")
const collect: () => void = runInNewContext("gc")

const mebibytes = () => {
  collect()
  const { arrayBuffers, heapUsed } = process.memoryUsage()
  return (arrayBuffers + heapUsed) / 2 ** 20
}

describe("a peer that", () => {
  it.live("begins 100 messages and ends none keeps no more than the budget, and good calls go on", () =>
    leavesNothing(
      Effect.gen(function* () {
        const { client, port } = yield* serve({ connectionWindow: 2 ** 20, streamWindow: 2 ** 18 })
        const socket = yield* peer(port)
        socket.resume()
        const before = mebibytes()
        const calls = Array.from({ length: 100 }, (_, i) => 2 * i + 1)
        yield* write(socket, Buffer.concat(calls.map((call) => open(call, "EchoClientStream"))))
        // Within the window of each call, as the listener has allowed it: 24 MiB in all.
        for (let round = 0; round < 15; round++) {
          yield* write(socket, Buffer.concat(calls.map((call) => pieceOf(call, Flag.more))))
        }
        expect((yield* client.echo({ message: "good" })).message).toBe("good")
        // V8 frees buffers a little after the collection.
        yield* eventually(Effect.sync(() => expect(mebibytes() - before).toBeLessThan(10)))
      })
    )
  )

  it.live("asks for 100 answers of 4 MiB and reads none leaves most of them with their handlers", () => {
    const payload = new Uint8Array(4 * 2 ** 20 - 100)
    return leavesNothing(
      Effect.gen(function* () {
        let handled = 0
        const { client, port } = yield* serve(
          {},
          {
            echo: ({ message }) =>
              Effect.sync(() => {
                handled += 1
                return { message, payload: message === "" ? payload : new Uint8Array(0) }
              })
          }
        )
        const socket = yield* peer(port)
        socket.pause()
        const before = mebibytes()
        for (let i = 0; i < 100; i++) {
          yield* write(socket, open(2 * i + 1, "Echo", new Uint8Array(0)))
        }
        yield* eventually(Effect.sync(() => expect(handled).toBe(100)))
        expect((yield* client.echo({ message: "good" })).message).toBe("good")
        // V8 frees buffers a little after the collection.
        yield* eventually(Effect.sync(() => expect(mebibytes() - before).toBeLessThan(40)))
      })
    )
  })

  it.live("asks for streams and reads none leaves them with their handlers", () => {
    const payload = new Uint8Array(2 ** 20)
    return leavesNothing(
      Effect.gen(function* () {
        let pulled = 0
        const next = Effect.sync(() => {
          pulled += 1
          return { payload }
        })
        const { client, port } = yield* serve({}, { echoServerStream: () => Stream.repeatEffect(next) })
        const socket = yield* peer(port)
        socket.pause()
        const before = mebibytes()
        for (let i = 0; i < 100; i++) {
          yield* write(socket, open(2 * i + 1, "EchoServerStream", new Uint8Array(0)))
        }
        yield* eventually(Effect.sync(() => expect(pulled).toBeGreaterThanOrEqual(100)))
        expect((yield* client.echo({ message: "good" })).message).toBe("good")
        // V8 frees buffers a little after the collection.
        yield* eventually(Effect.sync(() => expect(mebibytes() - before).toBeLessThan(40)))
      })
    )
  })
})

it.live("answers that wait for room arrive when the peer reads, in any order and whole", () =>
  leavesNothing(
    Effect.gen(function* () {
      const payload = new Uint8Array(300_000).map((_, i) => i)
      const { client } = yield* serve(
        { maxUnsentBytes: 1 },
        { echo: ({ message }) => Effect.succeed({ message, payload }) }
      )
      const answers = yield* Effect.forEach(
        Array.from({ length: 50 }, (_, i) => String(i)),
        (message) => client.echo({ message }),
        { concurrency: "unbounded" }
      )
      expect(answers.map(({ message }) => message)).toEqual(answers.map((_, i) => String(i)))
      expect(answers.every((answer) => Buffer.compare(answer.payload, payload) === 0)).toBe(true)
    })
  )
)

it.live("a message that is begun and not finished ends its call in time", () =>
  leavesNothing(
    Effect.gen(function* () {
      const { client, port } = yield* serve({ messageTimeout: "200 millis", frameTimeout: "100 millis" })
      const socket = yield* peer(port)
      const answers: Array<Buffer> = []
      socket.on("data", (chunk) => answers.push(chunk))
      yield* write(socket, open(1, "EchoClientStream"))
      yield* write(socket, pieceOf(1, Flag.more))
      yield* eventually(
        Effect.sync(() => expect(Buffer.concat(answers).toString("latin1")).toContain("not finished within 200ms"))
      )
      expect((yield* client.echo({ message: "good" })).message).toBe("good")
      const inFlight = Metric.value(TransportMetrics.callsInFlight)
      yield* eventually(Effect.map(inFlight, ({ value }) => expect(value).toBe(0)))
    })
  )
)

it.live("of all connections of a listener the one that holds most is closed when they hold too much", () =>
  leavesNothing(
    Effect.gen(function* () {
      const { client, lines, port } = yield* serve({ maxBufferedBytes: 3 * 2 ** 20 })
      const small = yield* peer(port)
      small.resume()
      yield* write(small, Buffer.concat([open(1, "EchoClientStream"), pieceOf(1, Flag.more)]))
      const large = yield* peer(port)
      large.resume()
      for (let i = 0; i < 6; i++) {
        const call = 2 * i + 1
        yield* write(
          large,
          Buffer.concat([open(call, "EchoClientStream"), ...Array.from({ length: 40 }, () => pieceOf(call, Flag.more))])
        )
      }
      yield* eventually(Effect.sync(() => expect(large.closed).toBe(true)))
      expect(small.closed).toBe(false)
      yield* eventually(Effect.sync(() => expect(lines.map(({ text }) => text).join("\n")).toContain("Overloaded")))
      expect((yield* client.echo({ message: "good" })).message).toBe("good")
    })
  )
)
