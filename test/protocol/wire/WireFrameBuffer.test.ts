import { expect, it } from "@effect/vitest"
import * as FastCheck from "effect/FastCheck"
import { Flag, headerSize, maxPayload, maxPiece, Type } from "../../../src/protocol/wire/Wire.js"
import * as FrameBuffer from "../../../src/protocol/wire/WireFrameBuffer.js"
import { bytes } from "./wireSupport.js"

const makeFrame = (type: number, flags: number, size: number) => {
  const header = Buffer.alloc(headerSize)
  header.writeUInt8(type, 0)
  header.writeUInt8(flags, 1)
  header.writeUInt16BE(size, 2)
  return Buffer.concat([header, bytes(size)])
}

const sizeOf = (header: Buffer) => headerSize + header.readUInt16BE(2)

/** Hands a frame over in parts; the last returns it. */
const feed = (buffer: FrameBuffer.FrameBuffer, frame: Buffer, cuts: ReadonlyArray<number>): Buffer | undefined => {
  const ends = [...new Set(cuts.map((cut) => cut % frame.length)), frame.length].sort((a, b) => a - b)
  let start = 0
  let whole: Buffer | undefined
  for (const end of ends) {
    const chunk = frame.subarray(start, end)
    let at = FrameBuffer.fill(buffer, chunk, 0)
    if (FrameBuffer.needsRoom(buffer)) {
      FrameBuffer.beginBuffered(buffer, sizeOf(buffer.header))
      at += FrameBuffer.fill(buffer, chunk, at)
    }
    expect(at).toBe(chunk.length)
    expect(FrameBuffer.isMidFrame(buffer)).toBe(end > 0)
    whole = FrameBuffer.take(buffer)
    expect(whole !== undefined).toBe(end === frame.length)
    start = end
  }
  expect(FrameBuffer.isMidFrame(buffer)).toBe(false)
  return whole
}

it("a frame is whole however it is cut, and so is the next", () => {
  FastCheck.assert(
    FastCheck.property(
      FastCheck.array(
        FastCheck.record({
          type: FastCheck.integer({ min: Type.settings, max: Type.goaway }),
          flags: FastCheck.constantFrom(0, Flag.end, Flag.more),
          size: FastCheck.oneof(FastCheck.constant(0), FastCheck.integer({ min: 1, max: 300 })),
          cuts: FastCheck.array(FastCheck.nat(), { maxLength: 6 })
        }),
        { minLength: 1, maxLength: 6 }
      ),
      (frames) => {
        const buffer = FrameBuffer.make()
        for (const { cuts, flags, size, type } of frames) {
          const frame = makeFrame(type, flags, size)
          expect(feed(buffer, frame, cuts)?.equals(frame)).toBe(true)
        }
      }
    )
  )
})

it("takes no byte of the next frame", () => {
  const buffer = FrameBuffer.make()
  const frame = makeFrame(Type.open, 0, 20)
  FrameBuffer.begin(buffer, frame, 0, frame.length)
  FrameBuffer.fill(buffer, frame.subarray(0, 12), 0)
  expect(FrameBuffer.fill(buffer, Buffer.concat([frame.subarray(12), frame]), 0)).toBe(frame.length - 12)
})

it("pieces share one room until it is trimmed; every other frame has its own, since a message may keep it", () => {
  const buffer = FrameBuffer.make()
  const piece = makeFrame(Type.message, Flag.more, maxPiece)
  const first = feed(buffer, piece, [3])
  expect(feed(buffer, piece, [100])?.buffer).toBe(first?.buffer)
  FrameBuffer.trim(buffer)
  expect(feed(buffer, piece, [100])?.buffer).not.toBe(first?.buffer)
  for (const frame of [makeFrame(Type.message, 0, maxPiece), makeFrame(Type.message, Flag.more, maxPayload)]) {
    const one = feed(buffer, frame, [3])
    expect(one?.buffer.byteLength).toBe(frame.length)
    expect(feed(buffer, frame, [3])?.buffer).not.toBe(one?.buffer)
  }
})

it("is not trimmed in the middle of a frame", () => {
  const buffer = FrameBuffer.make()
  const piece = makeFrame(Type.message, Flag.more, 1000)
  FrameBuffer.begin(buffer, piece, 0, piece.length)
  FrameBuffer.fill(buffer, piece.subarray(0, 500), 0)
  FrameBuffer.trim(buffer)
  FrameBuffer.fill(buffer, piece.subarray(500), 0)
  expect(FrameBuffer.take(buffer)?.equals(piece)).toBe(true)
})
