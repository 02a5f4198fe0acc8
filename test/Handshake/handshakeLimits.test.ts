/** What listeners do about peers that have not proved who they are, on each wire. */
import * as Net from "node:net"
import * as NodeTls from "node:tls"
import { describe, expect, it } from "@effect/vitest"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Logger from "effect/Logger"
import * as Metric from "effect/Metric"
import * as Redacted from "effect/Redacted"
import { Credentials, Quic, Tls, Transport, TransportMetrics } from "effect-transport"
import { echoHandlers } from "../fixtures/grpc.js"
import { grpcEngines, otherWires } from "../fixtures/grpcEngines.js"
import { preface } from "../fixtures/http2.js"
import { chainOfLargeExponents } from "../fixtures/largeExponents.js"
import { authority, rawMaterial } from "../suite/fixtures/certificates.js"
import { EchoService } from "../suite/fixtures/echo.js"
import { eventually, leavesNothing, within } from "../suite/fixtures/expect.js"
import { captureLog } from "../suite/fixtures/observe.js"

const pki = await Effect.runPromise(authority)
const good = rawMaterial(pki.good, pki.trusted.ca)
const untrusted = rawMaterial(pki.untrusted, pki.trusted.ca)
const side = {
  ca: pki.trusted.ca,
  cert: pki.good.cert,
  key: Redacted.value(pki.good.key),
  servername: "localhost"
}

/** The options that the three have in common. */
interface Options {
  readonly connectTimeout?: Duration.DurationInput
  readonly handshakeTimeout?: Duration.DurationInput
  readonly maxConnections?: number
  readonly maxHandshakes?: number
  readonly maxHandshakeBytes?: number
  readonly maxHandshakeRate?: number
  readonly maxTotalHandshakeRate?: number
  readonly maxRefusals?: number
  readonly refusalPenalty?: Duration.DurationInput
}

interface Wire {
  readonly name: string
  readonly layer: (options: Options) => Layer.Layer<Transport.Transport, unknown, Credentials.Credentials>
}

interface TcpWire extends Wire {
  readonly alpn: string
  /** What a client begins with. */
  readonly first: Buffer
}

const tcp: ReadonlyArray<TcpWire> = [
  ...otherWires<TcpWire>([
    { name: "TlsLive", layer: (options) => Tls.layer(options), alpn: "effect-transport/1", first: Buffer.alloc(8) }
  ]),
  ...grpcEngines.map(({ layer, name }) => ({ name, layer, alpn: "h2", first: preface }))
]

const all: ReadonlyArray<Wire> = [
  ...tcp,
  ...otherWires<Wire>([{ name: "QuicLive", layer: (options) => Quic.layer({ serverName: "localhost", ...options }) }])
]

const on =
  (
    wire: Wire,
    options: Options = {},
    material: Credentials.Material = good,
    logger = Logger.remove(Logger.defaultLogger)
  ) =>
  <A, E, R>(effect: Effect.Effect<A, E, R>) =>
    Layer.build(
      Layer.orDie(
        Layer.provide(wire.layer(options), Layer.succeed(Credentials.Credentials, Credentials.make(material)))
      )
    ).pipe(
      Effect.flatMap((context) => Effect.provide(effect, context)),
      Effect.provide(logger)
    )

const listening = (wire: Wire, options: Options, logger?: Layer.Layer<never>) =>
  on(wire, options, good, logger)(Transport.listen([echoHandlers()]))

const refusedFor = (reason: string) =>
  Effect.map(Metric.value(Metric.tagged(TransportMetrics.handshakesRefused, "reason", reason)), ({ count }) => count)

/** How many more were refused for a reason since. */
const counting = (reason: string) =>
  Effect.map(refusedFor(reason), (before) => Effect.map(refusedFor(reason), (now) => now - before))

/** A connected TCP socket, from a source of its own. */
const connect = (port: number, localAddress = "127.0.0.1") =>
  Effect.acquireRelease(
    Effect.async<Net.Socket>((resume) => {
      const socket = Net.connect({ port, host: "127.0.0.1", localAddress })
      socket.on("error", () => {})
      socket.once("connect", () => resume(Effect.succeed(socket)))
    }),
    (socket) => Effect.sync(() => socket.destroy())
  )

/** Waits for a socket that the other end closes. */
const closed = (socket: Net.Socket) =>
  Effect.async<void>((resume) => {
    const done = () => resume(Effect.void)
    if (socket.destroyed) {
      done()
    }
    socket.resume().once("close", done)
  })

type Met = "let in" | "refused" | "closed"

/** Whether the listener speaks to a client with a certificate. */
const meet = (wire: TcpWire, port: number, from?: string, tls: NodeTls.ConnectionOptions = side) =>
  Effect.flatMap(connect(port, from), (socket) =>
    Effect.async<Met>((resume) => {
      const secured = NodeTls.connect({ ...tls, ALPNProtocols: [wire.alpn], socket })
      secured.on("error", () => {})
      // A refusal says why.
      secured.once("data", (bytes: Buffer) =>
        resume(Effect.succeed(bytes.includes("UntrustedIssuer") ? "refused" : "let in"))
      )
      secured.once("close", () => resume(Effect.succeed("closed")))
    })
  )

const calls = (wire: Wire, target: string, options: Options = {}) =>
  Effect.scoped(
    Effect.flatMap(on(wire, options)(Transport.client(EchoService, target)), (client) =>
      Effect.map(client.echo({ message: "good" }), ({ message }) => message)
    )
  )

for (const wire of tcp) {
  describe(`${wire.name}: a listener`, () => {
    it.live(
      "lets those who have sent nothing make way, the oldest first, and keeps places for those who are known",
      () =>
        leavesNothing(
          Effect.gen(function* () {
            const { layer, lines } = yield* captureLog
            const { address, target } = yield* listening(wire, { maxConnections: 2, maxHandshakes: 10 }, layer)
            const evicted = yield* counting("TooManyHandshakes")
            const early = yield* on(wire)(Transport.client(EchoService, target))
            const silent = yield* Effect.forEach(Array.from({ length: 30 }), () => connect(address.port))
            expect(yield* calls(wire, target)).toBe("good")
            yield* eventually(
              Effect.sync(() => expect(silent.map(({ destroyed }) => destroyed).lastIndexOf(true)).toBe(20))
            )
            expect(silent.filter(({ destroyed }) => destroyed)).toHaveLength(21)
            expect(yield* evicted).toBe(21)
            expect((yield* early.echo({ message: "still" })).message).toBe("still")
            expect(lines.filter(({ text }) => text.includes("too many handshakes at a time"))).toHaveLength(1)
          })
        )
    )

    it.live("gives one time to all that comes before the first frame", () =>
      leavesNothing(
        Effect.gen(function* () {
          const { address } = yield* listening(wire, { handshakeTimeout: "2 seconds" })
          const late = yield* counting("HandshakeTimeout")
          const [elapsed] = yield* Effect.timed(
            Effect.gen(function* () {
              const socket = yield* connect(address.port)
              yield* Effect.sleep("1500 millis")
              // The handshake takes its time, and the first frame would too.
              const secured = NodeTls.connect({ ...side, ALPNProtocols: [wire.alpn], socket })
              secured.on("error", () => {}).resume()
              let sent = 0
              const drip = setInterval(() => secured.write(wire.first.subarray(sent, ++sent)), 300)
              yield* Effect.ensuring(
                closed(secured),
                Effect.sync(() => clearInterval(drip))
              )
            })
          )
          // Less than the pause and a whole time for what comes after it.
          expect(Duration.toMillis(elapsed)).toBeLessThan(3500)
          expect(yield* late).toBe(1)
        })
      )
    )

    it.live("lets a source that is over its rate wait, or go, and others in at once", () =>
      leavesNothing(
        Effect.gen(function* () {
          const { address } = yield* listening(wire, { maxHandshakeRate: 5, handshakeTimeout: "1 second" })
          const over = yield* counting("HandshakeRate")
          const began = performance.now()
          const met: Array<Met> = []
          const flood = yield* Effect.fork(
            Effect.forEach(
              Array.from({ length: 20 }),
              () => Effect.map(meet(wire, address.port), (one) => met.push(one)),
              { concurrency: "unbounded" }
            )
          )
          yield* eventually(Effect.sync(() => expect(met).toContain("closed")))
          const before = met.length
          expect(yield* meet(wire, address.port, "127.0.0.2")).toBe("let in")
          expect(before).toBeLessThan(20)
          yield* within(flood, "5 seconds")
          const seconds = (performance.now() - began) / 1000
          // 5 at once, and 5 a second from then on.
          const letIn = met.filter((one) => one === "let in").length
          expect(letIn).toBeGreaterThanOrEqual(5)
          expect(letIn).toBeLessThanOrEqual(5 + 5 * seconds)
          expect(yield* over).toBeGreaterThan(0)
          expect(yield* over).toBeLessThanOrEqual(20 - letIn)
        })
      )
    )

    it.live("closes who sends too much before the end of its handshake, and lets its source wait", () =>
      leavesNothing(
        Effect.gen(function* () {
          const { address } = yield* listening(wire, { maxHandshakeBytes: 4000, refusalPenalty: "5 seconds" })
          const much = yield* counting("TooMuch")
          const boxed = yield* counting("PenaltyBox")
          const socket = yield* connect(address.port)
          // A record that does not end.
          socket.write(Buffer.concat([Buffer.from([22, 3, 1, 0x40, 0]), Buffer.alloc(3000)]))
          socket.write(Buffer.alloc(3000))
          yield* within(closed(socket), "3 seconds")
          expect(yield* much).toBe(1)
          expect(yield* meet(wire, address.port)).toBe("closed")
          expect(yield* boxed).toBe(1)
          expect(yield* meet(wire, address.port, "127.0.0.2")).toBe("let in")
        })
      )
    )

    it.live("looks at one chain of large exponents of a source, and closes the others unread", () =>
      leavesNothing(
        Effect.gen(function* () {
          const { address } = yield* listening(wire, {})
          const boxed = yield* counting("PenaltyBox")
          const untrusted = yield* counting("UntrustedIssuer")
          const chain = yield* chainOfLargeExponents(62)
          const met = yield* Effect.forEach(
            Array.from({ length: 8 }),
            () => meet(wire, address.port, "127.0.0.3", { ...side, ...chain }),
            { concurrency: "unbounded" }
          )
          expect(met.filter((one) => one === "closed")).toHaveLength(7)
          expect(met).toContain("refused")
          expect(yield* untrusted).toBe(1)
          expect(yield* boxed).toBe(7)
          expect(yield* meet(wire, address.port)).toBe("let in")
        })
      )
    )
  })
}

for (const wire of all) {
  describe(`${wire.name}: a listener`, () => {
    const stranger = (target: string) =>
      Effect.scoped(Effect.flip(on(wire, {}, untrusted)(Transport.client(EchoService, target))))

    it.live("lets a source wait that was refused too often, and for as long as it says", () =>
      leavesNothing(
        Effect.gen(function* () {
          const { target } = yield* listening(wire, { maxRefusals: 3, refusalPenalty: "1 second" })
          const boxed = yield* counting("PenaltyBox")
          const early = yield* on(wire)(Transport.client(EchoService, target))
          for (let i = 0; i < 4; i++) {
            expect(yield* stranger(target)).toMatchObject({ _tag: "HandshakeFailed" })
          }
          const refused = yield* Effect.flip(
            Effect.scoped(on(wire, { connectTimeout: "300 millis" })(Transport.client(EchoService, target)))
          )
          expect(["Unavailable", "DeadlineExceeded"]).toContain(refused._tag)
          expect(yield* boxed).toBeGreaterThan(0)
          expect((yield* early.echo({ message: "still" })).message).toBe("still")
          yield* Effect.sleep("1 second")
          expect(yield* calls(wire, target)).toBe("good")
        })
      )
    )

    it.live("lets those in who come at a time", () =>
      leavesNothing(
        Effect.gen(function* () {
          const { target } = yield* listening(wire, { maxRefusals: 3 })
          const met = yield* Effect.forEach(
            Array.from({ length: 40 }),
            () => calls(wire, target, { connectTimeout: "50 seconds" }),
            { concurrency: 20 }
          )
          expect(new Set(met)).toEqual(new Set(["good"]))
        })
      )
    )
  })
}
