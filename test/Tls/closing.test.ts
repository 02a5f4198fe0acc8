/** What a peer of TlsLive that is still sending receives of the end of its connection. */
import type * as Net from "node:net"
import * as NodeTls from "node:tls"
import { expect, it } from "@effect/vitest"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Redacted from "effect/Redacted"
import * as Stream from "effect/Stream"
import { Credentials, DevCa, type Transport as T, Tls, Transport } from "effect-transport"
import { EchoService } from "../../examples/gen/echo/v1/echo_pb.js"
import * as Wire from "../../src/protocol/wire/Wire.js"
import * as Frames from "../../src/protocol/wire/WireFrames.js"
import * as Writer from "../../src/protocol/wire/WireWriter.js"
import { listen } from "../fixtures/tls.js"
import { limits } from "../protocol/wire/wireSupport.js"
import { rawMaterial } from "../suite/fixtures/certificates.js"
import { echo } from "../suite/fixtures/echo.js"
import { closable, eventually, leavesNothing, within } from "../suite/fixtures/expect.js"
import { follow } from "../suite/fixtures/observe.js"

const ca = await Effect.runPromise(DevCa.make())
const issued = await Effect.runPromise(ca.issue({ names: ["127.0.0.1"] }))
const side = {
  host: "127.0.0.1",
  ca: ca.ca,
  cert: issued.cert,
  key: Redacted.value(issued.key),
  ALPNProtocols: [Wire.alpnProtocol]
}

const build = Layer.build(
  Layer.provide(
    Tls.layer({ gracePeriod: "50 millis" }),
    Layer.succeed(Credentials.Credentials, Credentials.make(rawMaterial(issued, ca.ca)))
  )
)

const bytes = (write: (writer: Writer.Writer) => void) => {
  const writer = Writer.make()
  write(writer)
  return Buffer.concat(writer.take())
}

const settings = bytes((writer) => Frames.writeSettings(writer, { ...limits, streamWindow: 2 ** 20 }))
const message = bytes((writer) => Frames.writeMessage(writer, 0, 1, Buffer.from([]), 0, 0))
const goaway = (lastCall: number) => bytes((writer) => Frames.writeGoaway(writer, lastCall, "Shutdown", ""))

/** A peer that sends a message of the first call every few milliseconds until it has read the end of the connection. */
const sendOn = (socket: Net.Socket) => {
  const chunks: Array<Buffer> = []
  let error: unknown
  let written = 0
  const timer = setInterval(() => {
    socket.write(message)
    written += 1
  }, 5)
  const stop = () => clearInterval(timer)
  socket
    .on("data", (chunk) => chunks.push(chunk))
    .on("error", (cause) => {
      error = cause
    })
    .on("end", stop)
    .on("close", stop)
  return {
    /** Reads nothing until that many messages more are written, then the rest. Returns what it has read, or its error. */
    readLate: (isClosing: Effect.Effect<unknown>) =>
      Effect.gen(function* () {
        socket.pause()
        yield* isClosing
        const before = written
        yield* eventually(Effect.sync(() => expect(error !== undefined || written > before + 20).toBe(true)))
        socket.resume()
        yield* eventually(Effect.sync(() => expect(socket.destroyed).toBe(true)))
        return error ?? Buffer.concat(chunks)
      })
  }
}

const expectEnd = (read: unknown, end: Buffer) =>
  expect(Buffer.isBuffer(read) ? read.subarray(-end.length).toString("hex") : read).toBe(end.toString("hex"))

it.live("a client that closes leaves its server, which is still sending, time to read why", () =>
  leavesNothing(
    Effect.gen(function* () {
      const peer = yield* Deferred.make<ReturnType<typeof sendOn>>()
      const tls = NodeTls.createServer({ ...side, requestCert: true }, (socket) => {
        socket.write(settings)
        socket.once("data", () => Deferred.unsafeDone(peer, Effect.succeed(sendOn(socket))))
      })
      const { live, port } = yield* listen((socket) => void tls.emit("connection", socket))
      const [context, close] = yield* closable(build)
      const client = yield* Effect.provide(Transport.client(EchoService, `127.0.0.1:${port}`), context)
      const first = yield* Deferred.make<void>()
      const call = yield* Effect.fork(
        Effect.exit(Stream.runForEach(client.echoServerStream({}), () => Deferred.succeed(first, undefined)))
      )
      yield* Deferred.await(first)
      const server = yield* Deferred.await(peer)
      const closing = yield* Effect.fork(close)
      expectEnd(yield* server.readLate(Fiber.join(call)), goaway(0))
      yield* within(Fiber.join(closing), "3 seconds")
      yield* eventually(Effect.sync(() => expect(live()).toBe(0)))
    })
  )
)

it.live("a listener that closes leaves a client that is still sending time to read its last answer and why", () =>
  leavesNothing(
    Effect.gen(function* () {
      const handler = yield* follow
      const handlers = Transport.handlers(EchoService, {
        ...echo,
        echoClientStream: () => handler.run(Effect.never)
      }) as T.Handlers<never>
      const [listener, close] = yield* closable(
        Effect.flatMap(build, (context) => Effect.provide(Transport.listen([handlers]), context))
      )
      const socket = NodeTls.connect({ ...side, port: listener.address.port })
      yield* Effect.addFinalizer(() => Effect.sync(() => socket.destroy()))
      const open = { path: "/echo.v1.EchoService/EchoClientStream", timeout: Wire.noTimeout, metadata: [] }
      socket.write(Buffer.concat([settings, bytes((writer) => Frames.writeOpen(writer, 1, open, undefined, false))]))
      const client = sendOn(socket)
      yield* handler.started
      const closing = yield* Effect.fork(close)
      const read = yield* client.readLate(handler.ended)
      expectEnd(read, goaway(1))
      yield* within(Fiber.join(closing), "3 seconds")
    })
  )
)
