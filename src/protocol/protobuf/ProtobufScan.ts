/**
 * What a protobuf message would decode to, counted before it is decoded. A field of two bytes becomes an object of several
 * hundred: four megabytes of them, well formed, are 800 MB and hold the event loop for a second and a half.
 *
 * The walk goes where protobuf-es's `fromBinary` goes, byte by byte, and allocates nothing for what it counts.
 */
import { type DescField, type DescMessage, ScalarType } from "@bufbuild/protobuf"
import { WireType } from "@bufbuild/protobuf/wire"

/** As deep as protobuf-es decodes, and protobuf's other implementations. */
const maxDepth = 100

/** The bytes of a scalar: how many there are, or how that is found. */
type Size = "varint" | "lengthDelimited" | 4 | 8

type Field =
  | { readonly kind: "scalar"; readonly size: Size; readonly isPackable: boolean }
  | Child
  | { readonly kind: "map"; readonly key: Size; readonly value: Size | Child }

interface Child {
  readonly kind: "message"
  readonly message: Message
  readonly isGroup: boolean
  /** Another occurrence of the field is merged into the first, where a list has one more. */
  readonly isMerged: boolean
  /** Kept as JSON, which protobuf-es turns into a message and back for each further occurrence of the field. */
  readonly isJson: boolean
}

interface Message {
  readonly fields: Map<number, Field>
  /** Whether a field of this message, or beneath, is merged at a cost that grows with what it holds. */
  mergesJson: boolean
}

const sizeOf = (type: ScalarType): Size => {
  switch (type) {
    case ScalarType.STRING:
    case ScalarType.BYTES:
      return "lengthDelimited"
    case ScalarType.FIXED32:
    case ScalarType.SFIXED32:
    case ScalarType.FLOAT:
      return 4
    case ScalarType.FIXED64:
    case ScalarType.SFIXED64:
    case ScalarType.DOUBLE:
      return 8
    default:
      return "varint"
  }
}

const isJson = (field: DescField, message: DescMessage) =>
  message.typeName === "google.protobuf.Struct" && field.parent.typeName !== "google.protobuf.Value"

const messages = new WeakMap<DescMessage, Message>()

const compile = (desc: DescMessage): Message => {
  const known = messages.get(desc)
  if (known !== undefined) {
    return known
  }
  const message: Message = { fields: new Map(), mergesJson: false }
  // Before its fields, which may be messages of the same type.
  messages.set(desc, message)
  for (const field of desc.fields) {
    message.fields.set(field.number, compileField(field))
  }
  return message
}

const scalar = (size: Size, isPackable = false): Field => ({ kind: "scalar", size, isPackable })

const childOf = (field: DescField, desc: DescMessage, isGroup: boolean, isMerged: boolean): Child => ({
  kind: "message",
  message: compile(desc),
  isGroup,
  isMerged,
  isJson: isJson(field, desc)
})

const compileField = (field: DescField): Field => {
  switch (field.fieldKind) {
    case "scalar":
      return scalar(sizeOf(field.scalar))
    case "enum":
      return scalar("varint")
    case "message":
      return childOf(field, field.message, field.delimitedEncoding, true)
    case "list": {
      if (field.listKind === "message") {
        return childOf(field, field.message, field.delimitedEncoding, false)
      }
      const size = field.listKind === "enum" ? "varint" : sizeOf(field.scalar)
      return scalar(size, size !== "lengthDelimited")
    }
    case "map":
      return {
        kind: "map",
        key: sizeOf(field.mapKey),
        value:
          field.mapKind === "message"
            ? childOf(field, field.message, false, true)
            : field.mapKind === "enum"
              ? "varint"
              : sizeOf(field.scalar)
      }
  }
}

const childrenOf = function* ({ fields }: Message): Iterable<Child> {
  for (const field of fields.values()) {
    if (field.kind === "message") {
      yield field
    } else if (field.kind === "map" && typeof field.value === "object") {
      yield field.value
    }
  }
}

/** Whether the message or one beneath it has a field that is merged as JSON; types may hold themselves. */
const findJson = (root: Message): void => {
  const reachable = new Set([root])
  for (const message of reachable) {
    for (const child of childrenOf(message)) {
      reachable.add(child.message)
    }
  }
  let isChanged = true
  while (isChanged) {
    isChanged = false
    for (const message of reachable) {
      if (message.mergesJson) {
        continue
      }
      for (const child of childrenOf(message)) {
        if ((child.isJson && child.isMerged) || child.message.mergesJson) {
          message.mergesJson = true
          isChanged = true
        }
      }
    }
  }
}

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

/** Past every end: each loop stops. */
const stopped = Number.POSITIVE_INFINITY

const walk = (root: Message, bytes: Uint8Array, limit: number): number => {
  let pos = 0
  let count = 0
  let isMalformed = false

  const malformed = () => {
    if (pos !== stopped) {
      isMalformed = true
      pos = stopped
    }
  }

  const add = (elements: number) => {
    count += elements
    if (count > limit) {
      pos = stopped
    }
  }

  const advance = (length: number) => {
    if (pos + length > bytes.length) {
      malformed()
    } else {
      pos += length
    }
  }

  /** A varint's lower 32 bits. */
  const uint32 = (): number => {
    let value = 0
    for (let length = 0; length < 10; length++) {
      const byte = bytes[pos++]
      if (byte === undefined) {
        malformed()
        return 0
      }
      if (length < 5) {
        value |= (byte & 0x7f) << (7 * length)
      }
      if (byte < 0x80) {
        return value >>> 0
      }
    }
    malformed()
    return 0
  }

  const skipScalar = (size: Size) => {
    if (size === "varint") {
      uint32()
    } else {
      advance(size === "lengthDelimited" ? uint32() : size)
    }
  }

  /** A field's number and wire type in one: zero where there is none. */
  const tag = (): number => {
    const start = pos
    const value = uint32()
    const length = pos - start
    if (length > 5 || (length === 5 && (bytes[pos - 1] ?? 0) > 0x0f) || value >>> 3 === 0 || (value & 7) > 5) {
      malformed()
    }
    return value
  }

  /** The fields of a group up to its end. */
  const skipGroup = (fieldNo: number, depth: number) => {
    if (depth >= maxDepth) {
      malformed()
    }
    while (pos !== stopped) {
      const inner = tag()
      if ((inner & 7) === WireType.EndGroup) {
        if (inner >>> 3 !== fieldNo) {
          malformed()
        }
        break
      }
      add(1)
      skipUnknown(inner, depth + 1)
    }
  }

  const skipUnknown = (tagged: number, depth: number) => {
    switch (tagged & 7) {
      case WireType.Varint:
        // Of any length, as protobuf-es skips it.
        while ((bytes[pos] ?? 0) >= 0x80) {
          pos++
        }
        advance(1)
        break
      case WireType.Bit64:
        advance(8)
        break
      case WireType.Bit32:
        advance(4)
        break
      case WireType.LengthDelimited:
        advance(uint32())
        break
      case WireType.StartGroup:
        skipGroup(tagged >>> 3, depth)
        break
      default:
        malformed()
    }
  }

  const readPacked = (size: Size) => {
    const length = uint32()
    // The field itself has been counted.
    if (typeof size === "number") {
      const elements = Math.ceil(length / size)
      advance(elements * size)
      return add(Math.max(0, elements - 1))
    }
    const end = pos + length
    for (let isFirst = true; pos < end; isFirst = false) {
      uint32()
      add(isFirst ? 0 : 1)
    }
  }

  const readChild = (child: Child, fieldNo: number, merged: Merged, depth: number) => {
    const isTracked = child.isMerged && (child.isJson || child.message.mergesJson)
    const inner = isTracked ? mergedOf(merged, fieldNo) : child.message.mergesJson ? emptyMerged() : merged
    if (isTracked && child.isJson) {
      add(inner.elements)
    }
    const before = count
    if (child.isGroup) {
      readMessage(child.message, stopped, fieldNo, inner, depth + 1)
    } else {
      const length = uint32()
      readMessage(child.message, pos + length, 0, inner, depth + 1)
    }
    if (isTracked) {
      inner.elements += count - before
    }
  }

  const readEntry = (field: Field & { readonly kind: "map" }, depth: number) => {
    const length = uint32()
    const end = pos + length
    const { value } = field
    const merged = typeof value === "object" && (value.isJson || value.message.mergesJson) ? emptyMerged() : noneMerged
    let records = 0
    while (pos < end) {
      const tagged = tag()
      if (pos === stopped) {
        return
      }
      // A key and a value are the entry, which has been counted.
      records += 1
      if (records > 2) {
        add(1)
      }
      const fieldNo = tagged >>> 3
      if (fieldNo === 1) {
        skipScalar(field.key)
      } else if (fieldNo !== 2) {
        skipUnknown(tagged, depth)
      } else if (typeof value === "object") {
        readChild(value, fieldNo, merged, depth)
      } else {
        skipScalar(value)
      }
    }
  }

  /** A message up to `end`, or, where it is a group, up to the end of that. */
  const readMessage = (message: Message, end: number, group: number, merged: Merged, depth: number): void => {
    if (depth > maxDepth) {
      malformed()
    }
    while (pos < end) {
      const tagged = tag()
      if (pos === stopped) {
        return
      }
      const fieldNo = tagged >>> 3
      if (group !== 0 && (tagged & 7) === WireType.EndGroup) {
        if (fieldNo !== group) {
          malformed()
        }
        return
      }
      add(1)
      const field = message.fields.get(fieldNo)
      if (field === undefined) {
        skipUnknown(tagged, depth)
      } else if (field.kind === "message") {
        readChild(field, fieldNo, merged, depth)
      } else if (field.kind === "map") {
        readEntry(field, depth)
      } else if (field.isPackable && (tagged & 7) === WireType.LengthDelimited) {
        readPacked(field.size)
      } else {
        skipScalar(field.size)
      }
    }
  }

  readMessage(root, bytes.length, 0, root.mergesJson ? emptyMerged() : noneMerged, 1)
  return isMalformed ? -1 : count
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
    if (message === undefined) {
      message = compile(desc)
      findJson(message)
    }
    return bytes.length <= limit && !message.mergesJson ? bytes.length : walk(message, bytes, limit)
  }
}
