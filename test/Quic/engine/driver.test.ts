import * as Dgram from "node:dgram"
import { once } from "node:events"
import { describe, expect, it } from "@effect/vitest"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import { constVoid } from "effect/Function"
import * as QuicEngine from "../../../src/Quic/engine/QuicEngine.js"
import * as Refusal from "../../../src/Quic/engine/refusal.js"
import { admission } from "../../fixtures/admission.js"
import { eventually, soon, within } from "../../suite/fixtures/expect.js"
import { connecting, open, quiet, settings, silent } from "../quicSupport.js"

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
        admission: admission(),
        maxTotalHandshakeBytes: 1024 * 1024,
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
  it.scopedLive("a sender hears that it was stopped, whatever acknowledgements come with that", () =>
    Effect.gen(function* () {
      const { engine, tls } = yield* open
      let stopped = 0
      const { local } = yield* listening(engine, tls, {
        onConnection: (connection) => ({
          ...quiet,
          onEstablished: connection.accept,
          onStream: (id) => {
            let isStopped = false
            const pump = () => {
              let hasRoom = true
              for (let i = 0; i < 20 && hasRoom && !isStopped; i++) {
                hasRoom = connection.write(id, Buffer.from("few words"), false)
              }
              if (hasRoom && !isStopped) {
                setImmediate(pump)
              }
            }
            return {
              onReadable: () => {
                connection.read(id)
                pump()
              },
              onDrain: pump,
              onStopped: () => {
                isStopped = true
                stopped += 1
              }
            }
          }
        })
      })
      const connection = yield* connecting(engine, tls, local)
      for (let n = 1; n <= 100; n++) {
        const id = connection.openBidi({
          ...silent,
          onReadable: () => {
            connection.read(id)
            connection.stop(id, 268)
            connection.release(id)
          }
        })
        connection.write(id, Buffer.from("x"), true)
        yield* eventually(Effect.sync(() => expect(stopped).toBe(n)))
      }
    })
  )

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

  it.scopedLive("streams out of order, few and many", () =>
    Effect.gen(function* () {
      const { engine, tls } = yield* open
      const { local } = yield* listening(engine, tls)
      for (const count of [3, 90]) {
        const connection = yield* connecting(engine, tls, local)
        const answered: Array<number> = []
        const ids = Array.from({ length: count }, () => {
          const id = connection.openBidi({
            ...silent,
            onReadable: () => {
              const read = connection.read(id)
              if (read?._tag === "Bytes" && read.fin) {
                answered.push(id)
                connection.release(id)
              }
            }
          })
          return id
        })
        // The last is there first, and none before it: until it is answered nothing else is sent.
        for (const id of ids.toReversed()) {
          connection.write(id, Buffer.from("x"), true)
          yield* eventually(Effect.sync(() => expect(answered.at(-1)).toBe(id)))
        }
        expect(answered).toEqual(ids.toReversed())
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

  describe("what was not read of streams that are over holds up no other", () => {
    const size = 200 * 1024

    /** Leaves streams to `onUnread`, until a datagram comes; those from then on are echoed. */
    const unread =
      (onUnread: (connection: QuicEngine.Connection, id: number) => void) =>
      (connection: QuicEngine.Connection): QuicEngine.Events => {
        let isEcho = false
        const echoing = echo(connection)
        return {
          ...quiet,
          onDatagram: () => {
            isEcho = true
            connection.sendDatagram(Buffer.from("ready"))
          },
          onStream: (id) => {
            if (isEcho) {
              return echoing.onStream(id)
            }
            // Behind this the engine knows the stream.
            setImmediate(() => onUnread(connection, id))
            return silent
          }
        }
      }

    const wasted = (
      onUnread: (connection: QuicEngine.Connection, id: number) => void,
      waste: (connection: QuicEngine.Connection) => Effect.Effect<void>
    ) =>
      Effect.gen(function* () {
        const { engine, tls } = yield* open
        const { local } = yield* listening(engine, tls, { onConnection: unread(onUnread) })
        const ready = yield* Deferred.make<void>()
        const connection = yield* connecting(engine, tls, local, {
          onDatagram: () => Deferred.unsafeDone(ready, Effect.void)
        })
        // More than twice of what may be unread on the connection.
        yield* Effect.repeatN(within(waste(connection), "2 seconds"), 11)
        connection.sendDatagram(Buffer.from("echo"))
        yield* Deferred.await(ready)
        const bytes = yield* Effect.forEach([size, size, size], (each) =>
          within(roundTrip(connection, numbered(each)), "2 seconds")
        )
        expect(bytes.map((each) => each.length)).toEqual([size, size, size])
      })

    const upload = (connection: QuicEngine.Connection, end: (id: number) => void) =>
      Effect.async<void>((resume) => {
        const finished = () => {
          end(id)
          resume(Effect.void)
        }
        const id = connection.openBidi({ ...silent, onDrain: finished, onStopped: () => resume(Effect.void) })
        connection.watch(id, true)
        if (connection.write(id, numbered(size), false)) {
          finished()
        }
      })

    it.scopedLive("an upload that its sender resets", () =>
      wasted(constVoid, (connection) =>
        upload(connection, (id) => {
          connection.reset(id, 1)
          connection.stop(id, 1)
          connection.release(id)
        })
      )
    )

    it.scopedLive("an upload that its receiver stops", () =>
      wasted(
        (connection, id) =>
          setTimeout(() => {
            connection.stop(id, 1)
            connection.reset(id, 1)
            connection.release(id)
          }, 20),
        (connection) => Effect.zipRight(upload(connection, constVoid), Effect.sleep("30 millis"))
      )
    )

    it.scopedLive("a download that its receiver stops", () =>
      wasted(
        (connection, id) => connection.write(id, numbered(size), true),
        (connection) =>
          Effect.async<void>((resume) => {
            const id = connection.openBidi({
              ...silent,
              onReadable: () =>
                setTimeout(() => {
                  connection.stop(id, 1)
                  connection.release(id)
                  resume(Effect.void)
                }, 20)
            })
            connection.write(id, Buffer.from("x"), true)
          })
      )
    )
  })

  it.scopedLive("where more is unread than may be, the latest streams are to be broken off", () =>
    Effect.gen(function* () {
      const { engine, tls } = yield* open
      // Made before there is a connection: on a busy machine that takes seconds, which the listener's handshake would not wait.
      const bytes = numbered(settings.streamWindow * 2)
      const broken: Array<number> = []
      const { local } = yield* listening(engine, tls, {
        onConnection: (connection) => ({
          ...quiet,
          onOverflow: (id) => {
            broken.push(id)
            connection.stop(id, 1)
            connection.reset(id, 1)
            connection.release(id)
          }
        })
      })
      const connection = yield* connecting(engine, tls, local)
      const stopped: Array<number> = []
      // Four of these may be unread, and there is more of each than may be sent.
      for (let n = 0; n < 10; n++) {
        const id = connection.openBidi({ ...silent, onStopped: () => stopped.push(id) })
        connection.watch(id, true)
        connection.write(id, bytes, false)
      }
      yield* eventually(Effect.sync(() => expect(stopped.length).toBeGreaterThanOrEqual(5)))
      yield* Effect.sleep("100 millis")
      expect(stopped.length).toBeLessThanOrEqual(6)
      expect(stopped.toSorted()).toEqual(broken.toSorted())
      expect(Math.min(...broken)).toBeGreaterThanOrEqual(4 * 4)
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
      expect(performance.now() - started).toBeLessThan(7500)
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

  /** A client of bytes alone: what it sends, and what comes back. */
  const raw = (remote: QuicEngine.HostPort) =>
    Effect.gen(function* () {
      const socket = Dgram.createSocket("udp4").bind(0, "127.0.0.1")
      yield* Effect.addFinalizer(() => Effect.sync(() => socket.close()))
      yield* Effect.promise(() => once(socket, "listening"))
      return (packet: Buffer) =>
        soon(
          Effect.async<Buffer>((resume) => {
            socket.once("message", (answer) => resume(Effect.succeed(answer)))
            socket.send(packet, remote.port, remote.host)
          })
        )
    })

  const initial = (version: number) => {
    const packet = Buffer.alloc(1200)
    packet[0] = 0xc0
    packet.writeUInt32BE(version, 1)
    Buffer.from([8, 1, 2, 3, 4, 5, 6, 7, 8, 4, 9, 9, 9, 9]).copy(packet, 5)
    return packet
  }

  it.scopedLive("who speaks another version is told which there is", () =>
    Effect.gen(function* () {
      const { engine, tls } = yield* open
      const { local } = yield* listening(engine, tls)
      const answer = yield* Effect.flatMap(raw(local), (ask) => ask(initial(0x1a2a3a4a)))
      expect(answer.readUInt32BE(1)).toBe(0)
      // The ids change places (RFC 9000, section 17.2.1).
      expect([...answer.subarray(5, 19)]).toEqual([4, 9, 9, 9, 9, 8, 1, 2, 3, 4, 5, 6, 7, 8])
      const versions = Array.from({ length: (answer.length - 19) / 4 }, (_, i) => answer.readUInt32BE(19 + 4 * i))
      expect(versions).toContain(1)
    })
  )

  it.scopedLive("a listener keeps nothing of who has not proved its address, and takes no proof of another", () =>
    Effect.gen(function* () {
      const { engine, tls } = yield* open
      let begun = 0
      const { local } = yield* listening(engine, tls, {
        onConnection: (connection) => {
          begun += 1
          return echo(connection)
        }
      })
      const ask = yield* raw(local)
      const retry = yield* ask(initial(1))
      // Type 3, for the client's id, with an id of the listener's.
      expect([retry.readUInt8(0) >> 4, retry.readUInt32BE(1), retry[5], retry[10]]).toEqual([0xf, 1, 4, 8])
      const id = retry.subarray(11, 19)
      const token = retry.subarray(19, -16)
      expect(token.length).toBeLessThan(64)
      const returning = Buffer.alloc(1200)
      Buffer.concat([Buffer.of(0xc0, 0, 0, 0, 1, 8), id, Buffer.of(4, 9, 9, 9, 9, token.length), token]).copy(returning)
      returning.writeUInt16BE(0x4000 | 1000, 25 + token.length)
      // The same from another port is from another address.
      const other = yield* raw(local)
      expect(yield* Effect.either(Effect.timeout(other(returning), "100 millis"))).toMatchObject({ _tag: "Left" })
      expect(begun).toBe(0)
      // From its own, it begins a connection, which can't read the rest.
      yield* Effect.either(Effect.timeout(ask(returning), "100 millis"))
      expect(begun).toBe(1)
    })
  )

  describe("handshakes without end", () => {
    /** Begins handshakes that consist of CRYPTO frames of a byte, with gaps between them, until the listener says no. */
    const flooding = (remote: QuicEngine.HostPort, packets: number) =>
      Effect.gen(function* () {
        const socket = Dgram.createSocket("udp4").bind(0, "127.0.0.1")
        yield* Effect.addFinalizer(() => Effect.sync(() => socket.close()))
        yield* Effect.promise(() => once(socket, "listening"))
        const from = Buffer.of(9, 9, 9, 9)
        const answer = Effect.async<Buffer>((resume) => {
          socket.once("message", (packet) => resume(Effect.succeed(packet)))
          socket.send(initial(1), remote.port, remote.host)
        })
        const retry = yield* soon(answer)
        const id = retry.subarray(11, 19)
        const token = retry.subarray(19, -16)
        let answers = 0
        socket.on("message", () => {
          answers += 1
        })
        for (let number = 0; number < packets; number++) {
          const frames = Buffer.concat(
            Array.from({ length: 200 }, (_, i) => {
              const offset = 1 + 2 * (number * 200 + i)
              return Buffer.of(0x06, 0x80, offset >> 16, (offset >> 8) & 0xff, offset & 0xff, 1, 0x55)
            })
          )
          socket.send(
            Refusal.seal({ by: "client", keyId: id, to: id, from, token, number, frames }),
            remote.port,
            remote.host
          )
          if (number % 20 === 0) {
            yield* Effect.sleep("1 millis")
          }
        }
        return () => answers
      })

    it.scopedLive("one is given up when it has taken as much as it may", () =>
      Effect.gen(function* () {
        const { engine, tls } = yield* open
        const closes: Array<QuicEngine.Close> = []
        const { local } = yield* listening(engine, tls, {
          onConnection: (connection) => ({ ...echo(connection), onClosed: (close) => closes.push(close) })
        })
        yield* flooding(local, 200)
        yield* eventually(Effect.sync(() => expect(closes.length).toBe(1)))
        expect(closes).toMatchObject([{ _tag: "Closed", by: "local", code: 2, text: QuicEngine.tooMuch }])
        const connection = yield* connecting(engine, tls, local)
        expect((yield* roundTrip(connection, numbered(1000))).length).toBe(1000)
      })
    )

    it.scopedLive("of many, the one that has taken most makes way", () =>
      Effect.gen(function* () {
        const { engine, tls } = yield* open
        const closes: Array<QuicEngine.Close> = []
        const { local } = yield* listening(engine, tls, {
          maxTotalHandshakeBytes: 100_000,
          onConnection: (connection) => ({ ...echo(connection), onClosed: (close) => closes.push(close) })
        })
        yield* flooding(local, 40)
        yield* flooding(local, 10)
        expect(closes).toEqual([])
        yield* flooding(local, 40)
        yield* eventually(Effect.sync(() => expect(closes.length).toBe(1)))
        const connection = yield* connecting(engine, tls, local)
        expect((yield* roundTrip(connection, numbered(1000))).length).toBe(1000)
      })
    )
  })

  it.scopedLive("many connections on one socket each get what is theirs", () =>
    Effect.gen(function* () {
      const { engine, tls } = yield* open
      const { local } = yield* listening(engine, tls)
      const connections = yield* Effect.all(
        Array.from({ length: 20 }, () => connecting(engine, tls, local)),
        { concurrency: 5 }
      )
      const texts = yield* Effect.all(
        connections.map((connection, i) => roundTrip(connection, Buffer.from(`connection ${i}`))),
        { concurrency: "unbounded" }
      )
      expect(texts.map(String)).toEqual(connections.map((_, i) => `connection ${i}`))
    })
  )

  it.scopedLive("packets for a connection from another address than its own are dropped", () =>
    Effect.gen(function* () {
      const { engine, tls } = yield* open
      const { local } = yield* listening(engine, tls)
      const [relay, elsewhere] = [Dgram.createSocket("udp4"), Dgram.createSocket("udp4")] as const
      for (const socket of [relay, elsewhere]) {
        socket.bind(0, "127.0.0.1")
        yield* Effect.addFinalizer(() => Effect.sync(() => socket.close()))
        yield* Effect.promise(() => once(socket, "listening"))
      }
      let hasMoved = false
      let answered = 0
      let client = 0
      relay.on("message", (packet, { port }) => {
        if (port === local.port) {
          relay.send(packet, client, "127.0.0.1")
        } else {
          client = port
          ;(hasMoved ? elsewhere : relay).send(packet, local.port, "127.0.0.1")
        }
      })
      elsewhere.on("message", () => {
        answered += 1
      })
      const quick = { ...settings, keepaliveTime: 200, keepaliveTimeout: 300 }
      const closing = yield* Deferred.make<QuicEngine.Close>()
      const connection = yield* connecting(
        engine,
        tls,
        { host: "127.0.0.1", port: relay.address().port },
        { onClosed: (close) => Deferred.unsafeDone(closing, Effect.succeed(close)) },
        { settings: quick }
      )
      expect(String(yield* roundTrip(connection, Buffer.from("here")))).toBe("here")
      hasMoved = true
      expect(yield* within(Deferred.await(closing), "3 seconds")).toMatchObject({ _tag: "Lost", why: "Silent" })
      expect(answered).toBe(0)
    })
  )

  it.scopedLive("quiet connections are kept alive, also where the peer would forget them earlier", () =>
    Effect.gen(function* () {
      const { engine, tls } = yield* open
      const forgetful = { ...settings, keepaliveTime: 100, keepaliveTimeout: 100 }
      const { local } = yield* listening(engine, tls, { settings: { ...forgetful, keepaliveTime: 1000 } })
      // A peer that never asks by itself: its own keep-alive comes too late.
      const connection = yield* connecting(engine, tls, local, {}, { settings: { ...settings, keepaliveTime: 60_000 } })
      yield* Effect.sleep("3 seconds")
      expect(String(yield* roundTrip(connection, Buffer.from("still here")))).toBe("still here")
    })
  )

  it.scopedLive("ends and bytes arrive where every third packet is lost", () =>
    Effect.gen(function* () {
      const { engine, tls } = yield* open
      const patient = { ...settings, handshakeTimeout: 15_000 }
      const { local } = yield* listening(engine, tls, { settings: patient })
      const relay = Dgram.createSocket("udp4").bind(0, "127.0.0.1")
      yield* Effect.addFinalizer(() => Effect.sync(() => relay.close()))
      yield* Effect.promise(() => once(relay, "listening"))
      let client = 0
      let count = 0
      relay.on("message", (packet, { port }) => {
        count += 1
        if (port !== local.port) {
          client = port
        }
        // One of each three, now here and now there: where it is always the last, it may always be the acknowledgement.
        if (count % 3 !== (Math.imul(Math.floor(count / 3), 2_654_435_761) >>> 8) % 3) {
          relay.send(packet, port === local.port ? client : local.port, "127.0.0.1")
        }
      })
      const remote = { host: "127.0.0.1", port: relay.address().port }
      const connection = yield* connecting(engine, tls, remote, {}, { settings: patient })
      const sizes = Array.from({ length: 100 }, (_, i) => 1 + i * 50)
      const bytes = yield* within(
        Effect.forEach(sizes, (size) => roundTrip(connection, numbered(size)), { concurrency: 10 }),
        "15 seconds"
      )
      expect(bytes.map((each) => each.equals(numbered(each.length)) && each.length)).toEqual(sizes)
    })
  )
})
