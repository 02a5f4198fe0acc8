import * as Dgram from "node:dgram"
import { expect, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import { constVoid } from "effect/Function"
import { vi } from "vitest"
import { Transport } from "../../../src/index.js"
import * as UdpSocket from "../../../src/Quic/engine/udpSocket.js"
import { admission } from "../../fixtures/admission.js"
import { echoHandlers } from "../../fixtures/grpc.js"
import { sendRawUdp } from "../../fixtures/rawUdp.js"
import { EchoService } from "../../suite/fixtures/echo.js"
import { eventually, soon } from "../../suite/fixtures/expect.js"
import { quic } from "../peerSupport.js"
import { connecting, open, settings } from "../quicSupport.js"

const bytes = Buffer.alloc(1200, 0x55)

const bound = (host: string, onError: (error: Error) => void = constVoid) =>
  Effect.acquireRelease(
    Effect.promise(() => UdpSocket.bind({ host, port: 0 }, constVoid, onError)),
    (socket) => Effect.promise(() => socket.close())
  )

/** A short header, as of a connection that the listener does not know, and long enough to be answered. */
const shortHeader = Buffer.concat([Buffer.of(0x40), Buffer.alloc(59, 0x61)])

it.scopedLive("what can't be sent is lost, and throws nothing", () =>
  Effect.gen(function* () {
    for (const host of ["127.0.0.1", "::1"]) {
      const socket = yield* bound(host)
      for (const to of [
        { host, port: 0 },
        { host, port: -1 },
        { host, port: 65_536 },
        { host, port: Number.NaN },
        { host: "not an address", port: 5 },
        { host: "", port: 5 },
        { host: "fe80::1%nowhere", port: 5 },
        { host: "255.255.255.255", port: 5 }
      ]) {
        socket.send(bytes, 0, bytes.length, to)
      }
      socket.send(Buffer.alloc(100_000), 0, 100_000, { host, port: 5 })
      socket.send(bytes, 0, bytes.length + 1, { host, port: 5 })
    }
    const closed = yield* Effect.promise(() => UdpSocket.bind({ host: "127.0.0.1", port: 0 }, constVoid, constVoid))
    yield* Effect.promise(closed.close)
    closed.send(bytes, 0, bytes.length, { host: "127.0.0.1", port: 5 })
    // What Node says later is said by now.
    yield* Effect.sleep("20 millis")
  })
)

it.scopedLive("a send that throws is told as the socket's error", () =>
  Effect.gen(function* () {
    const errors: Array<unknown> = []
    const socket = yield* bound("127.0.0.1", (error) => errors.push(error))
    const spy = vi.spyOn(Dgram.Socket.prototype, "send").mockImplementation(() => {
      throw undefined
    })
    yield* Effect.addFinalizer(() => Effect.sync(() => spy.mockRestore()))
    socket.send(bytes, 0, bytes.length, { host: "127.0.0.1", port: 5 })
    expect(errors).toMatchObject([{ message: "the socket has failed" }])
  })
)

it.scopedLive("a client whose address is port 0 hears that nobody is there", () =>
  Effect.gen(function* () {
    const { engine, tls } = yield* open
    const refused = yield* soon(Effect.flip(connecting(engine, tls, { host: "127.0.0.1", port: 0 })))
    expect(refused).toMatchObject({ _tag: "Lost", why: "Unreachable" })
  })
)

it.scopedLive("datagrams from port 0 are not answered, and the listener goes on", (context) =>
  Effect.gen(function* () {
    const { run } = yield* quic()
    const { address } = yield* run(Transport.listen([echoHandlers()]))
    const target = `localhost:${address.port}`
    const initial = Buffer.concat([Buffer.from("c00000000110", "hex"), Buffer.alloc(1300, 0x62)])
    const otherVersion = Buffer.concat([Buffer.from("c0deadbeef10", "hex"), Buffer.alloc(1300, 0x62)])
    for (const datagram of [shortHeader, initial, otherVersion]) {
      if (!(yield* sendRawUdp(address.port, 0, datagram))) {
        return context.skip("raw sockets are not allowed here")
      }
    }
    const client = yield* run(Transport.client(EchoService, target))
    expect((yield* run(client.echo({ message: "after" }))).message).toBe("after")
  })
)

it.scopedLive("a packet from port 0 that Node hands over is not answered", () =>
  Effect.gen(function* () {
    const binding = vi.spyOn(Dgram.Socket.prototype, "bind")
    yield* Effect.addFinalizer(() => Effect.sync(() => binding.mockRestore()))
    const { engine, tls } = yield* open
    const errors: Array<Error> = []
    const listener = yield* Effect.acquireRelease(
      Effect.promise(() =>
        engine.listen({
          local: { host: "127.0.0.1", port: 0 },
          tls: () => tls,
          settings,
          maxConnections: 10,
          admission: admission(),
          maxTotalHandshakeBytes: 1024 * 1024,
          onConnection: () => {
            throw new Error("no connection comes from port 0")
          },
          onError: (error) => errors.push(error)
        })
      ),
      (listener) => Effect.promise(() => listener.close())
    )
    const socket = binding.mock.contexts[0] as Dgram.Socket
    const sending = vi.spyOn(socket, "send")
    const from = (port: number) => ({ address: "127.0.0.1", family: "IPv4", port, size: shortHeader.length })
    socket.emit("message", shortHeader, from(0))
    expect(sending).not.toHaveBeenCalled()
    socket.emit("message", shortHeader, from(listener.local.port))
    expect(sending).toHaveBeenCalledOnce()
    yield* eventually(Effect.sync(() => expect(errors).toEqual([])))
  })
)
