import { describe, expect, it } from "@effect/vitest"
import * as Cursor from "../../../src/protocol/protobuf/ProtobufCursor.js"

const at = (...bytes: ReadonlyArray<number>) => Cursor.make(Uint8Array.from(bytes), 10)

describe("a cursor", () => {
  it("reads the lower 32 bits of varints of up to ten bytes", () => {
    const cursor = at(0x96, 0x01, ...Array.from({ length: 9 }, () => 0xff), 0x01, 7)
    expect(Cursor.uint32(cursor)).toBe(150)
    expect(Cursor.uint32(cursor)).toBe(0xffffffff)
    expect(Cursor.uint32(cursor)).toBe(7)
    expect(cursor).toMatchObject({ pos: 13, isMalformed: false })
  })

  it("stops at a varint without end, and reads nothing more", () => {
    for (const bytes of [[0x80], Array.from({ length: 11 }, () => 0x80)]) {
      const cursor = at(...bytes)
      expect(Cursor.uint32(cursor)).toBe(0)
      expect(Cursor.uint32(cursor)).toBe(0)
      expect(cursor).toMatchObject({ pos: Cursor.stopped, isMalformed: true })
    }
  })

  it("takes no tag without a number, of an unknown type, or of more than 32 bits", () => {
    expect(Cursor.tag(at(0x0a))).toBe(0x0a)
    for (const bytes of [[0x00], [0x0f], [0x8a, 0x80, 0x80, 0x80, 0x10], [0x8a, 0x80, 0x80, 0x80, 0x80, 0x00]]) {
      const cursor = at(...bytes)
      Cursor.tag(cursor)
      expect(cursor.isMalformed).toBe(true)
    }
  })

  it("counts a packed list without its first number, and stops above its limit, which is not malformed", () => {
    const varints = at(3, 1, 0x80, 1)
    Cursor.skipPacked(varints, "varint")
    expect(varints).toMatchObject({ pos: 4, count: 1 })
    const fixed = at(8, ...Array.from({ length: 8 }, () => 0))
    Cursor.skipPacked(fixed, 4)
    expect(fixed).toMatchObject({ pos: 9, count: 1 })
    const many = at(12, ...Array.from({ length: 12 }, () => 1))
    Cursor.skipPacked(many, "varint")
    expect(many).toMatchObject({ pos: Cursor.stopped, count: 11, isMalformed: false })
  })

  it("goes past unknown fields of all types, and counts those of groups", () => {
    // A group 1 with a varint, a fixed64, bytes, an empty group 2 and a fixed32.
    const group = [0x08, 0x05, 0x11, 0, 0, 0, 0, 0, 0, 0, 0, 0x1a, 0x02, 1, 2, 0x13, 0x14, 0x25, 0, 0, 0, 0, 0x0c]
    const cursor = at(...group)
    Cursor.skipUnknown(cursor, 0x0b, 1)
    expect(cursor).toMatchObject({ pos: group.length, count: 5, isMalformed: false })
  })

  it("takes no group that is cut short, ends as another, or is too deep", () => {
    for (const bytes of [[0x08, 0x05], [0x14], Array.from({ length: 200 }, () => 0x0b)]) {
      const cursor = Cursor.make(Uint8Array.from(bytes), 1000)
      Cursor.skipUnknown(cursor, 0x0b, 1)
      expect(cursor.isMalformed).toBe(true)
    }
  })

  it("takes no length that passes the end", () => {
    const cursor = at(3, 1, 2)
    Cursor.skipScalar(cursor, "lengthDelimited")
    expect(cursor.isMalformed).toBe(true)
  })
})
