/**
 * What a frame of a peer's would decode to, found out before it is decoded. Five bytes of MessagePack reserve 256 MiB, and
 * a decoder can't be stopped once it has begun.
 *
 * A scan goes on where it was when more bytes come, so that a frame in pieces of one byte costs no more than in one.
 */

export interface Limits {
  /** Bytes of a frame. */
  readonly maxFrameSize: number
  /** Items of lists, keys and values of maps, at any depth. */
  readonly maxFrameElements: number
}

export interface Scan {
  /**
   * Goes on over a frame that begins at `start` in `bytes` and of which nothing after `end` has been received. Returns the
   * frame's length when it is complete, 0 when it goes on, and what is wrong with it. After a complete frame the next call
   * is about another.
   */
  readonly next: (bytes: Uint8Array, start: number, end: number) => number | string
}

const maxDepth = 64

/** Digits of a JSON number and bytes of a MessagePack integer: reading and printing long ones takes time quadratic in them. */
const maxNumberLength = 1024

/** msgpackr compiles a function for each record that is used a few times. */
const recordElements = 64

const tooDeep = `a frame more than ${maxDepth} levels deep`
const tooMany = "a frame with more elements than are allowed"
const tooLarge = "a frame larger than is allowed"
const longNumber = `a number longer than ${maxNumberLength}`

/** What the values are in which a scan of MessagePack is. */
enum Kind {
  Values,
  /** The names of a record, after which as many values follow. */
  Names,
  /** What msgpackr iterates over when it makes a Set or an Error: strings and bytes count by their length. */
  Iterated
}

/** MessagePack as msgpackr reads it, with its records and extensions. */
export const makeMsgPack = ({ maxFrameElements, maxFrameSize }: Limits): Scan => {
  const remaining = new Int32Array(maxDepth + 1)
  const kinds = new Uint8Array(maxDepth + 1)
  const lengths = new Int32Array(maxDepth + 1)
  /** The number of values of each record that the frame has defined, or -1. */
  const records = new Int32Array(64)
  let depth = 0
  let pos = 0
  let elements = 0
  let error: string | undefined

  const reset = () => {
    depth = 0
    pos = 0
    elements = 1
    remaining[0] = 1
    kinds[0] = Kind.Values
    records.fill(-1)
  }
  reset()

  const add = (count: number) => {
    elements += count
    if (elements > maxFrameElements) {
      error = tooMany
    }
  }

  /** A value that is no container, of which `length` bytes follow its header. */
  const scalar = (header: number, length: number) => {
    remaining[depth] = (remaining[depth] ?? 0) - 1
    if (kinds[depth] === Kind.Iterated) {
      add(length)
    }
    pos += header + length
    if (pos > maxFrameSize) {
      error = tooLarge
    }
  }

  const container = (header: number, count: number, kind: Kind) => {
    if (kinds[depth] === Kind.Names) {
      error = "a record whose names are none"
      return
    }
    remaining[depth] = (remaining[depth] ?? 0) - 1
    pos += header
    add(kind === Kind.Names ? 2 * count + recordElements : count)
    if (depth === maxDepth) {
      error = tooDeep
    } else if (count > 0 && error === undefined) {
      depth += 1
      remaining[depth] = count
      lengths[depth] = count
      kinds[depth] = kind
    }
  }

  const uint = (bytes: Uint8Array, at: number, length: number) => {
    let value = 0
    for (let i = 0; i < length; i++) {
      value = value * 256 + (bytes[at + i] ?? 0)
    }
    return value
  }

  /** The array that has to follow an extension: the length of its header and its items, or undefined until that is there. */
  const arrayAt = (bytes: Uint8Array, at: number, end: number): readonly [number, number] | undefined => {
    const token = bytes[at] ?? 0
    const size = token === 0xdc ? 2 : token === 0xdd ? 4 : 0
    if (at + size >= end) {
      return undefined
    }
    if (size === 0 && (token & 0xf0) !== 0x90) {
      error = "an extension without its array"
      return undefined
    }
    return [size + 1, size === 0 ? token & 0x0f : uint(bytes, at + 1, size)]
  }

  const extension = (bytes: Uint8Array, at: number, end: number, header: number, length: number) => {
    const type = bytes[at + header - 1] ?? 0
    switch (type) {
      // Bundled strings, and references that make a value larger than its bytes: neither is on unless asked for.
      case 0x62:
      case 0x69:
      case 0x70:
        error = "an extension that is not allowed"
        return
      case 0x72: {
        const array = bytes[at] === 0xd4 ? arrayAt(bytes, at + 3, end) : undefined
        if (bytes[at] !== 0xd4) {
          error = "an extension that is not allowed"
        } else if (array !== undefined) {
          records[(bytes[at + 2] ?? 0) & 0x3f] = array[1]
          container(3 + array[0], array[1], Kind.Names)
        }
        return
      }
      case 0x65:
      case 0x73:
      case 0x78: {
        if (pos + header + length > maxFrameSize) {
          error = tooLarge
          return
        }
        const array = at + header + length < end ? arrayAt(bytes, at + header + length, end) : undefined
        if (array !== undefined) {
          container(header + length + array[0], array[1], Kind.Iterated)
        }
        return
      }
      case 0x42:
        if (length > maxNumberLength) {
          error = longNumber
          return
        }
    }
    scalar(header, length)
  }

  /** Goes past one value's header, and past the value where it holds no others. Stays where it is until all is there. */
  const value = (bytes: Uint8Array, at: number, end: number) => {
    const token = bytes[at] ?? 0
    const sized = (header: number) => at + header < end
    if (token < 0x40 || token >= 0xe0) {
      scalar(1, 0)
    } else if (token < 0x80) {
      const count = records[token & 0x3f] ?? -1
      if (count < 0) {
        scalar(1, 0)
      } else {
        container(1, count, Kind.Values)
      }
    } else if (token < 0x90) {
      container(1, 2 * (token & 0x0f), Kind.Values)
    } else if (token < 0xa0) {
      container(1, token & 0x0f, Kind.Values)
    } else if (token < 0xc0) {
      scalar(1, token & 0x1f)
    } else {
      switch (token) {
        case 0xc0:
        case 0xc2:
        case 0xc3:
          return scalar(1, 0)
        case 0xc1:
          error = "a byte that MessagePack does not use"
          return
        case 0xca:
        case 0xce:
        case 0xd2:
          return scalar(1, 4)
        case 0xcb:
        case 0xcf:
        case 0xd3:
          return scalar(1, 8)
        case 0xcc:
        case 0xd0:
          return scalar(1, 1)
        case 0xcd:
        case 0xd1:
          return scalar(1, 2)
      }
      // Those whose length, or the number of whose items, stands in the next 1, 2 or 4 bytes.
      const size = sizes[token - 0xc0] ?? 0
      if (size > 0 && !sized(size)) {
        return
      }
      const length = uint(bytes, at + 1, size)
      if (token === 0xdc || token === 0xdd) {
        container(size + 1, length, Kind.Values)
      } else if (token === 0xde || token === 0xdf) {
        container(size + 1, 2 * length, Kind.Values)
      } else if (token >= 0xd4 && token <= 0xd8) {
        if (sized(1)) {
          extension(bytes, at, end, 2, 1 << (token - 0xd4))
        }
      } else if (token >= 0xc7 && token <= 0xc9) {
        if (sized(size + 1)) {
          extension(bytes, at, end, size + 2, length)
        }
      } else {
        scalar(size + 1, length)
      }
    }
  }

  return {
    next: (bytes, start, end) => {
      while (true) {
        while (remaining[depth] === 0) {
          if (depth === 0) {
            if (start + pos > end) {
              return 0
            }
            const length = pos
            reset()
            return length
          }
          if (kinds[depth] === Kind.Names) {
            kinds[depth] = Kind.Values
            remaining[depth] = lengths[depth] ?? 0
          } else {
            depth -= 1
          }
        }
        if (start + pos >= end) {
          return 0
        }
        const before = pos
        value(bytes, start + pos, end)
        if (error !== undefined) {
          return error
        }
        if (pos === before) {
          return 0
        }
      }
    }
  }
}

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

const code = (char: string) => char.charCodeAt(0)
const newline = code("\n")
const quote = code('"')
const backslash = code("\\")

/** What stands in a JSON text outside of its strings. */
enum Json {
  Other,
  Number,
  Open,
  Close,
  Next
}

const jsonTable = new Uint8Array(256)
for (const char of "0123456789+-.eE") {
  jsonTable[code(char)] = Json.Number
}
for (const char of "[{") {
  jsonTable[code(char)] = Json.Open
}
for (const char of "]}") {
  jsonTable[code(char)] = Json.Close
}
for (const char of ",:") {
  jsonTable[code(char)] = Json.Next
}

/** JSON: one text a line, or all that there is. What is no JSON at all is left to the parser to say. */
export const makeJson = ({ maxFrameElements, maxFrameSize }: Limits, isLines: boolean): Scan => {
  let pos = 0
  let depth = 0
  let elements = 1
  let digits = 0
  let isString = false
  let isEscaped = false

  const reset = () => {
    pos = 0
    depth = 0
    elements = 1
    digits = 0
    isString = false
    isEscaped = false
  }

  return {
    next: (bytes, start, end) => {
      for (let at = start + pos; at < end; at++) {
        const byte = bytes[at] ?? 0
        if (byte === newline && isLines) {
          const length = at + 1 - start
          reset()
          return length > maxFrameSize + 1 ? tooLarge : length
        }
        if (isString) {
          if (isEscaped) {
            isEscaped = false
          } else if (byte === backslash) {
            isEscaped = true
          } else if (byte === quote) {
            isString = false
          }
          continue
        }
        if (byte === quote) {
          isString = true
          digits = 0
          continue
        }
        const kind = jsonTable[byte]
        if (kind === Json.Number) {
          digits += 1
          if (digits > maxNumberLength) {
            return longNumber
          }
          continue
        }
        digits = 0
        if (kind === Json.Open) {
          depth += 1
          elements += 1
          if (depth > maxDepth) {
            return tooDeep
          }
        } else if (kind === Json.Close) {
          depth -= 1
        } else if (kind === Json.Next) {
          elements += 1
        }
        if (elements > maxFrameElements) {
          return tooMany
        }
      }
      pos = end - start
      return pos > maxFrameSize ? tooLarge : 0
    }
  }
}
