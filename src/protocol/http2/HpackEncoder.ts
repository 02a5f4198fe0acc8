/**
 * The encoding half of HPACK (RFC 7541), made for calls that begin alike.
 *
 * Nothing is evicted: what is found worth it is inserted while there is room, and then the table stays as it is. So indices
 * settle after the first calls of a connection, and the bytes of a head are copied from then on.
 */
import { type Field, type Fields, secrets, sizeOf } from "../Fields.js"
import { maxOverhead, writeInteger, writeString } from "../Primitives.js"
import * as StaticTable from "../StaticTable.js"
import { defaultTableSize, firstDynamicIndex, hpackTable } from "./HpackTable.js"

export interface Options {
  /** The most bytes of a dynamic table, whatever the peer allows: it is kept on both sides. `defaultTableSize` by default. */
  readonly maxTableSize?: number | undefined
}

/** Fields that many blocks begin with, and how this encoder writes them. */
export interface Head {
  readonly fields: Fields
  readonly maxSize: number
  lines: Uint8Array
  /** The state of the table in which `lines` are right. */
  state: object | undefined
}

export interface Encoder {
  /** For the blocks of this encoder alone. Its fields are inserted at once. */
  readonly makeHead: (fields: Fields) => Head
  /** The most bytes that `write` takes. */
  readonly maxSize: (head: Head | undefined, rest: Fields) => number
  /**
   * Writes a block where there is room for it, and returns the position behind it. Since it may change the table, it must be
   * sent, before any that is written later. A character beyond Latin-1, or too little room, is thrown as a RangeError: nothing of
   * that block may be sent, and the next one begins with an empty table.
   */
  readonly write: (buffer: Buffer, start: number, head: Head | undefined, rest: Fields) => number
  /** The peer's SETTINGS_HEADER_TABLE_SIZE, which the next block acknowledges where it must. */
  readonly setMaxTableSize: (size: number) => void
}

const staticTable = StaticTable.make(hpackTable, 1)

/** Values that differ from block to block. One is inserted where its name is in no table, for the name's sake. */
const varying = new Set(["grpc-timeout", "grpc-message", "content-length", "date", "age"])

/** How many fields are remembered that were sent once, a power of two. */
const maxSeen = 64

/** Two updates of the table's size. */
const updatesSize = 12

/** An inserted field, and the one that was inserted before under the same name. */
interface Inserted {
  readonly value: string
  /** Entries before it. */
  readonly position: number
  readonly older: Inserted | undefined
}

const withValue = (latest: Inserted | undefined, value: string): Inserted | undefined => {
  let entry = latest
  while (entry !== undefined && entry.value !== value) {
    entry = entry.older
  }
  return entry
}

const slotOf = ([name, value]: Field): number => {
  const { length } = value
  const ends = value.charCodeAt(0) + 31 * value.charCodeAt(length - 1) + 7 * value.charCodeAt(length >> 1)
  return (ends + 17 * length + 5 * name.length + name.charCodeAt(name.length - 1)) & (maxSeen - 1)
}

const sizeOfAll = (fields: Fields): number => {
  let size = 0
  for (const [name, value] of fields) {
    size += maxOverhead + name.length + value.length
  }
  return size
}

export const make = ({ maxTableSize = defaultTableSize }: Options = {}): Encoder => {
  /** The latest entry of each name. */
  let entries = new Map<string, Inserted>()
  let inserted = 0
  let size = 0
  /** What of it is metadata, which leaves half of the table to heads. */
  let sizeOfRest = 0
  /** Another object for each state of the table and its size. */
  let state = {}
  /** What was sent once: it is inserted when it comes again. */
  const seen = new Array<Field | undefined>(maxSeen).fill(undefined)

  /** The capacity that the peer knows of, the one that is to be, and the smallest one in between. */
  let told = defaultTableSize
  let capacity = Math.min(maxTableSize, defaultTableSize)
  let smallest = capacity
  let mustClear = false

  const clear = () => {
    entries = new Map()
    inserted = 0
    size = 0
    sizeOfRest = 0
    state = {}
  }

  const writeUpdate = (buffer: Buffer, at: number, limit: number): number => {
    told = limit
    return writeInteger(buffer, at, 0x20, 5, limit)
  }

  /** RFC 7541 section 4.2: the smallest size in between, then the last. */
  const writeUpdates = (buffer: Buffer, start: number): number => {
    let at = start
    if (mustClear || size > smallest) {
      clear()
      at = writeUpdate(buffer, at, 0)
    } else if (smallest < told && smallest < capacity) {
      at = writeUpdate(buffer, at, smallest)
    }
    mustClear = false
    smallest = capacity
    return told === capacity ? at : writeUpdate(buffer, at, capacity)
  }

  const isSeen = (field: Field): boolean => {
    const slot = slotOf(field)
    const before = seen[slot]
    if (before !== undefined && before[0] === field[0] && before[1] === field[1]) {
      seen[slot] = undefined
      return true
    }
    seen[slot] = field
    return false
  }

  /** Whether a field that no table has is to be inserted. */
  const isWorthwhile = (field: Field, isOfHead: boolean, isNameKnown: boolean): boolean => {
    const room = sizeOf(field)
    if (size + room > capacity) {
      return false
    }
    if (isOfHead) {
      return 4 * room <= capacity
    }
    if (8 * room > capacity || 2 * (sizeOfRest + room) > capacity || field[0].endsWith("-bin")) {
      return false
    }
    return varying.has(field[0]) ? !isNameKnown : isSeen(field)
  }

  const insert = (field: Field, isOfHead: boolean) => {
    const [name, value] = field
    entries.set(name, { value, position: inserted, older: entries.get(name) })
    inserted += 1
    size += sizeOf(field)
    sizeOfRest += isOfHead ? 0 : sizeOf(field)
    state = {}
  }

  const indexOf = (entry: Inserted): number => firstDynamicIndex + inserted - 1 - entry.position

  const writeLiteral = (
    buffer: Buffer,
    start: number,
    flags: number,
    prefix: number,
    nameIndex: number,
    [name, value]: Field
  ): number => {
    const at = writeInteger(buffer, start, flags, prefix, nameIndex)
    return writeString(buffer, nameIndex === 0 ? writeString(buffer, at, 0, 7, name) : at, 0, 7, value)
  }

  const writeField = (buffer: Buffer, at: number, field: Field, isOfHead: boolean): number => {
    const [name, value] = field
    const known = staticTable.get(name)
    const latest = entries.get(name)
    const nameIndex = known?.index ?? (latest === undefined ? 0 : indexOf(latest))
    if (secrets.has(name)) {
      return writeLiteral(buffer, at, 0x10, 4, nameIndex, field)
    }
    const index = known?.values.get(value)
    if (index !== undefined) {
      return writeInteger(buffer, at, 0x80, 7, index)
    }
    const entry = withValue(latest, value)
    if (entry !== undefined) {
      return writeInteger(buffer, at, 0x80, 7, indexOf(entry))
    }
    if (isWorthwhile(field, isOfHead, nameIndex !== 0)) {
      const end = writeLiteral(buffer, at, 0x40, 6, nameIndex, field)
      insert(field, isOfHead)
      return end
    }
    return writeLiteral(buffer, at, 0, 4, nameIndex, field)
  }

  const writeHead = (buffer: Buffer, start: number, head: Head): number => {
    if (head.state === state) {
      buffer.set(head.lines, start)
      return start + head.lines.length
    }
    const before = state
    let at = start
    for (const field of head.fields) {
      at = writeField(buffer, at, field, true)
    }
    if (before === state) {
      head.lines = new Uint8Array(buffer.subarray(start, at))
      head.state = state
    }
    return at
  }

  return {
    makeHead: (fields) => ({ fields, maxSize: sizeOfAll(fields), lines: new Uint8Array(0), state: undefined }),
    maxSize: (head, rest) => updatesSize + (head?.maxSize ?? 0) + sizeOfAll(rest),
    write: (buffer, start, head, rest) => {
      try {
        let at = writeUpdates(buffer, start)
        if (head !== undefined) {
          at = writeHead(buffer, at, head)
        }
        for (const field of rest) {
          at = writeField(buffer, at, field, false)
        }
        if (at > buffer.length) {
          throw new RangeError("a header block with less room than maxSize says")
        }
        return at
      } catch (error) {
        mustClear = true
        throw error
      }
    },
    setMaxTableSize: (limit) => {
      capacity = Math.min(maxTableSize, limit)
      // A head that had no room may have some now.
      state = {}
      smallest = Math.min(smallest, capacity)
    }
  }
}
