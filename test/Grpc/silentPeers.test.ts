import Dns from "node:dns"
import * as Net from "node:net"
import * as Os from "node:os"
import * as Tls from "node:tls"
import { describe, expect, it, vi } from "@effect/vitest"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Metric from "effect/Metric"
import * as Redacted from "effect/Redacted"
import * as Scope from "effect/Scope"
import { DevCa, Transport, TransportMetrics } from "effect-transport"
import { describeEngines } from "../fixtures/describeEngines.js"
import { echoHandlers, insecure } from "../fixtures/grpc.js"
import { connect, listen } from "../fixtures/tls.js"
import { rawMaterial } from "../suite/fixtures/certificates.js"
import { EchoService } from "../suite/fixtures/echo.js"
import { eventually, leavesNothing, within } from "../suite/fixtures/expect.js"

const hasIpv6 = Object.values(Os.networkInterfaces()).some((all) => all?.some(({ address }) => address === "::1"))

const ca = await Effect.runPromise(DevCa.make())
const issued = await Effect.runPromise(ca.issue({ names: ["localhost", "127.0.0.1"] }))
const secure = rawMaterial(issued, ca.ca)
const side = { host: "127.0.0.1", ca: ca.ca, cert: issued.cert, key: Redacted.value(issued.key), ALPNProtocols: ["h2"] }

/** A SETTINGS frame that announces 6 bytes of payload, of which 2 come. */
const halfSettings = Buffer.from([0, 0, 6, 4, 0, 0, 0, 0, 0, 0, 3])

const overTls = (onSecure: (socket: Tls.TLSSocket) => unknown) => {
  const server = Tls.createServer({ ...side, requestCert: true })
  server.on("secureConnection", (socket) => {
    socket.on("error", () => {}).resume()
    onSecure(socket)
  })
  server.on("tlsClientError", () => {})
  return (socket: Net.Socket) => void server.emit("connection", socket)
}

describeEngines(({ on }) => {
  describe("a client gives up a server that", () => {
    const nothing = (socket: Net.Socket) => void socket.resume()
    it.live.each([
      ["accepts and says nothing, with TLS", secure, nothing],
      ["accepts and says nothing, without TLS", insecure, nothing],
      ["completes TLS and says nothing", secure, overTls(nothing)],
      ["sends half a SETTINGS frame, with TLS", secure, overTls((socket) => socket.write(halfSettings))],
      [
        "sends half a SETTINGS frame, without TLS",
        insecure,
        (socket: Net.Socket) => socket.resume().write(halfSettings)
      ]
    ] as const)("%s", ([, material, onSocket]) =>
      leavesNothing(
        Effect.gen(function* () {
          const server = yield* listen(onSocket)
          const peer = `127.0.0.1:${server.port}`
          const client = on(material, { connectTimeout: "300 millis" })(Transport.client(EchoService, peer))
          const [elapsed, error] = yield* Effect.timed(within(Effect.flip(Effect.scoped(client)), "2 seconds"))
          expect(error).toMatchObject({ _tag: "DeadlineExceeded", code: 4, peer })
          expect(Duration.toMillis(elapsed)).toBeGreaterThan(280)
          expect(Duration.toMillis(elapsed)).toBeLessThan(4500)
          yield* eventually(Effect.sync(() => expect(server.live()).toBe(0)))
        })
      )
    )

    it.live.runIf(hasIpv6)("is at one address of a name, and takes the one at another", () =>
      leavesNothing(
        Effect.gen(function* () {
          const { address } = yield* on(secure)(Transport.listen([echoHandlers()]))
          const silent = new Set<Net.Socket>()
          let accepted = 0
          const server = Net.createServer((socket) => {
            accepted += 1
            silent.add(socket)
            socket.resume().on("close", () => silent.delete(socket))
          })
          yield* Effect.acquireRelease(
            Effect.async<void>((resume) => {
              server.listen(address.port, "::1", () => resume(Effect.void))
            }),
            () => Effect.sync(() => server.close())
          )
          const addresses: ReadonlyArray<Dns.LookupAddress> = [
            { address: "::1", family: 6 },
            { address: "127.0.0.1", family: 4 }
          ]
          const lookup: unknown = async () => addresses
          vi.spyOn(Dns.promises, "lookup").mockImplementation(lookup as typeof Dns.promises.lookup)
          yield* Effect.addFinalizer(() => Effect.sync(() => vi.restoreAllMocks()))
          const client = yield* on(secure, { connectTimeout: "800 millis" })(
            Transport.client(EchoService, `localhost:${address.port}`)
          )
          expect((yield* client.echo({ message: "hello" })).message).toBe("hello")
          expect(accepted).toBe(1)
          yield* eventually(Effect.sync(() => expect(silent.size).toBe(0)))
          expect((yield* client.echo({ message: "still" })).message).toBe("still")
        })
      )
    )

    it.live("has taken the place of one that spoke, again and again", () =>
      leavesNothing(
        Effect.gen(function* () {
          const scope = yield* Scope.make()
          const { target, address } = yield* Scope.extend(on(secure)(Transport.listen([echoHandlers()])), scope)
          const client = yield* on(secure, {
            connectTimeout: "400 millis",
            initialReconnectBackoff: "20 millis",
            maxReconnectBackoff: "20 millis"
          })(Transport.client(EchoService, target))
          yield* Scope.close(scope, Exit.void)
          let accepted = 0
          let closed = 0
          const server = Net.createServer((socket) => {
            accepted += 1
            socket
              .on("error", () => {})
              .on("close", () => {
                closed += 1
              })
            socket.resume()
          })
          yield* Effect.acquireRelease(
            Effect.sync(() => server.listen(address.port, "127.0.0.1")),
            () => Effect.sync(() => server.close())
          )
          yield* eventually(
            Effect.sync(() => expect(closed).toBeGreaterThan(2)),
            "5 seconds"
          )
          expect(accepted - closed).toBeLessThan(2)
          expect(yield* Effect.flip(client.echo({}))).toMatchObject({
            _tag: "Unavailable",
            processed: "no",
            peer: target
          })
        })
      )
    )
  })

  describe("a listener closes within its limit 50 clients that", () => {
    const preface = Buffer.from("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
    const accepted = Effect.map(Metric.value(TransportMetrics.connectionsAccepted), ({ value }) => value)

    /** Writes one byte after the other. */
    const drip = (bytes: Buffer) => (socket: Net.Socket) => {
      let sent = 0
      const timer = setInterval(() => socket.write(bytes.subarray(sent, ++sent)), 40)
      socket.once("close", () => clearInterval(timer))
    }

    const finishTls = (then: (socket: Tls.TLSSocket) => void) => (socket: Net.Socket) => {
      const secured = Tls.connect({ socket, ...side })
      secured.on("error", () => {}).on("secureConnect", () => then(secured.resume()))
    }

    it.live.each([
      ["send nothing, with TLS", secure, () => {}],
      ["send nothing, without TLS", insecure, () => {}],
      ["send one byte and no more, with TLS", secure, (socket: Net.Socket) => socket.write(Buffer.of(22))],
      ["drip bytes, with TLS", secure, drip(Buffer.from([22, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3, ...Buffer.alloc(500)]))],
      ["drip bytes, without TLS", insecure, drip(Buffer.concat([preface, Buffer.alloc(500)]))],
      ["complete TLS and send nothing", secure, finishTls(() => {})],
      ["drip bytes in TLS", secure, finishTls(drip(Buffer.concat([preface, Buffer.alloc(500)])))],
      ["send half a preface, with TLS", secure, finishTls((socket) => socket.write(preface.subarray(0, 12)))],
      ["send half a preface, without TLS", insecure, (socket: Net.Socket) => socket.write(preface.subarray(0, 12))]
    ] as const)("%s", ([, material, speak]) =>
      leavesNothing(
        Effect.gen(function* () {
          const { address, target } = yield* on(material, { handshakeTimeout: "1 second" })(
            Transport.listen([echoHandlers()])
          )
          const client = yield* on(material)(Transport.client(EchoService, target))
          const before = yield* accepted
          const sockets = yield* Effect.replicateEffect(connect(address.port), 50, { concurrency: "unbounded" })
          yield* eventually(Effect.map(accepted, (now) => expect(now).toBe(before + 50)))
          for (const socket of sockets) {
            socket.resume()
            speak(socket)
          }
          expect((yield* client.echo({ message: "meanwhile" })).message).toBe("meanwhile")
          yield* eventually(
            Effect.map(accepted, (now) => expect(now).toBe(before)),
            "3 seconds"
          )
          yield* eventually(Effect.sync(() => expect(sockets.filter((socket) => !socket.destroyed)).toHaveLength(0)))
          expect((yield* client.echo({ message: "still" })).message).toBe("still")
        })
      )
    )
  })
})
