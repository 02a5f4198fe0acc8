/**
 * Bytes that somebody else made. A codec or a caller may hand over a `Uint8Array` of a class of its own, whose `length` says
 * what it likes, or one whose memory it gives away later: what counts here is what the engine itself knows.
 */
const prototype: object = Object.getPrototypeOf(Uint8Array.prototype)

const getterOf = (name: PropertyKey): ((this: unknown) => unknown) => {
  const get = Object.getOwnPropertyDescriptor(prototype, name)?.get
  if (get === undefined) {
    throw new Error(`typed arrays have no ${String(name)}`)
  }
  return get
}

const getLength = getterOf("length") as (this: Uint8Array) => number
const getOffset = getterOf("byteOffset") as (this: Uint8Array) => number
const getBuffer = getterOf("buffer") as (this: Uint8Array) => ArrayBufferLike
const getTag = getterOf(Symbol.toStringTag)

export const isBytes = (u: unknown): u is Uint8Array => getTag.call(u) === "Uint8Array"

/** How many bytes there are. Throws for what is no `Uint8Array`. */
export const sizeOf = (bytes: Uint8Array): number => getLength.call(bytes)

/** Some of the bytes, without a copy. Throws where they are not there. */
export const part = (bytes: Uint8Array, offset: number, size: number): Uint8Array =>
  new Uint8Array(getBuffer.call(bytes), getOffset.call(bytes) + offset, size)

/** The same bytes as they really are; copied where they claim another length. Throws for what is no `Uint8Array`. */
export const plain = (bytes: Uint8Array): Uint8Array => {
  if (!isBytes(bytes)) {
    throw new TypeError("not a Uint8Array")
  }
  return bytes.length === sizeOf(bytes) && bytes.byteLength === sizeOf(bytes) ? bytes : new Uint8Array(bytes)
}
