/**
 * The Huffman code of RFC 7541 appendix B, which HPACK and QPACK use for strings.
 */

/** Bits of the code of each byte, and of the end of string. The code is canonical: the lengths say all. */
const lengths = [
  13, 23, 28, 28, 28, 28, 28, 28, 28, 24, 30, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 30, 28, 28, 28, 28, 28, 28,
  28, 28, 28, 6, 10, 10, 12, 13, 6, 8, 11, 10, 10, 8, 11, 8, 6, 6, 6, 5, 5, 5, 6, 6, 6, 6, 6, 6, 6, 7, 8, 15, 6, 12, 10,
  13, 6, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 8, 7, 8, 13, 19, 13, 14, 6, 15, 5, 6, 5, 6,
  5, 6, 6, 6, 5, 7, 7, 6, 6, 6, 5, 6, 7, 6, 5, 5, 6, 7, 7, 7, 7, 7, 15, 11, 14, 13, 28, 20, 22, 20, 20, 22, 22, 22, 23,
  22, 23, 23, 23, 23, 23, 24, 23, 24, 24, 22, 23, 24, 23, 23, 23, 23, 21, 22, 23, 22, 23, 23, 24, 22, 21, 20, 22, 22,
  23, 23, 21, 23, 22, 22, 24, 21, 22, 23, 23, 21, 21, 22, 21, 23, 22, 23, 23, 20, 22, 22, 22, 23, 22, 22, 23, 26, 26,
  20, 19, 22, 23, 22, 25, 26, 26, 26, 27, 27, 26, 24, 25, 19, 21, 26, 27, 27, 26, 27, 24, 21, 21, 26, 26, 28, 27, 27,
  27, 20, 24, 20, 21, 22, 21, 21, 23, 22, 22, 25, 25, 24, 24, 26, 23, 26, 27, 26, 26, 27, 27, 27, 27, 27, 28, 27, 27,
  27, 27, 27, 26, 30
]

const endOfString = 256

const bits = Uint8Array.from(lengths)
const codes = new Uint32Array(257)

/**
 * A decoder that takes four bits at a time. States are the inner nodes of the code's tree; an entry is the state that
 * four bits lead to, with the byte they complete, if any: no code is shorter than five bits.
 */
const steps = new Uint32Array(256 * 16)
const hasByte = 0x100
const isEnd = 0x200
/** The states in which a string may end: what is left over are at most seven ones. */
const accepts = new Uint8Array(256)

const build = () => {
  const children: Array<[number, number]> = [[0, 0]]
  const leaf = 0x1000
  let code = 0
  for (let length = 5; length <= 30; length++) {
    code *= 2
    for (let symbol = 0; symbol <= endOfString; symbol++) {
      if (bits[symbol] !== length) {
        continue
      }
      codes[symbol] = code
      let node: [number, number] | undefined = children[0]
      for (let bit = length - 1; bit >= 0 && node !== undefined; bit--) {
        const side: 0 | 1 = ((code >>> bit) & 1) === 0 ? 0 : 1
        if (bit === 0) {
          node[side] = leaf + symbol
        } else if (node[side] === 0) {
          node[side] = children.push([0, 0]) - 1
        }
        node = children[node[side]]
      }
      code += 1
    }
  }
  children.forEach((_, state) => {
    for (let nibble = 0; nibble < 16; nibble++) {
      let at = state
      let output = 0
      for (let bit = 3; bit >= 0; bit--) {
        at = children[at]?.[((nibble >>> bit) & 1) === 0 ? 0 : 1] ?? 0
        if (at === leaf + endOfString) {
          output = isEnd
          at = 0
        } else if (at >= leaf) {
          output = hasByte | ((at - leaf) << 16)
          at = 0
        }
      }
      steps[state * 16 + nibble] = at | output
    }
  })
  for (let ones = 0, state = 0; ones < 8; ones++) {
    accepts[state] = 1
    state = children[state]?.[1] ?? 0
  }
}

build()

/** The size of a string of bytes when it is encoded. A string with other characters is a mistake of the caller. */
export const encodedSize = (text: string): number => {
  let size = 0
  let all = 0
  for (let i = 0; i < text.length; i++) {
    const code = text.charCodeAt(i)
    all |= code
    size += bits[code & 0xff] ?? 0
  }
  if (all > 0xff) {
    throw new RangeError("a header field with characters beyond Latin-1")
  }
  return (size + 7) >>> 3
}

/** Writes a string of bytes and gives the position behind it. */
export const write = (buffer: Buffer, start: number, text: string): number => {
  let at = start
  let pending = 0
  let count = 0
  for (let i = 0; i < text.length; i++) {
    const symbol = text.charCodeAt(i)
    let code = codes[symbol] ?? 0
    let length = bits[symbol] ?? 0
    if (length > 24) {
      // With what is pending it would not fit into 32 bits.
      pending = (pending << (length - 16)) | (code >>> 16)
      count += length - 16
      while (count >= 8) {
        count -= 8
        buffer[at++] = pending >>> count
      }
      code &= 0xffff
      length = 16
    }
    pending = (pending << length) | code
    count += length
    while (count >= 8) {
      count -= 8
      buffer[at++] = pending >>> count
    }
  }
  if (count > 0) {
    buffer[at++] = (pending << (8 - count)) | (0xff >>> count)
  }
  return at
}

let scratch = Buffer.allocUnsafeSlow(4096)

/** Decodes into `scratch` and returns how many bytes there are; undefined where nothing is encoded like that. */
const decode = (bytes: Uint8Array, start: number, end: number): number | undefined => {
  if ((end - start) * 2 > scratch.length) {
    scratch = Buffer.allocUnsafeSlow((end - start) * 2)
  }
  const out = scratch
  let size = 0
  let state = 0
  for (let at = start; at < end; at++) {
    const byte = bytes[at] ?? 0
    const high = steps[state * 16 + (byte >>> 4)] ?? 0
    if ((high & hasByte) !== 0) {
      out[size++] = high >>> 16
    }
    const low = steps[(high & 0xff) * 16 + (byte & 0xf)] ?? 0
    if ((low & hasByte) !== 0) {
      out[size++] = low >>> 16
    }
    if (((high | low) & isEnd) !== 0) {
      return undefined
    }
    state = low & 0xff
  }
  return accepts[state] === 1 ? size : undefined
}

/** The string that was encoded as these bytes; undefined where they are no such string. */
export const read = (bytes: Uint8Array, start: number, end: number): string | undefined => {
  const size = decode(bytes, start, end)
  return size === undefined ? undefined : scratch.toString("latin1", 0, size)
}

/** The length of that string, which is not made. */
export const measure = decode
