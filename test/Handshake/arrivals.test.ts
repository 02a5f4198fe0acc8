/** The parts of a listener, each alone: arrivals, the first byte, and ready connections. */
import * as net from "node:net"
import { describe, expect, it } from "@effect/vitest"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type * as Admission from "../../src/Handshake/HandshakeAdmission.js"
import * as Arrivals from "../../src/Handshake/internal/arrivals.js"
import * as FirstByte from "../../src/Handshake/internal/firstByte.js"
import * as ReadyConnections from "../../src/Handshake/internal/readyConnections.js"
import type { Boundary } from "../../src/Transport/internal/boundary.js"
import { admission } from "../fixtures/admission.js"
import { connect, event, eventually, listen } from "../fixtures/tls.js"

const boundary: Boundary = {
  caught: () => {},
  log: () => {},
  guard: (_door, _peer, f, end) => {
    try {
      f()
    } catch (cause) {
      end(cause)
    }
  }
}

const never = { handshakeTimeout: Duration.infinity, maxHandshakeBytes: Number.POSITIVE_INFINITY }

/** A listener whose sockets become arrivals; remembers what was reported and which sources were refused. */
const arriving = (limits: Partial<Arrivals.Limits> = {}, maxHandshakes = 100) =>
  Effect.gen(function* () {
    const reported: Array<Admission.Reason> = []
    const refused: Array<readonly [source: string, bytes: number]> = []
    const left: Array<string> = []
    const inner = admission({ maxHandshakes })
    const arrivals = Arrivals.make(
      { ...never, ...limits },
      {
        ...inner,
        report: (reason) => reported.push(reason),
        refused: (source, bytes) => refused.push([source, bytes]),
        enter: (source, close) => {
          const place = inner.enter(source, close)
          return {
            speak: place.speak,
            leave: () => {
              left.push(source)
              place.leave()
            }
          }
        }
      },
      boundary
    )
    yield* Effect.addFinalizer(() => Effect.sync(arrivals.stop))
    const all: Array<Arrivals.Arrival> = []
    const { live, port } = yield* listen((socket) => all.push(arrivals.add(socket)))
    const arrive = Effect.gen(function* () {
      const before = all.length
      const socket = yield* connect(port)
      yield* eventually(() => all.length > before)
      const arrival = all[before]
      if (arrival === undefined) {
        return yield* Effect.dieMessage("nobody came")
      }
      return { socket, arrival }
    })
    return { arrivals, arrive, reported, refused, left, live }
  })

describe("an arrival", () => {
  it.scopedLive("that is not ready in time is closed, counted once, and gives up its place", () =>
    Effect.gen(function* () {
      const { arrivals, arrive, left, live, reported } = yield* arriving({ handshakeTimeout: Duration.millis(50) })
      const { arrival, socket } = yield* arrive
      expect(arrivals.find(arrival.socket)).toBe(arrival)
      yield* event(socket, "close")
      yield* eventually(() => live() === 0)
      expect(reported).toEqual(["HandshakeTimeout"])
      expect(left).toContain("127.0.0.1")
      expect(arrivals.find(arrival.socket)).toBeUndefined()
    })
  )

  it.scopedLive("that the transport has by then is the transport's to close", () =>
    Effect.gen(function* () {
      const { arrivals, arrive, reported } = yield* arriving({ handshakeTimeout: Duration.millis(500) })
      const { arrival } = yield* arrive
      yield* Effect.async<void>((resume) => arrival.handOver(() => resume(Effect.void)))
      expect(reported).toEqual(["HandshakeTimeout"])
      expect(arrival.socket.destroyed).toBe(false)
      expect(arrivals.find(arrival.socket)).toBe(arrival)
    })
  )

  it.scopedLive("whose time limit was stopped stays", () =>
    Effect.gen(function* () {
      const { arrive, reported } = yield* arriving({ handshakeTimeout: Duration.millis(500) })
      const ready = yield* arrive
      ready.arrival.stopTimer()
      const late = yield* arrive
      yield* event(late.socket, "close")
      expect(ready.arrival.socket.destroyed).toBe(false)
      expect(reported).toEqual(["HandshakeTimeout"])
    })
  )

  it.scopedLive("waits as long as the rate says, and not at all where it has left", () =>
    Effect.gen(function* () {
      const { arrive } = yield* arriving()
      const { arrival } = yield* arrive
      let begun = 0
      arrival.delay(0, "HandshakeRate", () => (begun += 1))
      expect(begun).toBe(1)
      const gone = yield* arrive
      gone.arrival.delay(20, "HandshakeRate", () => (begun += 100))
      gone.arrival.leave()
      yield* Effect.async<void>((resume) => arrival.delay(60, "HandshakeRate", () => resume(Effect.void)))
      expect(begun).toBe(1)
    })
  )

  it.scopedLive("without a time at which its handshake may begin is turned away, for that reason", () =>
    Effect.gen(function* () {
      const { arrive, reported } = yield* arriving()
      const { arrival, socket } = yield* arrive
      arrival.delay(undefined, "TotalHandshakeRate", () => expect.unreachable())
      yield* event(socket, "close")
      expect(reported).toEqual(["TotalHandshakeRate"])
    })
  )

  it.scopedLive("is closed when what follows a delay throws", () =>
    Effect.gen(function* () {
      const { arrive } = yield* arriving()
      const { arrival, socket } = yield* arrive
      arrival.delay(1, "HandshakeRate", () => {
        throw new Error("a bug")
      })
      yield* event(socket, "close")
    })
  )

  it.scopedLive("that sends too much is closed, and its source is refused for good", () =>
    Effect.gen(function* () {
      const { arrive, refused, reported } = yield* arriving({ maxHandshakeBytes: 10 })
      const few = yield* arrive
      const many = yield* arrive
      for (const { arrival } of [few, many]) {
        arrival.socket.resume()
      }
      few.socket.write(Buffer.alloc(10))
      many.socket.write(Buffer.alloc(11))
      yield* event(many.socket, "close")
      expect(reported).toEqual(["TooMuch"])
      expect(refused).toEqual([["127.0.0.1", Number.POSITIVE_INFINITY]])
      expect(few.arrival.socket.destroyed).toBe(false)
    })
  )

  it.scopedLive("that has left may send what it likes", () =>
    Effect.gen(function* () {
      const { arrive, reported } = yield* arriving({ maxHandshakeBytes: 10 })
      const known = yield* arrive
      known.arrival.leave()
      const stranger = yield* arrive
      for (const { arrival, socket } of [known, stranger]) {
        arrival.socket.resume()
        socket.write(Buffer.alloc(11))
      }
      yield* eventually(() => known.arrival.socket.bytesRead === 11)
      yield* event(stranger.socket, "close")
      expect(known.arrival.socket.destroyed).toBe(false)
      expect(reported).toEqual(["TooMuch"])
    })
  )

  it.scopedLive("makes way for another where there is no place, those first that have sent nothing", () =>
    Effect.gen(function* () {
      const { arrivals, arrive, reported } = yield* arriving({}, 2)
      const speaking = yield* arrive
      speaking.arrival.speak()
      const silent = yield* arrive
      yield* arrive
      yield* event(silent.socket, "close")
      expect(reported).toEqual(["TooManyHandshakes"])
      expect(arrivals.find(silent.arrival.socket)).toBeUndefined()
      expect(arrivals.find(speaking.arrival.socket)).toBe(speaking.arrival)
    })
  )

  it.scopedLive("is closed with the listener if it has sent nothing, and not counted then", () =>
    Effect.gen(function* () {
      const { arrivals, arrive, reported } = yield* arriving()
      const silent = yield* arrive
      const speaking = yield* arrive
      speaking.arrival.speak()
      const handed = yield* arrive
      handed.arrival.handOver(() => {})
      arrivals.closeSilent()
      yield* event(silent.socket, "close")
      expect([speaking, handed].map(({ arrival }) => arrival.socket.destroyed)).toEqual([false, false])
      expect(reported).toEqual([])
    })
  )
})

describe("the first byte", () => {
  it.scopedLive.each<readonly [string, string, boolean]>([
    ["of TLS", "160301", true],
    ["of HTTP/1", "474554", false],
    ["of an alert", "150301", false],
    ["that is zero", "00", false]
  ])("%s, once, however the bytes come", ([, hex, expected]) =>
    Effect.gen(function* () {
      const found: Array<boolean> = []
      const rest: Array<Buffer> = []
      const { port } = yield* listen((socket) =>
        FirstByte.readFirst(
          socket,
          (f) => f(),
          (isTls) => {
            found.push(isTls)
            socket.on("data", (bytes) => rest.push(bytes))
          }
        )
      )
      const socket = yield* connect(port)
      socket.setNoDelay(true)
      const bytes = Buffer.from(hex, "hex")
      socket.write(bytes.subarray(0, 1))
      yield* eventually(() => found.length === 1)
      socket.write(Buffer.concat([bytes.subarray(1), Buffer.from("more")]))
      const read = () => Buffer.concat(rest).toString("latin1")
      // What is TLS is there to be read from its beginning.
      const whole = (expected ? bytes : bytes.subarray(1)).toString("latin1")
      yield* eventually(() => read() === `${whole}more`)
      expect(found).toEqual([expected])
    })
  )

  it.scopedLive("never comes from who hangs up", () =>
    Effect.gen(function* () {
      const found: Array<boolean> = []
      const { live, port } = yield* listen((socket) =>
        FirstByte.readFirst(
          socket,
          (f) => f(),
          (isTls) => found.push(isTls)
        )
      )
      const socket = yield* connect(port)
      socket.end()
      yield* eventually(() => live() === 0)
      expect(found).toEqual([])
    })
  )
})

describe("ready connections", () => {
  it("are counted until their sockets close, up to the limit", () => {
    const ready = ReadyConnections.make(2)
    const [first, second] = [new net.Socket(), new net.Socket()]
    ready.add(first)
    expect(ready.isFull()).toBe(false)
    ready.add(second)
    expect(ready.isFull()).toBe(true)
    first.emit("close", false)
    expect(ready.isFull()).toBe(false)
    expect(ready.isClosing()).toBe(false)
    ready.close()
    expect([ready.isClosing(), ready.isFull()]).toEqual([true, false])
  })
})
