/**
 * BER (X.690, section 8) as far as PKCS#12 and PKCS#8 need it: tags below 31, definite and indefinite lengths, strings
 * in pieces. The file may come from anybody, so depth and number of elements are bounded, and no bytes are copied.
 */

/** One value with its tag. */
export interface Element {
  /** The identifier octet. */
  readonly tag: number
  /** The content of a primitive element; empty in a constructed one. */
  readonly bytes: Buffer
  /** The elements in a constructed one. */
  readonly children: ReadonlyArray<Element> | undefined
}

/** The universal tags in use. */
export const tags = { integer: 0x02, octetString: 0x04, oid: 0x06, sequence: 0x30 } as const

const constructed = 0x20

/** Bounds on what is read. */
export interface Limits {
  readonly maxDepth: number
  /** Called for each element; throws if there are too many. */
  readonly onElement: () => void
}

/** The bytes are no BER, or not the values that were expected. */
export class NotBer extends Error {}

const fail = (): never => {
  throw new NotBer("no BER, or not what was expected")
}

/** Where a content begins and ends; the end of an indefinite one is not known yet. */
interface Header {
  readonly tag: number
  readonly start: number
  readonly end: number | undefined
}

const readHeader = (bytes: Buffer, at: number, limit: number): Header => {
  const tag = bytes[at] ?? fail()
  const first = bytes[at + 1] ?? fail()
  if ((tag & 0x1f) === 0x1f || at + 2 > limit) {
    return fail()
  }
  if (first === 0x80) {
    return (tag & constructed) === 0 ? fail() : { tag, start: at + 2, end: undefined }
  }
  const size = first < 0x80 ? 0 : first - 0x80
  const start = at + 2 + size
  if (size > 4 || start > limit) {
    return fail()
  }
  const end = start + (size === 0 ? first : bytes.readUIntBE(at + 2, size))
  return end > limit ? fail() : { tag, start, end }
}

const isEndOfContents = (bytes: Buffer, at: number, limit: number) =>
  at + 2 <= limit && bytes[at] === 0 && bytes[at + 1] === 0

const none = Buffer.alloc(0)

/**
 * Reads the one element that the bytes are. Throws `NotBer` if they are not exactly one, or if it is nested too deeply.
 */
export const read = (input: Uint8Array, { maxDepth, onElement }: Limits): Element => {
  const bytes = Buffer.from(input.buffer, input.byteOffset, input.byteLength)

  const readAt = (at: number, limit: number, depth: number): readonly [element: Element, next: number] => {
    if (depth > maxDepth) {
      return fail()
    }
    onElement()
    const { end, start, tag } = readHeader(bytes, at, limit)
    if (end !== undefined && (tag & constructed) === 0) {
      return [{ tag, bytes: bytes.subarray(start, end), children: undefined }, end]
    }
    const children: Array<Element> = []
    let next = start
    while (end === undefined ? !isEndOfContents(bytes, next, limit) : next < end) {
      const [child, after] = readAt(next, end ?? limit, depth + 1)
      children.push(child)
      next = after
    }
    return [{ tag, bytes: none, children }, end ?? next + 2]
  }

  const [element, end] = readAt(0, bytes.length, 1)
  return end === bytes.length ? element : fail()
}

/** The elements in a constructed one. Throws `NotBer` for any other. */
export const childrenOf = (element: Element | undefined): ReadonlyArray<Element> => element?.children ?? fail()

/** The bytes of a string, whatever its tag, which may be in pieces. Throws `NotBer` if there is none. */
export const octetsOf = (element: Element | undefined): Buffer =>
  element === undefined
    ? fail()
    : element.children === undefined
      ? element.bytes
      : Buffer.concat(element.children.map(octetsOf))

/** Whether it is an OCTET STRING, in one piece or in several. */
export const isOctetString = (element: Element | undefined): element is Element =>
  element !== undefined && (element.tag & ~constructed) === tags.octetString

/** Longer object identifiers than this are none that anybody knows. */
const maxOidBytes = 64

/** An OBJECT IDENTIFIER as `1.2.840.113549`. Throws `NotBer` if it is none. */
export const oidOf = (element: Element | undefined): string => {
  if (element?.tag !== tags.oid || element.bytes.length === 0 || element.bytes.length > maxOidBytes) {
    return fail()
  }
  const parts: Array<number> = []
  let part = 0
  for (const byte of element.bytes) {
    part = part * 128 + (byte & 0x7f)
    if (byte < 0x80) {
      parts.push(part)
      part = 0
    }
  }
  const [first = 0, ...others] = parts
  const root = Math.min(2, Math.floor(first / 40))
  return [root, first - 40 * root, ...others].join(".")
}

/** An INTEGER of at most six bytes; undefined if it is none. */
export const integerOf = (element: Element | undefined): number | undefined => {
  const size = element?.bytes.length ?? 0
  return element?.tag === tags.integer && size > 0 && size <= 6 ? element.bytes.readIntBE(0, size) : undefined
}

const lengthOf = (size: number): Buffer => {
  if (size < 0x80) {
    return Buffer.of(size)
  }
  const hex = size.toString(16)
  const bytes = Buffer.from(hex.padStart(hex.length + (hex.length % 2), "0"), "hex")
  return Buffer.concat([Buffer.of(0x80 + bytes.length), bytes])
}

/** The element as OpenSSL wants private keys: with definite lengths, and its octet strings in one piece. */
export const encode = (element: Element): Buffer => {
  const { children, tag } = element
  const isPrimitive = children === undefined || isOctetString(element)
  const content = isPrimitive ? octetsOf(element) : Buffer.concat(children.map(encode))
  return Buffer.concat([Buffer.of(isOctetString(element) ? tags.octetString : tag), lengthOf(content.length), content])
}
