/** The scan of MessagePack as msgpackr reads it, with its records and extensions. */
import { type Limits, longNumber, maxNumberLength, type Scan, tooLarge } from "./frameScan.js"
import * as Nesting from "./msgPackNesting.js"
import { container, Kind, scalar } from "./msgPackNesting.js"

/** How many bytes of length follow each token from 0xc0 on. */
const sizes = Uint8Array.from({ length: 0x20 }, (_, i) => {
  switch (0xc0 + i) {
    case 0xc4:
    case 0xc7:
    case 0xd9:
      return 1
    case 0xc5:
    case 0xc8:
    case 0xda:
    case 0xdc:
    case 0xde:
      return 2
    case 0xc6:
    case 0xc9:
    case 0xdb:
    case 0xdd:
    case 0xdf:
      return 4
    default:
      return 0
  }
})

const uint = (bytes: Uint8Array, at: number, length: number) => {
  let value = 0
  for (let i = 0; i < length; i++) {
    value = value * 256 + (bytes[at + i] ?? 0)
  }
  return value
}

/** The array that has to follow an extension: the length of its header and its items, or undefined until that is there. */
const arrayAt = (
  nesting: Nesting.Nesting,
  bytes: Uint8Array,
  at: number,
  end: number
): readonly [number, number] | undefined => {
  const token = bytes[at] ?? 0
  const size = token === 0xdc ? 2 : token === 0xdd ? 4 : 0
  if (at + size >= end) {
    return undefined
  }
  if (size === 0 && (token & 0xf0) !== 0x90) {
    nesting.error = "an extension without its array"
    return undefined
  }
  return [size + 1, size === 0 ? token & 0x0f : uint(bytes, at + 1, size)]
}

const extension = (
  nesting: Nesting.Nesting,
  bytes: Uint8Array,
  at: number,
  end: number,
  header: number,
  length: number
): void => {
  const type = bytes[at + header - 1] ?? 0
  switch (type) {
    // Bundled strings, and references that make a value larger than its bytes: neither is on unless asked for.
    case 0x62:
    case 0x69:
    case 0x70:
      nesting.error = "an extension that is not allowed"
      return
    case 0x72: {
      const array = bytes[at] === 0xd4 ? arrayAt(nesting, bytes, at + 3, end) : undefined
      if (bytes[at] !== 0xd4) {
        nesting.error = "an extension that is not allowed"
      } else if (array !== undefined) {
        nesting.records[(bytes[at + 2] ?? 0) & 0x3f] = array[1]
        container(nesting, 3 + array[0], array[1], Kind.Names)
      }
      return
    }
    case 0x65:
    case 0x73:
    case 0x78: {
      if (nesting.pos + header + length > nesting.limits.maxFrameSize) {
        nesting.error = tooLarge
        return
      }
      const array = at + header + length < end ? arrayAt(nesting, bytes, at + header + length, end) : undefined
      if (array !== undefined) {
        container(nesting, header + length + array[0], array[1], Kind.Iterated)
      }
      return
    }
    case 0x42:
      if (length > maxNumberLength) {
        nesting.error = longNumber
        return
      }
  }
  scalar(nesting, header, length)
}

/** Goes past one value's header, and past the value where it holds no others. Stays where it is until all is there. */
const value = (nesting: Nesting.Nesting, bytes: Uint8Array, at: number, end: number): void => {
  const token = bytes[at] ?? 0
  if (token < 0x40 || token >= 0xe0) {
    scalar(nesting, 1, 0)
  } else if (token < 0x80) {
    const count = nesting.records[token & 0x3f] ?? -1
    if (count < 0) {
      scalar(nesting, 1, 0)
    } else {
      container(nesting, 1, count, Kind.Values)
    }
  } else if (token < 0x90) {
    container(nesting, 1, 2 * (token & 0x0f), Kind.Values)
  } else if (token < 0xa0) {
    container(nesting, 1, token & 0x0f, Kind.Values)
  } else if (token < 0xc0) {
    scalar(nesting, 1, token & 0x1f)
  } else {
    longValue(nesting, bytes, at, end, token)
  }
}

/** A value whose token, from 0xc0 on, tells its type alone. */
const longValue = (nesting: Nesting.Nesting, bytes: Uint8Array, at: number, end: number, token: number) => {
  switch (token) {
    case 0xc0:
    case 0xc2:
    case 0xc3:
      return scalar(nesting, 1, 0)
    case 0xc1:
      nesting.error = "a byte that MessagePack does not use"
      return
    case 0xca:
    case 0xce:
    case 0xd2:
      return scalar(nesting, 1, 4)
    case 0xcb:
    case 0xcf:
    case 0xd3:
      return scalar(nesting, 1, 8)
    case 0xcc:
    case 0xd0:
      return scalar(nesting, 1, 1)
    case 0xcd:
    case 0xd1:
      return scalar(nesting, 1, 2)
  }
  const isThere = (header: number) => at + header < end
  // Those whose length, or the number of whose items, stands in the next 1, 2 or 4 bytes.
  const size = sizes[token - 0xc0] ?? 0
  if (size > 0 && !isThere(size)) {
    return
  }
  const length = uint(bytes, at + 1, size)
  if (token === 0xdc || token === 0xdd) {
    container(nesting, size + 1, length, Kind.Values)
  } else if (token === 0xde || token === 0xdf) {
    container(nesting, size + 1, 2 * length, Kind.Values)
  } else if (token >= 0xd4 && token <= 0xd8) {
    if (isThere(1)) {
      extension(nesting, bytes, at, end, 2, 1 << (token - 0xd4))
    }
  } else if (token >= 0xc7 && token <= 0xc9) {
    if (isThere(size + 1)) {
      extension(nesting, bytes, at, end, size + 2, length)
    }
  } else {
    scalar(nesting, size + 1, length)
  }
}

export const make = (limits: Limits): Scan => {
  const nesting = Nesting.make(limits)
  return {
    next: (bytes, start, end) => {
      while (true) {
        if (Nesting.unwind(nesting)) {
          const length = nesting.pos
          if (start + length > end) {
            return 0
          }
          Nesting.reset(nesting)
          return length
        }
        const before = nesting.pos
        if (start + before >= end) {
          return 0
        }
        value(nesting, bytes, start + before, end)
        if (nesting.error !== undefined) {
          return nesting.error
        }
        if (nesting.pos === before) {
          return 0
        }
      }
    }
  }
}
