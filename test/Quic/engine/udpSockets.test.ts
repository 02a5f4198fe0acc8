/** A listener on a wildcard address, with loopback addresses for those of the machine (all of 127.0.0.0/8 are there on Linux). */
import * as Dgram from "node:dgram"
import { promises as Dns } from "node:dns"
import { once } from "node:events"
import * as Os from "node:os"
import { describe, expect, it, vi } from "@effect/vitest"
import * as Effect from "effect/Effect"
import { constVoid } from "effect/Function"
import * as Layer from "effect/Layer"
import { Credentials, Quic, Transport } from "effect-transport"
import type * as QuicEngine from "../../../src/Quic/engine/QuicEngine.js"
import * as Quiche from "../../../src/Quic/engine/quiche.js"
import * as QuicheEngine from "../../../src/Quic/engine/quicheEngine.js"
import * as UdpSockets from "../../../src/Quic/engine/udpSockets.js"
import { admission } from "../../fixtures/admission.js"
import { echoHandlers } from "../../fixtures/grpc.js"
import { EchoService } from "../../suite/fixtures/echo.js"
import { eventually, soon } from "../../suite/fixtures/expect.js"
import { connecting, open, quiet, settings } from "../quicSupport.js"

/** Answers each packet with the address that it came from. */
const answering = (
  local: QuicEngine.HostPort,
  interfaces: UdpSockets.Interfaces,
  onError: (error: Error) => void = constVoid
) =>
  Effect.acquireRelease(
    Effect.promise(() =>
      UdpSockets.bind(
        local,
        {
          onPacket: (packet, from, socket) => socket.send(packet, 0, packet.length, from),
          onGone: constVoid,
          onError
        },
        interfaces
      )
    ),
    (sockets) => Effect.promise(sockets.close)
  )

/** Whether the address answers, as itself. */
const answers = (host: string, port: number) =>
  Effect.acquireUseRelease(
    Effect.sync(() => Dgram.createSocket(host.includes(":") ? "udp6" : "udp4")),
    (socket) =>
      Effect.async<boolean>((resume) => {
        socket.on("error", () => resume(Effect.succeed(false)))
        socket.on("message", (_, from) => resume(Effect.succeed(from.address === host && from.port === port)))
        socket.connect(port, host, () => socket.send("x"))
      }).pipe(Effect.timeoutTo({ duration: "200 millis", onSuccess: (is) => is, onTimeout: () => false })),
    (socket) => Effect.sync(() => socket.close())
  )

const takes = (host: string, port: number) =>
  Effect.acquireRelease(
    Effect.promise(async () => {
      const socket = Dgram.createSocket("udp4").bind({ address: host, port, exclusive: true })
      await once(socket, "listening")
      return socket
    }),
    (socket) => Effect.sync(() => socket.close())
  )

describe("a wildcard address", () => {
  it.scopedLive("has a socket for each address of its family, all on one port", () =>
    Effect.gen(function* () {
      const interfaces = { addresses: () => ["127.0.0.1", "::1", "127.0.0.2"], pollMillis: 20 }
      const v4 = yield* answering({ host: "0.0.0.0", port: 0 }, interfaces)
      expect(v4.local.host).toBe("0.0.0.0")
      const asked = ["127.0.0.1", "127.0.0.2", "127.0.0.3", "::1"]
      expect(yield* Effect.forEach(asked, (host) => answers(host, v4.local.port))).toEqual([true, true, false, false])
      for (const host of ["::", "0:0::0"]) {
        const all = yield* answering({ host, port: 0 }, interfaces)
        expect(yield* Effect.forEach(asked, (host) => answers(host, all.local.port))).toEqual([true, true, false, true])
      }
    })
  )

  it.scopedLive("follows addresses that come and go", () =>
    Effect.gen(function* () {
      let addresses: ReadonlyArray<string> = ["127.0.0.1"]
      const { local } = yield* answering({ host: "0.0.0.0", port: 0 }, { addresses: () => addresses, pollMillis: 20 })
      expect(yield* answers("127.0.0.2", local.port)).toBe(false)
      addresses = ["127.0.0.1", "127.0.0.2"]
      yield* eventually(Effect.map(answers("127.0.0.2", local.port), (is) => expect(is).toBe(true)))
      addresses = ["127.0.0.2"]
      yield* eventually(Effect.map(answers("127.0.0.1", local.port), (is) => expect(is).toBe(false)))
      expect(yield* answers("127.0.0.2", local.port)).toBe(true)
    })
  )

  it.scopedLive("tries another port where the one that was chosen is taken on a later address", () =>
    Effect.gen(function* () {
      // Nothing can be bound to a wildcard and the port of another socket: the first time, the second address is taken.
      let reads = 0
      const addresses = () => ["127.0.0.1", reads++ === 0 ? "0.0.0.0" : "127.0.0.2"]
      const { local } = yield* answering({ host: "0.0.0.0", port: 0 }, { addresses, pollMillis: 10_000 })
      expect(reads).toBe(2)
      expect(yield* answers("127.0.0.2", local.port)).toBe(true)
    })
  )

  it.scopedLive("fails where the port that is asked for is taken on one of them, and leaves none bound", () =>
    Effect.gen(function* () {
      const { port } = (yield* takes("127.0.0.2", 0)).address()
      const bound = yield* Effect.either(
        Effect.tryPromise({
          try: () =>
            UdpSockets.bind(
              { host: "0.0.0.0", port },
              { onPacket: constVoid, onGone: constVoid, onError: constVoid },
              { addresses: () => ["127.0.0.1", "127.0.0.2"], pollMillis: 20 }
            ),
          catch: (error) => error
        })
      )
      expect(bound).toMatchObject({ _tag: "Left", left: { code: "EADDRINUSE" } })
      yield* takes("127.0.0.1", port)
    })
  )

  it.scopedLive("an address that can't be bound later is told once, and the others go on", () =>
    Effect.gen(function* () {
      let addresses: ReadonlyArray<string> = ["127.0.0.1"]
      const errors: Array<Error> = []
      const { local } = yield* answering(
        { host: "0.0.0.0", port: 0 },
        { addresses: () => addresses, pollMillis: 10 },
        (error) => errors.push(error)
      )
      yield* takes("127.0.0.2", local.port)
      addresses = ["127.0.0.1", "127.0.0.2"]
      yield* eventually(Effect.sync(() => expect(errors).toMatchObject([{ code: "EADDRINUSE" }])))
      yield* Effect.sleep("50 millis")
      expect(errors.length).toBe(1)
      expect(yield* answers("127.0.0.1", local.port)).toBe(true)
    })
  )

  it.scopedLive("where the addresses can't be read, or there are none, says so", () =>
    Effect.gen(function* () {
      for (const addresses of [
        () => [],
        () => {
          throw new Error("no interfaces")
        }
      ]) {
        const bound = yield* Effect.either(
          Effect.tryPromise(() =>
            UdpSockets.bind(
              { host: "0.0.0.0", port: 0 },
              { onPacket: constVoid, onGone: constVoid, onError: constVoid },
              { addresses, pollMillis: 20 }
            )
          )
        )
        expect(bound._tag).toBe("Left")
      }
    })
  )

  it.scopedLive("a connection ends when the address goes on which it began", () =>
    Effect.gen(function* () {
      let addresses: ReadonlyArray<string> = ["127.0.0.1", "127.0.0.2"]
      const { tls } = yield* open
      const engine = QuicheEngine.make(yield* Effect.promise(() => Quiche.load()), {
        addresses: () => addresses,
        pollMillis: 20
      })
      const closes: Array<QuicEngine.Close> = []
      const listener = yield* Effect.acquireRelease(
        Effect.promise(() =>
          engine.listen({
            local: { host: "0.0.0.0", port: 0 },
            tls: () => tls,
            settings,
            maxConnections: 10,
            admission: admission(),
            maxTotalHandshakeBytes: 1024 * 1024,
            onConnection: (connection) => ({
              ...quiet,
              onEstablished: connection.accept,
              onClosed: (close) => closes.push(close)
            }),
            onError: constVoid
          })
        ),
        (listener) => Effect.promise(() => listener.close())
      )
      const { port } = listener.local
      yield* connecting(engine, tls, { host: "127.0.0.1", port })
      yield* connecting(engine, tls, { host: "127.0.0.2", port })
      addresses = ["127.0.0.1"]
      yield* eventually(Effect.sync(() => expect(closes).toMatchObject([{ _tag: "Lost", why: "Unreachable" }])))
    })
  )
})

it.scopedLive("a listener on a wildcard address is reached at each address of this machine", () =>
  Effect.gen(function* () {
    const context = yield* Layer.build(Layer.provide(Quic.layer({ serverName: "localhost" }), Credentials.layerDev()))
    const run = Effect.provide(context)
    const own = Object.values(Os.networkInterfaces()).flatMap((infos = []) => infos)
    for (const wildcard of ["0.0.0.0", "::"]) {
      const { address } = yield* run(Transport.listen([echoHandlers()], { host: wildcard }))
      for (const { address: host, family, scopeid = 0 } of own) {
        if (scopeid === 0 && (family === "IPv4" || wildcard === "::")) {
          const target = family === "IPv4" ? `${host}:${address.port}` : `[${host}]:${address.port}`
          const client = yield* run(Transport.client(EchoService, target))
          expect((yield* soon(run(client.echo({ message: target })))).message).toBe(target)
        }
      }
    }
  })
)

it.scopedLive("a listener on a name is reached at each of its addresses that this machine has", () =>
  Effect.gen(function* () {
    const named = ["127.0.0.1", "203.0.113.7", "127.0.0.2", "::1"].map((address) => ({
      address,
      family: address.includes(":") ? 6 : 4
    }))
    const lookup = vi.spyOn(Dns, "lookup").mockImplementation((async () => named) as unknown as typeof Dns.lookup)
    yield* Effect.addFinalizer(() => Effect.sync(() => lookup.mockRestore()))
    const context = yield* Layer.build(Layer.provide(Quic.layer({ serverName: "localhost" }), Credentials.layerDev()))
    const run = Effect.provide(context)
    const { address } = yield* run(Transport.listen([echoHandlers()], { host: "node-a.example" }))
    expect(address.host).toBe("node-a.example")
    for (const host of ["127.0.0.1", "127.0.0.2", "[::1]"]) {
      const client = yield* run(Transport.client(EchoService, `${host}:${address.port}`))
      expect((yield* soon(client.echo({ message: host }))).message).toBe(host)
    }
  })
)
