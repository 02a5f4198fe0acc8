/**
 * The decoding half of HPACK (RFC 7541). Header blocks of all streams share one dynamic table, so that each is decoded to its
 * end, whatever becomes of its stream: of a block beyond the limits fields are counted, but not made.
 *
 * What a block costs is in proportion to its bytes, not to what they expand to.
 */
import { type Field, type Fields, sizeOf } from "../Fields.js"
import * as HeadCache from "../HeadCache.js"
import { type Reader, readByte, readInteger, readString, skipString } from "../Primitives.js"
import { firstDynamicIndex, hpackTable, makeDynamicTable } from "./HpackTable.js"

export interface Options {
  /** SETTINGS_MAX_HEADER_LIST_SIZE: the largest list of fields, with 32 bytes for each besides its name and value. */
  readonly maxHeaderListSize: number
  /** The most fields of a block, `defaultMaxFields` unless said otherwise: each of them costs more than its bytes. */
  readonly maxFields?: number | undefined
}

export const defaultMaxFields = 1024

/** What a header block says. */
export interface Section {
  /** Where it is too large, those before the one that was too much. */
  readonly fields: Fields
  /** The size of all fields, as SETTINGS_MAX_HEADER_LIST_SIZE counts it. */
  readonly size: number
  /** The number of all fields. */
  readonly count: number
  /** There are more fields, or larger ones, than the limits allow: the stream is to be refused, and no other. */
  readonly isTooLarge: boolean
  /** The same bytes will return this very object: what is derived from it can be kept in a `WeakMap`. */
  readonly isShared: boolean
}

/** A block that breaks RFC 7541: a connection error of type COMPRESSION_ERROR. The decoder is of no use afterwards. */
export class CompressionError {
  readonly _tag = "CompressionError"
  constructor(readonly text: string) {}
}

export interface Decoder {
  /**
   * Decodes a whole block, the fragments of CONTINUATION frames included. Blocks must come in the order of their arrival, those
   * of streams that are refused or reset included. Nothing of `bytes` is kept.
   */
  readonly decode: (bytes: Buffer, start: number, end: number) => Section | CompressionError
  /** The peer has acknowledged a SETTINGS_HEADER_TABLE_SIZE. Until the first, `defaultTableSize` is in force. */
  readonly setMaxTableSize: (size: number) => void
}

const violation = (text: string) => new CompressionError(text)

/** A section that is being made. */
interface Draft {
  readonly fields: Array<Field>
  size: number
  count: number
  isTooLarge: boolean
}

export const make = ({ maxFields = defaultMaxFields, maxHeaderListSize }: Options): Decoder => {
  const table = makeDynamicTable()
  /** Blocks that said something under the table as it is. */
  const cache = HeadCache.make<Section>()
  let maxTableSize = table.capacity()
  /** The size to which the next block must reduce the table, if it must: RFC 7541 section 4.2. */
  let required: number | undefined

  const fieldAt = (index: number): Field => {
    const field = index < firstDynamicIndex ? hpackTable[index - 1] : table.get(index)
    if (field === undefined) {
      throw violation(`index ${index}, which no table has`)
    }
    return field
  }

  const count = (draft: Draft, size: number) => {
    draft.size += size
    draft.count += 1
    draft.isTooLarge ||= draft.size > maxHeaderListSize || draft.count > maxFields
  }

  const add = (draft: Draft, field: Field) => {
    count(draft, sizeOf(field))
    if (!draft.isTooLarge) {
      draft.fields.push(field)
    }
  }

  const resize = (reader: Reader, first: number) => {
    const size = readInteger(reader, first, 5)
    if (size > Math.min(maxTableSize, required ?? maxTableSize)) {
      throw violation(`a dynamic table of ${size} bytes, which is more than this end allows`)
    }
    required = undefined
    cache.clear()
    table.setCapacity(size)
  }

  /** A literal field: its name, of the table or new, and its value. */
  const readLiteral = (reader: Reader, first: number, prefix: number): Field => {
    const index = readInteger(reader, first, prefix)
    const name = index === 0 ? readString(reader, readByte(reader), 7) : fieldAt(index)[0]
    return [name, readString(reader, readByte(reader), 7)]
  }

  const skipLiteral = (reader: Reader, first: number, draft: Draft) => {
    const index = readInteger(reader, first, 4)
    const name = index === 0 ? skipString(reader, readByte(reader), 7) : fieldAt(index)[0].length
    count(draft, 32 + name + skipString(reader, readByte(reader), 7))
  }

  /** Returns whether the table stayed as it was. */
  const readBlock = (reader: Reader, draft: Draft): boolean => {
    let isStable = true
    let isAtStart = true
    while (reader.at < reader.end) {
      const first = readByte(reader)
      if ((first & 0xe0) === 0x20) {
        if (!isAtStart) {
          throw violation("a size of the dynamic table behind a field")
        }
        isStable = false
        resize(reader, first)
        continue
      }
      if (required !== undefined) {
        throw violation(`a block that does not reduce the dynamic table to the ${required} bytes of the settings`)
      }
      isAtStart = false
      if (first >= 0x80) {
        add(draft, fieldAt(readInteger(reader, first, 7)))
      } else if (first >= 0x40) {
        isStable = false
        cache.clear()
        const field = readLiteral(reader, first, 6)
        table.insert(field)
        add(draft, field)
      } else if (draft.isTooLarge) {
        skipLiteral(reader, first, draft)
      } else {
        add(draft, readLiteral(reader, first, 4))
      }
    }
    return isStable
  }

  const decode = (bytes: Buffer, start: number, end: number): Section => {
    const draft: Draft = { fields: [], size: 0, count: 0, isTooLarge: false }
    const isStable = readBlock({ bytes, at: start, end, violation }, draft)
    const isShared = isStable && !draft.isTooLarge && HeadCache.isShort(start, end)
    const { count, fields, isTooLarge, size } = draft
    const section: Section = { fields, size, count, isTooLarge, isShared }
    if (isShared) {
      cache.keep(bytes, start, end, section)
    }
    return section
  }

  return {
    decode: (bytes, start, end) => {
      try {
        return cache.find(bytes, start, end) ?? decode(bytes, start, end)
      } catch (error) {
        if (error instanceof CompressionError) {
          return error
        }
        throw error
      }
    },
    setMaxTableSize: (size) => {
      maxTableSize = size
      if (size < Math.min(table.capacity(), required ?? table.capacity())) {
        required = size
        cache.clear()
      }
    }
  }
}
