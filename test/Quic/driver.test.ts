import * as Dgram from "node:dgram"
import { once } from "node:events"
import { describe, expect, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import { constVoid } from "effect/Function"
import type * as QuicEngine from "../../src/Quic/QuicEngine.js"
import { eventually } from "../fixtures/expect.js"
import { connecting, open, quiet, settings, silent } from "./quicSupport.js"

/** Sends back what comes, as fast as the other end takes it. */
const echo = (connection: QuicEngine.Connection): QuicEngine.Events => ({
  ...quiet,
  onStream: (id) => {
    let isBlocked = false
    const pump = () => {
      while (!isBlocked) {
        const read = connection.read(id)
        if (read?._tag !== "Bytes") {
          return
        }
        isBlocked = !connection.write(id, Buffer.from(read.bytes), read.fin)
        if (read.fin) {
          return connection.release(id)
        }
      }
    }
    const onDrain = () => {
      isBlocked = false
      pump()
    }
    return { onReadable: pump, onDrain, onStopped: constVoid }
  },
  onDatagram: (datagram) => connection.sendDatagram(Buffer.from(datagram))
})

const listening = (
  engine: QuicEngine.QuicEngine,
  tls: QuicEngine.TlsSettings,
  options: Partial<QuicEngine.ListenOptions> = {}
) =>
  Effect.acquireRelease(
    Effect.promise(() =>
      engine.listen({
        local: { host: "127.0.0.1", port: 0 },
        tls: () => tls,
        settings,
        maxConnections: 100,
        maxHandshakes: 100,
        maxHandshakeRate: 100,
        onError: constVoid,
        ...options,
        onConnection: (connection) => ({
          ...(options.onConnection ?? echo)(connection),
          onEstablished: connection.accept
        })
      })
    ),
    (listener) => Effect.promise(() => listener.close())
  )

/** Sends the bytes on a stream of their own and gives what comes back. */
const roundTrip = (connection: QuicEngine.Connection, bytes: Buffer) =>
  Effect.async<Buffer>((resume) => {
    const chunks: Array<Buffer> = []
    const onReadable = () => {
      for (let read = connection.read(id); read?._tag === "Bytes"; read = connection.read(id)) {
        chunks.push(Buffer.from(read.bytes))
        if (read.fin) {
          connection.release(id)
          return resume(Effect.succeed(Buffer.concat(chunks)))
        }
      }
    }
    const id = connection.openBidi({ ...silent, onReadable })
    connection.write(id, bytes, true)
  })

const numbered = (size: number): Buffer => Buffer.from(Uint8Array.from({ length: size }, (_, i) => i * 31 + (i >> 8)))

describe("the driver", () => {
  it.scopedLive("streams, small and large, on IPv4 and IPv6", () =>
    Effect.gen(function* () {
      const { engine, tls } = yield* open
      for (const host of ["127.0.0.1", "::1"]) {
        const { local } = yield* listening(engine, tls, { local: { host, port: 0 } })
        const connection = yield* connecting(engine, tls, local)
        expect(connection.peerCertificates().length).toBe(1)
        const sizes = [0, 1, 1000, 70_000, 3_000_000]
        const bytes = yield* Effect.forEach(sizes, (size) => roundTrip(connection, numbered(size)), {
          concurrency: "unbounded"
        })
        expect(bytes.map((each) => each.equals(numbered(each.length)) && each.length)).toEqual(sizes)
        yield* eventually(Effect.sync(() => expect(connection.isFlushed()).toBe(true)))
      }
    })
  )

  it.scopedLive("many streams one after the other, more than may be open at a time", () =>
    Effect.gen(function* () {
      const { engine, tls } = yield* open
      const { local } = yield* listening(engine, tls)
      const connection = yield* connecting(engine, tls, local)
      const sizes = Array.from({ length: 1000 }, (_, i) => i * 7)
      const bytes = yield* Effect.forEach(sizes, (size) => roundTrip(connection, numbered(size)), { concurrency: 50 })
      expect(bytes.map((each) => each.length)).toEqual(sizes)
    })
  )

  it.scopedLive("a sender stops when nobody reads, and goes on when somebody does", () =>
    Effect.gen(function* () {
      const { engine, tls } = yield* open
      let read = () => 0
      const { local } = yield* listening(engine, tls, {
        onConnection: (connection) => ({
          ...quiet,
          onStream: (id) => {
            read = () => {
              const got = connection.read(id)
              return got?._tag === "Bytes" ? got.bytes.length : 0
            }
            return silent
          }
        })
      })
      let isDrained = false
      const connection = yield* connecting(engine, tls, local)
      const id = connection.openBidi({ ...silent, onDrain: () => (isDrained = true) })
      expect(connection.write(id, Buffer.alloc(1024 * 1024), true)).toBe(false)
      yield* Effect.sleep("300 millis")
      expect(isDrained).toBe(false)
      let total = 0
      while (total < 1024 * 1024) {
        total += read()
        yield* Effect.sleep("1 millis")
      }
      expect(isDrained).toBe(true)
    })
  )

  it.scopedLive("resets and stops reach the other end with their codes", () =>
    Effect.gen(function* () {
      const { engine, tls } = yield* open
      const seen: Array<string> = []
      let arrived = 0
      const { local } = yield* listening(engine, tls, {
        onConnection: (connection) => ({
          ...quiet,
          onStream: (id) => ({
            onReadable: () => {
              const read = connection.read(id)
              if (read?._tag === "Reset") {
                seen.push(`reset ${read.code}`)
              } else {
                arrived += 1
                connection.watch(id, true)
                if (arrived === 1) {
                  connection.stop(id, 77)
                }
              }
            },
            onDrain: constVoid,
            onStopped: (code) => seen.push(`stopped ${code}`)
          })
        })
      })
      const connection = yield* connecting(engine, tls, local)
      const stopped = yield* Effect.async<number>((resume) => {
        const id = connection.openBidi({ ...silent, onStopped: (code) => resume(Effect.succeed(code)) })
        connection.watch(id, true)
        connection.write(id, Buffer.from("hello"), false)
      })
      expect(stopped).toBe(77)
      const id = connection.openBidi(silent)
      connection.write(id, Buffer.from("hello"), false)
      yield* eventually(Effect.sync(() => expect(arrived).toBe(2)))
      connection.stop(id, 99)
      connection.reset(id, 88)
      yield* eventually(Effect.sync(() => expect(seen).toEqual(["stopped 99", "reset 88"])))
    })
  )

  it.scopedLive("datagrams", () =>
    Effect.gen(function* () {
      const { engine, tls } = yield* open
      const { local } = yield* listening(engine, tls)
      const text = yield* Effect.async<string>((resume) => {
        const connection = engine.connect({ remote: local, serverName: "localhost", tls, settings }, () => ({
          ...quiet,
          onEstablished: () => {
            connection.accept()
            expect(connection.maxDatagramSize()).toBeGreaterThan(1000)
            expect(connection.sendDatagram(Buffer.alloc(5000))).toBe(false)
            expect(connection.sendDatagram(Buffer.from("gossip"))).toBe(true)
          },
          onDatagram: (datagram) => {
            resume(Effect.succeed(datagram.toString()))
            connection.close(true, 0, "")
          }
        }))
      })
      expect(text).toBe("gossip")
    })
  )

  it.scopedLive("both ends hear why a connection ended", () =>
    Effect.gen(function* () {
      const { engine, tls } = yield* open
      const closes: Array<QuicEngine.Close> = []
      const { local } = yield* listening(engine, tls, {
        onConnection: () => ({ ...quiet, onClosed: (close) => closes.push(close) })
      })
      const connection = yield* connecting(engine, tls, local)
      connection.close(true, 300, "that is all")
      const heard = { _tag: "Closed", by: "remote", isApplication: true, code: 300, text: "that is all" }
      yield* eventually(Effect.sync(() => expect(closes).toEqual([heard])))
    })
  )

  it.scopedLive("a peer that does not listen is unreachable at once; one that says nothing, in time", () =>
    Effect.gen(function* () {
      const { engine, tls } = yield* open
      const started = performance.now()
      const nobody = yield* Effect.flip(connecting(engine, tls, { host: "127.0.0.1", port: 1 }))
      expect(nobody).toMatchObject({ _tag: "Lost", why: "Unreachable" })
      expect(performance.now() - started).toBeLessThan(1500)
      const deaf = Dgram.createSocket("udp4").bind(0, "127.0.0.1")
      yield* Effect.promise(() => once(deaf, "listening"))
      const silence = yield* Effect.flip(
        connecting(
          engine,
          tls,
          { host: "127.0.0.1", port: deaf.address().port },
          {},
          {
            settings: { ...settings, handshakeTimeout: 300 }
          }
        )
      )
      deaf.close()
      expect(silence).toMatchObject({ _tag: "Lost", why: "HandshakeTimeout" })
    })
  )

  it.scopedLive("a listener that came back resets the connections of the one before", () =>
    Effect.gen(function* () {
      const { engine, tls } = yield* open
      const { local: before } = yield* listening(engine, tls)
      const { local: after } = yield* listening(engine, tls)
      // As seen from outside, both are one after the other on the address of the relay.
      let listener = before
      const relay = Dgram.createSocket("udp4").bind(0, "127.0.0.1")
      yield* Effect.addFinalizer(() => Effect.sync(() => relay.close()))
      yield* Effect.promise(() => once(relay, "listening"))
      let client = 0
      relay.on("message", (packet, { port }) => {
        if (port === listener.port) {
          relay.send(packet, client, "127.0.0.1")
        } else if (port !== before.port) {
          client = port
          relay.send(packet, listener.port, "127.0.0.1")
        }
      })
      const close = yield* Effect.async<QuicEngine.Close>((resume) => {
        const remote = { host: "127.0.0.1", port: relay.address().port }
        const connection = engine.connect({ remote, serverName: "localhost", tls, settings }, () => ({
          ...quiet,
          onEstablished: () => {
            connection.accept()
            listener = after
            connection.write(connection.openBidi(silent), numbered(1000), true)
          },
          onClosed: (close) => resume(Effect.succeed(close))
        }))
      })
      expect(close).toMatchObject({ _tag: "Lost", why: "Reset" })
    })
  )
})
