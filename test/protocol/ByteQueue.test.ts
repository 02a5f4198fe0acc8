import { expect, it } from "@effect/vitest"
import * as FastCheck from "effect/FastCheck"
import * as ByteQueue from "../../src/protocol/ByteQueue.js"

const chunkOf = (size: number, seed: number) =>
  Buffer.from(Array.from({ length: size }, (_, i) => (seed * 31 + i) & 0xff))

it("returns the bytes that were pushed, in their order", () => {
  const size = FastCheck.oneof(
    FastCheck.integer({ min: 0, max: 40 }),
    FastCheck.integer({ min: 0, max: 3000 }),
    FastCheck.integer({ min: 4000, max: 9000 })
  )
  const step = FastCheck.oneof(
    FastCheck.record({ push: size }),
    FastCheck.record({ take: FastCheck.double({ min: 0, max: 1, noNaN: true }) })
  )
  FastCheck.assert(
    FastCheck.property(FastCheck.array(step, { maxLength: 60, size: "max" }), (steps) => {
      const queue = ByteQueue.make()
      let model = Buffer.alloc(0)
      for (const [index, each] of steps.entries()) {
        if ("push" in each) {
          const chunk = chunkOf(each.push, index)
          ByteQueue.push(queue, chunk)
          model = Buffer.concat([model, chunk])
          // Whoever made the chunk may overwrite it.
          chunk.fill(0)
        } else {
          const first = ByteQueue.shift(queue)
          expect(first.length > 0).toBe(model.length > 0)
          expect(first.equals(model.subarray(0, first.length))).toBe(true)
          const used = Math.ceil(first.length * each.take)
          ByteQueue.unshift(queue, first.subarray(used))
          model = model.subarray(used)
        }
        expect(queue.size).toBe(model.length)
      }
      const rest: Array<Buffer> = []
      while (queue.size > 0) {
        rest.push(ByteQueue.shift(queue))
      }
      expect(Buffer.concat(rest).equals(model)).toBe(true)
      expect(queue.blocks).toEqual([])
    })
  )
})

it("keeps about as much as waits, however small the pieces are, and however little is left", () => {
  const queue = ByteQueue.make()
  const keptBytes = () =>
    [...new Set(queue.blocks.map(({ buffer }) => buffer))].reduce((total, { byteLength }) => total + byteLength, 0)
  for (let i = 0; i < 100_000; i++) {
    ByteQueue.push(queue, Buffer.of(i & 0xff))
  }
  expect(queue.blocks.length).toBeLessThanOrEqual(1 + queue.size / 8192)
  expect(keptBytes()).toBeLessThanOrEqual(queue.size + 8192)
  while (queue.size > 8192) {
    ByteQueue.shift(queue)
  }
  expect(queue.size).toBeGreaterThan(0)
  expect(keptBytes()).toBeLessThanOrEqual(8192)
})

it("is empty after all was dropped, and takes more", () => {
  const queue = ByteQueue.make()
  ByteQueue.push(queue, chunkOf(10_000, 1))
  ByteQueue.clear(queue)
  expect(ByteQueue.shift(queue).length).toBe(0)
  ByteQueue.push(queue, Buffer.from("again"))
  expect(ByteQueue.shift(queue).toString()).toBe("again")
})
