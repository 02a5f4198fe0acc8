/** What a peer may send after the handshake that is no content. */
import { describe, expect, it } from "@effect/vitest"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import { constVoid } from "effect/Function"
import * as QuicEngine from "../../../src/Quic/engine/QuicEngine.js"
import { admission } from "../../fixtures/admission.js"
import { eventually, within } from "../../suite/fixtures/expect.js"
import { connecting, settings as defaults, open, quiet, silent } from "../quicSupport.js"
import * as OneRtt from "./oneRtt.js"

const settings = { ...defaults, maxIdlePacketRate: 1000, maxIdleBytes: 256 * 1024 }

/** A listener that stops streams below an id and reads all others, and what it says of its connections. */
const listening = (options: Partial<QuicEngine.ConnectionSettings> = {}, stopped = 0) =>
  Effect.gen(function* () {
    const { engine, tls } = yield* open
    const closes: Array<QuicEngine.Close> = []
    let worn = 0
    let read = 0
    const listener = yield* Effect.acquireRelease(
      Effect.promise(() =>
        engine.listen({
          local: { host: "127.0.0.1", port: 0 },
          tls: () => tls,
          settings: { ...settings, ...options },
          maxConnections: 100,
          admission: admission(),
          maxTotalHandshakeBytes: 1024 * 1024,
          onError: constVoid,
          onConnection: (connection) => ({
            ...quiet,
            onEstablished: connection.accept,
            onWorn: () => {
              worn += 1
            },
            onClosed: (close) => closes.push(close),
            onStream: (id) => ({
              ...silent,
              onReadable: () => {
                if (id < stopped) {
                  connection.stop(id, 1)
                  connection.reset(id, 1)
                  return connection.release(id)
                }
                for (let got = connection.read(id); got?._tag === "Bytes"; got = connection.read(id)) {
                  read += got.bytes.length
                  if (got.fin) {
                    connection.write(id, Buffer.from("end"), true)
                  }
                }
              }
            })
          })
        })
      ),
      ({ close }) => Effect.promise(close)
    )
    return { engine, tls, remote: listener.local, closes, worn: () => worn, read: () => read }
  })

/** Sends packets, so many a millisecond, until the listener has ended a connection; gives how many that were. */
const flood = (
  client: OneRtt.OneRtt,
  closes: ReadonlyArray<QuicEngine.Close>,
  frames: (n: number) => Buffer,
  batch: number
) =>
  Effect.gen(function* () {
    let sent = 0
    while (closes.length === 0) {
      for (let i = 0; i < batch; i++) {
        client.inject(frames(sent++))
      }
      yield* Effect.sleep("1 millis")
    }
    return sent
  })

const times = (count: number, frame: (n: number) => Buffer) =>
  Buffer.concat(Array.from({ length: count }, (_, n) => frame(n)))

const varints = (...values: ReadonlyArray<number>): Buffer =>
  Buffer.concat(
    values.map((value) => {
      const bytes = Buffer.alloc(4)
      bytes.writeUInt32BE(value + 0x8000_0000)
      return bytes
    })
  )

/** RFC 9000, section 19. */
const floods: ReadonlyArray<readonly [what: string, (n: number) => Buffer]> = [
  ["PING", () => Buffer.of(0x01)],
  ["PADDING", () => Buffer.alloc(1200)],
  // Behind gaps that are never filled.
  [
    "CRYPTO",
    (n) => times(150, (i) => Buffer.concat([Buffer.of(0x06), varints(1 + 2 * (n * 150 + i)), Buffer.of(1, 0x55)]))
  ],
  ["PATH_CHALLENGE", () => times(100, () => Buffer.of(0x1a, 1, 2, 3, 4, 5, 6, 7, 8))],
  ["PATH_RESPONSE", () => times(100, () => Buffer.of(0x1b, 1, 2, 3, 4, 5, 6, 7, 8))],
  ["MAX_DATA", (n) => Buffer.concat([Buffer.of(0x10), varints(n)])],
  ["MAX_STREAMS", () => Buffer.of(0x12, 1)],
  ["DATA_BLOCKED", () => times(20, () => Buffer.of(0x14, 1))],
  ["STREAMS_BLOCKED", () => times(20, () => Buffer.of(0x16, 1))],
  ["ACK of a packet", () => Buffer.of(0x02, 0, 0, 0, 0)],
  [
    "ACK of many ranges",
    () => Buffer.concat([Buffer.of(0x02), varints(1000), Buffer.of(0, 0x40, 200, 0), Buffer.alloc(400)])
  ],
  ["STREAM frames without bytes", () => times(100, () => Buffer.of(0x0a, 0, 0))],
  ["STREAM frames of bytes that came before", () => Buffer.concat([Buffer.of(0x0a, 0, 1), Buffer.of(1)])],
  [
    "connection ids",
    (n) => Buffer.concat([Buffer.of(0x18), varints(n + 1, n + 1), Buffer.of(8), varints(n, n), Buffer.alloc(16, n)])
  ]
]

/** Has a stream answered. */
const call = (connection: QuicEngine.Connection, bytes: Buffer) =>
  Effect.async<void>((resume) => {
    const id = connection.openBidi({
      ...silent,
      onReadable: () => {
        const got = connection.read(id)
        if (got?._tag === "Bytes" && got.fin) {
          connection.release(id)
          resume(Effect.void)
        }
      }
    })
    connection.write(id, bytes, true)
  })

const cutOff = { _tag: "Closed", by: "local", isApplication: false, text: QuicEngine.tooIdle }

describe("packets without content", () => {
  it.scopedLive.each(floods)("%s: who floods is cut off, and nobody else", ([, frames]) =>
    Effect.gen(function* () {
      const { closes, engine, remote, tls } = yield* listening()
      const good = yield* connecting(engine, tls, remote)
      yield* call(good, Buffer.from("before"))
      const client = yield* OneRtt.connect(tls, settings, remote)
      yield* within(flood(client, closes, frames, 100), "10 seconds")
      yield* within(call(good, Buffer.alloc(100_000)), "2 seconds")
      expect(closes).toMatchObject([cutOff])
    })
  )

  it.scopedLive("fewer than may come in a second: the connection is to be replaced, then cut off", () =>
    Effect.gen(function* () {
      const maxIdleBytes = 64 * 1024
      const { closes, remote, tls, worn } = yield* listening({ maxIdlePacketRate: 1_000_000, maxIdleBytes })
      const client = yield* OneRtt.connect(tls, settings, remote)
      const padding = Buffer.alloc(1000)
      const sendUntil = (done: (sent: number) => boolean, pause: Duration.DurationInput) =>
        Effect.gen(function* () {
          let sent = 0
          while (!done(sent)) {
            client.inject(padding)
            sent += padding.length
            yield* Effect.sleep(pause)
          }
          return sent
        })
      yield* sendUntil((sent) => sent > 1.2 * maxIdleBytes, "1 millis")
      expect([closes, worn()]).toEqual([[], 0])
      yield* sendUntil(() => worn() > 0, "20 millis")
      expect(closes).toEqual([])
      yield* sendUntil(() => closes.length > 0, "1 millis")
      expect(closes).toMatchObject([cutOff])
      expect(worn()).toBe(1)
    })
  )

  it.scopedLive("what a peer sends on streams that it was asked to stop counts, and its other streams go on", () =>
    Effect.gen(function* () {
      const streams = 5
      const { closes, read, remote, tls } = yield* listening(
        { maxIdlePacketRate: 10_000, maxIdleBytes: 1024 * 1024 },
        4 * streams
      )
      const client = yield* OneRtt.connect(tls, settings, remote)
      const stream = (id: number, at: number, size: number) =>
        client.inject(Buffer.concat([Buffer.of(0x0c), varints(id, at), Buffer.alloc(size, 1)]))
      for (let id = 0; id < 4 * streams; id += 4) {
        // What the window of a stream allows, and nobody reads.
        for (let at = 0; at < settings.streamWindow; at += 1024) {
          stream(id, at, 1024)
          if (at % 16_384 === 0) {
            yield* Effect.sleep("1 millis")
          }
        }
      }
      yield* eventually(
        Effect.sync(() => {
          // Again where it is lost, as a sender would.
          stream(4 * streams, 0, 1000)
          expect([closes, read()]).toEqual([[], 1000])
        })
      )
    })
  )

  it.scopedLive("those that go with content are no reason to cut anybody off", () =>
    Effect.gen(function* () {
      const { closes, engine, read, remote, tls, worn } = yield* listening({
        maxIdlePacketRate: 100,
        maxIdleBytes: 16 * 1024
      })
      const connection = yield* connecting(engine, tls, remote)
      yield* call(connection, Buffer.alloc(8 * 1024 * 1024))
      for (let n = 0; n < 500; n++) {
        yield* call(connection, Buffer.alloc(n))
      }
      expect(read()).toBeGreaterThan(8 * 1024 * 1024)
      expect([closes, worn()]).toEqual([[], 0])
    })
  )
})
