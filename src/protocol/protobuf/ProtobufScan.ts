/**
 * What a protobuf message would decode to, counted before it is decoded. A field of two bytes becomes an object of several
 * hundred: four megabytes of them, well formed, are 800 MB and hold the event loop for a second and a half.
 *
 * The walk goes where protobuf-es's `fromBinary` goes, byte by byte, and allocates nothing for what it counts.
 */
import type { DescMessage } from "@bufbuild/protobuf"
import { WireType } from "@bufbuild/protobuf/wire"
import {
  add,
  type Cursor,
  make as makeCursor,
  malformed,
  maxDepth,
  skipPacked,
  skipScalar,
  skipUnknown,
  stopped,
  tag,
  uint32
} from "./ProtobufCursor.js"
import type { Child, Field, Message } from "./ProtobufShape.js"
import * as ProtobufShape from "./ProtobufShape.js"

/** The elements in a message's fields that are merged as JSON, and in those of the messages that it holds. */
interface Merged {
  elements: number
  readonly fields: Map<number, Merged>
}

const emptyMerged = (): Merged => ({ elements: 0, fields: new Map() })

/** Where nothing is merged as JSON: never written to. */
const noneMerged: Merged = emptyMerged()

const mergedOf = (parent: Merged, fieldNo: number): Merged => {
  const known = parent.fields.get(fieldNo)
  if (known !== undefined) {
    return known
  }
  const merged = emptyMerged()
  parent.fields.set(fieldNo, merged)
  return merged
}

const readChild = (cursor: Cursor, child: Child, fieldNo: number, merged: Merged, depth: number) => {
  const isTracked = child.isMerged && (child.isJson || child.message.mergesJson)
  const inner = isTracked ? mergedOf(merged, fieldNo) : child.message.mergesJson ? emptyMerged() : merged
  if (isTracked && child.isJson) {
    add(cursor, inner.elements)
  }
  const before = cursor.count
  if (child.isGroup) {
    readMessage(cursor, child.message, stopped, fieldNo, inner, depth + 1)
  } else {
    const length = uint32(cursor)
    readMessage(cursor, child.message, cursor.pos + length, 0, inner, depth + 1)
  }
  if (isTracked) {
    inner.elements += cursor.count - before
  }
}

const readEntry = (cursor: Cursor, field: Field & { readonly kind: "map" }, depth: number) => {
  const length = uint32(cursor)
  const end = cursor.pos + length
  const { value } = field
  const merged = typeof value === "object" && (value.isJson || value.message.mergesJson) ? emptyMerged() : noneMerged
  let records = 0
  while (cursor.pos < end) {
    const tagged = tag(cursor)
    if (cursor.pos === stopped) {
      return
    }
    // A key and a value are the entry, which has been counted.
    records += 1
    if (records > 2) {
      add(cursor, 1)
    }
    const fieldNo = tagged >>> 3
    if (fieldNo === 1) {
      skipScalar(cursor, field.key)
    } else if (fieldNo !== 2) {
      skipUnknown(cursor, tagged, depth)
    } else if (typeof value === "object") {
      readChild(cursor, value, fieldNo, merged, depth)
    } else {
      skipScalar(cursor, value)
    }
  }
}

/** A message up to `end`, or, where it is a group, up to the end of that. */
const readMessage = (
  cursor: Cursor,
  message: Message,
  end: number,
  group: number,
  merged: Merged,
  depth: number
): void => {
  if (depth > maxDepth) {
    malformed(cursor)
  }
  while (cursor.pos < end) {
    const tagged = tag(cursor)
    if (cursor.pos === stopped) {
      return
    }
    const fieldNo = tagged >>> 3
    if (group !== 0 && (tagged & 7) === WireType.EndGroup) {
      if (fieldNo !== group) {
        malformed(cursor)
      }
      return
    }
    add(cursor, 1)
    const field = message.fields.get(fieldNo)
    if (field === undefined) {
      skipUnknown(cursor, tagged, depth)
    } else if (field.kind === "message") {
      readChild(cursor, field, fieldNo, merged, depth)
    } else if (field.kind === "map") {
      readEntry(cursor, field, depth)
    } else if (field.isPackable && (tagged & 7) === WireType.LengthDelimited) {
      skipPacked(cursor, field.size)
    } else {
      skipScalar(cursor, field.size)
    }
  }
}

/**
 * Counts the elements that messages of a type would decode to: each field that stands in the bytes, at any depth, known or
 * not; each number of a packed list; an entry of a map as one. Counting stops above `limit`, and below zero is malformed.
 *
 * An element takes a byte at least, so that a message of no more bytes than `limit` is not walked: the number of its bytes
 * is returned.
 */
export const makeCounter = (desc: DescMessage): ((bytes: Uint8Array, limit: number) => number) => {
  let message: Message | undefined
  return (bytes, limit) => {
    message ??= ProtobufShape.make(desc)
    if (bytes.length <= limit && !message.mergesJson) {
      return bytes.length
    }
    const cursor = makeCursor(bytes, limit)
    readMessage(cursor, message, bytes.length, 0, message.mergesJson ? emptyMerged() : noneMerged, 1)
    return cursor.isMalformed ? -1 : cursor.count
  }
}
