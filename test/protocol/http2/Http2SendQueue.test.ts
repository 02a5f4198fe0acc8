import { describe, expect, it } from "@effect/vitest"
import * as FastCheck from "effect/FastCheck"
import {
  bytes,
  digest,
  type End,
  type Frame,
  frame,
  frames,
  greeting,
  makeEnd,
  receive,
  requestBlock,
  respond,
  type Stream,
  settings,
  streamOf,
  take,
  trailerFields,
  uint32
} from "./http2Support.js"

const noop = () => {}

/** A server whose client has opened so many streams, which have their response heads, and gives what credit it likes. */
const serverWith = (count: number, ...first: ReadonlyArray<Buffer>) => {
  const end = makeEnd("server", { maxConcurrentStreams: 1000 })
  receive(end, Buffer.concat([greeting, ...first]))
  const streams = Array.from({ length: count }, (_, i) => {
    receive(end, frame(1, 5, 2 * i + 1, requestBlock))
    const stream = streamOf(end, 2 * i + 1)
    respond(end, stream)
    return stream
  })
  take(end)
  return { end, streams }
}

const send = (end: End, stream: Stream | undefined, size: number, isEnd = false, sent = noop) => {
  if (stream !== undefined) {
    end.http2.sendData(stream, bytes(size), -1, isEnd, sent)
  }
}

const data = (all: ReadonlyArray<Frame>) => all.filter(({ type }) => type === 0)
const ids = (all: ReadonlyArray<Frame>) => data(all).map(({ id }) => id)
const wide = [settings([4, 1 << 24]), frame(8, 0, 0, uint32(1 << 24))]

describe("a send queue", () => {
  it("streams with large messages take turns", () => {
    const { end, streams } = serverWith(3, ...wide)
    // What is written at once is written before the others have anything to send.
    send(end, streams[0], 400_000)
    take(end, 0)
    send(end, streams[1], 400_000)
    send(end, streams[2], 400_000)
    const turns = ids(frames(take(end, 150_000)))
    expect(turns.length).toBeGreaterThan(8)
    for (const [i, id] of turns.entries()) {
      expect(id).not.toBe(turns[i + 1])
    }
  })

  it("pieces of large messages end where records of TLS do", () => {
    const { end, streams } = serverWith(1, ...wide)
    send(end, streams[0], 200_000)
    const pieces = data(frames(take(end, 128 * 1024)))
    expect(pieces.slice(0, -1).map(({ payload }) => payload.length)).toEqual(pieces.slice(0, -1).map(() => 16_384 - 9))
  })

  it("a small message goes out at once while large ones wait, and comes first", () => {
    const { end, streams } = serverWith(2, ...wide)
    let isSent = false
    send(end, streams[0], 4_000_000)
    send(end, streams[1], 100, true, () => {
      isSent = true
    })
    expect(isSent).toBe(true)
    expect(ids(frames(take(end)))[0]).toBe(3)
  })

  it("a small message does not take the last credit of the connection from those that wait", () => {
    const { end, streams } = serverWith(2, settings([4, 1 << 24]))
    send(end, streams[0], 100_000)
    take(end)
    receive(end, frame(8, 0, 0, uint32(1000)))
    send(end, streams[1], 900, true)
    expect(ids(frames(take(end)))).toEqual([1])
    receive(end, frame(8, 0, 0, uint32(100_000)))
    expect(new Set(ids(frames(take(end))))).toEqual(new Set([1, 3]))
  })

  it("empty data needs no credit", () => {
    const { end, streams } = serverWith(2, settings([4, 0]))
    send(end, streams[0], 0, true)
    send(end, streams[1], 10, true)
    expect(data(frames(take(end))).map(({ flags, id }) => [id, flags])).toEqual([[1, 1]])
    expect(end.http2.theirs()).toBe(1)
  })

  it("empty data needs no credit behind a message that has used it up, while others wait", () => {
    const { end, streams } = serverWith(2, ...wide, settings([4, 8000]))
    send(end, streams[0], 8000, false, () => send(end, streams[0], 0, true))
    send(end, streams[1], 9000)
    expect(data(frames(take(end))).map(({ flags, id, payload }) => [id, flags, payload.length])).toEqual([
      [1, 0, 8000],
      [1, 1, 0],
      [3, 0, 8000]
    ])
  })

  it("a stream without credit waits for its own, and no other waits for it", () => {
    const { end, streams } = serverWith(2, settings([4, 100]))
    send(end, streams[0], 500)
    send(end, streams[1], 100)
    expect(ids(frames(take(end)))).toEqual([1, 3])
    receive(end, frame(8, 0, 3, uint32(50)))
    send(end, streams[1], 50)
    expect(ids(frames(take(end)))).toEqual([3])
    receive(end, frame(8, 0, 1, uint32(400)))
    expect(data(frames(take(end))).map(({ payload }) => payload.length)).toEqual([400])
  })

  it("what a program does wrong is told to it, and breaks nothing", () => {
    const { end, streams } = serverWith(2, settings([4, 100]))
    const [stream, other] = streams
    send(end, stream, 500)
    expect(() => send(end, stream, 1)).toThrow(/before the last was sent/)
    expect(() => end.http2.sendHeaders(streamOf(end, 1), undefined, [], false)).toThrow(/between data/)
    expect(() => end.http2.sendHeaders(streamOf(end, 1), undefined, [["a", "ü\u{1f600}"]], true)).toThrow(RangeError)
    expect(() => end.http2.sendHeaders(streamOf(end, 3), undefined, [["a", "\u{1f600}"]], true)).toThrow(RangeError)
    end.http2.sendHeaders(streamOf(end, 1), undefined, trailerFields, true)
    expect(() => end.http2.sendHeaders(streamOf(end, 1), undefined, trailerFields, true)).toThrow(/after its end/)
    send(end, other, 10, true)
    // It is over, which its owner may not have noticed.
    send(end, other, 10)
    expect(() => end.http2.open(end.http2.makeHead([]), [], true, { received: 0, unread: 0, sum: 0 })).toThrow(
      /only clients/
    )
    receive(end, frame(8, 0, 1, uint32(400)))
    expect(frames(take(end)).map(({ id, type }) => [type, id])).toEqual([
      [0, 1],
      [0, 3],
      [0, 1],
      [1, 1]
    ])
  })

  it("the memory of a message that is given away while it is sent becomes zeros", () => {
    const { end, streams } = serverWith(1, settings([4, 100]))
    const message = bytes(500)
    end.http2.sendData(streamOf(end, 1), message, 0, true, noop)
    take(end)
    structuredClone(message.buffer, { transfer: [message.buffer] })
    receive(end, frame(8, 0, 1, uint32(1000)))
    const rest = data(frames(take(end)))
    expect(rest.map(({ payload }) => payload.length)).toEqual([405])
    expect(rest[0]?.payload.every((byte) => byte === 0)).toBe(true)
    expect(streams).toHaveLength(1)
  })

  it("whatever credit a peer gives, takes back and sets, no byte is sent without, and all is sent in the end", () => {
    const step = FastCheck.oneof(
      FastCheck.record({
        _tag: FastCheck.constant("stream"),
        id: FastCheck.nat(3),
        size: FastCheck.integer({ min: 1, max: 30_000 })
      }),
      FastCheck.record({
        _tag: FastCheck.constant("connection"),
        id: FastCheck.constant(0),
        size: FastCheck.integer({ min: 1, max: 60_000 })
      }),
      FastCheck.record({ _tag: FastCheck.constant("initial"), id: FastCheck.constant(0), size: FastCheck.nat(50_000) }),
      FastCheck.record({ _tag: FastCheck.constant("reset"), id: FastCheck.nat(3), size: FastCheck.constant(0) }),
      FastCheck.record({ _tag: FastCheck.constant("take"), id: FastCheck.constant(0), size: FastCheck.nat(40_000) })
    )
    FastCheck.assert(
      FastCheck.property(
        FastCheck.array(FastCheck.nat(50_000), { minLength: 4, maxLength: 4 }),
        FastCheck.nat(70_000),
        FastCheck.array(step, { maxLength: 60 }),
        (sizes, initial, steps) => {
          const { end, streams } = serverWith(4, settings([4, initial]))
          let connection = 65_535
          let window = initial
          const credit = sizes.map(() => initial)
          const came: Array<Array<Buffer>> = sizes.map(() => [])
          const ended = sizes.map(() => false)
          const isReset = sizes.map(() => false)
          for (const [i, size] of sizes.entries()) {
            end.http2.sendData(streamOf(end, 2 * i + 1), bytes(size), -1, false, noop)
            end.http2.sendHeaders(streamOf(end, 2 * i + 1), undefined, trailerFields, true)
          }
          const look = (budget: number) => {
            for (const { flags, id, payload, type } of frames(take(end, budget))) {
              const i = (id - 1) / 2
              if (type === 0) {
                connection -= payload.length
                credit[i] = (credit[i] ?? 0) - payload.length
                expect(payload.length === 0 || Math.min(connection, credit[i] ?? -1) >= 0).toBe(true)
                expect(ended[i] || isReset[i]).toBe(false)
                came[i]?.push(payload)
              } else if (type === 1) {
                expect(ended[i]).toBe(false)
                ended[i] = (flags & 1) !== 0
              }
            }
          }
          const update = (i: number, size: number) => {
            if (!isReset[i]) {
              credit[i] = (credit[i] ?? 0) + size
              receive(end, frame(8, 0, 2 * i + 1, uint32(size)))
            }
          }
          for (const { _tag, id, size } of steps) {
            if (_tag === "stream") {
              update(id, size)
            } else if (_tag === "connection") {
              connection += size
              receive(end, frame(8, 0, 0, uint32(size)))
            } else if (_tag === "initial") {
              // What is written by now was sent under the old window.
              look(0)
              for (const i of credit.keys()) {
                credit[i] = (credit[i] ?? 0) + size - window
              }
              window = size
              receive(end, settings([4, size]))
            } else if (_tag === "reset") {
              look(0)
              isReset[id] = true
              receive(end, frame(3, 0, 2 * id + 1, uint32(8)))
            } else {
              look(size)
            }
          }
          connection += 1_000_000
          receive(end, frame(8, 0, 0, uint32(1_000_000)))
          for (const i of sizes.keys()) {
            update(i, 1_000_000)
          }
          for (let i = 0; i < 10; i++) {
            look(100_000)
          }
          for (const [i, size] of sizes.entries()) {
            expect(isReset[i] || (ended[i] && digest(...(came[i] ?? [])) === digest(bytes(size)))).toBe(true)
          }
          expect([end.http2.theirs(), end.http2.unsent(), streams.some(({ isReady }) => isReady)]).toEqual([
            0,
            0,
            false
          ])
        }
      ),
      { numRuns: 200 }
    )
  })
})
