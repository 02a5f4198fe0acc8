import { expect, it } from "@effect/vitest"
import * as FastCheck from "effect/FastCheck"
import * as Reassembly from "../../../src/protocol/wire/WireReassembly.js"
import { bytes } from "./wireSupport.js"

const maxMessageSize = 100_000

const makeStream = (): Reassembly.PartialMessage => ({
  partial: undefined,
  partialSize: 0,
  partialCost: 0,
  partialSince: 0
})

const append = (
  reassembly: Reassembly.Reassembly,
  stream: Reassembly.PartialMessage,
  piece: Uint8Array,
  now = 0,
  max = maxMessageSize
) =>
  Reassembly.append(
    reassembly,
    stream,
    { bytes: Buffer.from(piece), at: 0, end: piece.length, isOwn: false },
    piece.length,
    max,
    now
  )

it("pieces of several streams become their messages, and nothing of them is counted any more", () => {
  FastCheck.assert(
    FastCheck.property(
      FastCheck.array(FastCheck.array(FastCheck.integer({ min: 1, max: 3000 }), { minLength: 2, maxLength: 12 }), {
        minLength: 1,
        maxLength: 5
      }),
      (sizes) => {
        const reassembly = Reassembly.make()
        const streams = sizes.map((pieces) => {
          const message = bytes(pieces.reduce((sum, size) => sum + size, 0))
          return { message, pieces, at: 0, next: 0, stream: makeStream() }
        })
        for (let left = streams; left.length > 0; left = left.filter(({ next, pieces }) => next < pieces.length)) {
          for (const each of left) {
            const size = each.pieces[each.next] ?? 0
            each.next += 1
            const partial = append(reassembly, each.stream, each.message.subarray(each.at, each.at + size))
            each.at += size
            if (each.next === each.pieces.length) {
              expect(Buffer.compare(Reassembly.finish(reassembly, each.stream, partial), each.message)).toBe(0)
              expect(each.stream.partial).toBe(undefined)
            }
          }
          const begun = streams.filter(({ stream }) => stream.partial !== undefined)
          expect({ count: reassembly.count, size: reassembly.size }).toEqual({
            count: begun.length,
            size: begun.reduce((sum, { at }) => sum + at, 0)
          })
        }
      }
    ),
    { numRuns: 50 }
  )
})

it("a dropped message is no longer counted, nor is one dropped twice", () => {
  const reassembly = Reassembly.make()
  const stream = makeStream()
  append(reassembly, stream, bytes(500))
  stream.partialCost = 628
  Reassembly.drop(reassembly, stream)
  Reassembly.drop(reassembly, stream)
  expect(reassembly).toEqual({ count: 0, size: 0, expectedSize: 0 })
  expect(stream).toEqual(makeStream())
})

it("the budget binds several messages, and one alone may be larger", () => {
  const reassembly = Reassembly.make()
  const first = makeStream()
  const second = makeStream()
  append(reassembly, first, bytes(2000))
  expect(Reassembly.isOver(reassembly, 1000)).toBe(false)
  append(reassembly, second, bytes(1))
  expect(Reassembly.isOver(reassembly, 1000)).toBe(true)
  expect(Reassembly.isOver(reassembly, 2001)).toBe(false)
  Reassembly.drop(reassembly, first)
  expect(Reassembly.isOver(reassembly, 0)).toBe(false)
})

it("no more is allocated than a message may have, whatever the last one had", () => {
  const reassembly = Reassembly.make()
  const first = makeStream()
  Reassembly.finish(reassembly, first, append(reassembly, first, bytes(90_000)))
  const second = makeStream()
  expect(append(reassembly, second, bytes(10), 0, 20_000).length).toBe(20_000)
  append(reassembly, second, bytes(10_000), 0, 20_000)
  expect(append(reassembly, second, bytes(9_990), 0, 20_000).length).toBe(20_000)
})

it("a small message after a large one does not keep the large one's room", () => {
  const reassembly = Reassembly.make()
  const stream = makeStream()
  Reassembly.finish(reassembly, stream, append(reassembly, stream, bytes(90_000)))
  const message = Reassembly.finish(reassembly, stream, append(reassembly, stream, bytes(5000)))
  expect([message.length, message.buffer.byteLength]).toEqual([5000, 5000])
})

it("a message is overdue after its time with credit, and time without does not count", () => {
  const reassembly = Reassembly.make()
  const stream = makeStream()
  append(reassembly, stream, bytes(10), 1000)
  append(reassembly, stream, bytes(10), 1900)
  expect(Reassembly.isOverdue(stream, true, 2000, 1000)).toBe(false)
  expect(Reassembly.isOverdue(stream, true, 2001, 1000)).toBe(true)
  expect(Reassembly.isOverdue(stream, false, 5000, 1000)).toBe(false)
  expect(Reassembly.isOverdue(stream, true, 6000, 1000)).toBe(false)
  expect(Reassembly.isOverdue(stream, true, 6001, 1000)).toBe(true)
})
