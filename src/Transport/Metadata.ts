/**
 * Metadata: the key-value pairs that travel beside a call's messages, in request headers, response headers and
 * response trailers. The same as gRPC custom metadata on every transport.
 *
 * @since 0.1.0
 */
import * as Data from "effect/Data"
import * as Either from "effect/Either"
import { dual } from "effect/Function"
import * as Inspectable from "effect/Inspectable"
import * as Option from "effect/Option"
import * as ParseResult from "effect/ParseResult"
import { type Pipeable, pipeArguments } from "effect/Pipeable"
import * as Predicate from "effect/Predicate"
import * as Schema from "effect/Schema"
import * as Bytes from "../protocol/Bytes.js"
import * as Entries from "../protocol/Entries.js"

/**
 * @since 0.1.0
 * @category type ids
 */
export const TypeId: unique symbol = Symbol.for("effect-transport/Metadata")

/**
 * @since 0.1.0
 * @category type ids
 */
export type TypeId = typeof TypeId

/**
 * An ordered, immutable multimap. Keys are lower case ASCII of at most 255 characters; the value of a key that ends in
 * `-bin` is bytes, any other value is printable ASCII text.
 *
 * The rule is the same on every wire, and checked before anything is sent. No key may be
 *
 * - `grpc-*`, but for `grpc-retry-pushback-ms`, which gRFC A6 leaves to handlers;
 * - a pseudo-header field (`:path`), or a field of the connection or of one hop: `connection`, `keep-alive`,
 *   `proxy-connection`, `transfer-encoding`, `upgrade`, `te`, `trailer` (RFC 9110 section 7.6.1, RFC 9113 section 8.2.2),
 *   `http2-settings` (RFC 7540 section 3.2.1), and what is between a client and its proxy, `proxy-authenticate`,
 *   `proxy-authorization` and `proxy-authentication-info` (RFC 9110 section 11.7);
 * - a field that frames the message: `host`, `content-length`, `content-type`.
 *
 * None of these is in metadata that was received either, so that a handler may pass on `call.metadata` as it is. Nor are the
 * fields that HTTP stacks write by themselves: `user-agent` and `accept-encoding` of a request, `date` of a response.
 *
 * Source: "PROTOCOL-HTTP2.md" of gRPC, production `Custom-Metadata`.
 *
 * @since 0.1.0
 * @category models
 */
export interface Metadata extends Inspectable.Inspectable, Pipeable {
  readonly [TypeId]: TypeId
  readonly entries: ReadonlyArray<Entry>
}

/**
 * @since 0.1.0
 * @category models
 */
export type Entry = Entries.Entry

/**
 * @since 0.1.0
 * @category models
 */
export type Value = Entries.Value

/**
 * The type of the value under a key: bytes for `-bin` keys, text for others.
 *
 * @since 0.1.0
 * @category models
 */
export type ValueOf<K extends string> = string extends K
  ? Value
  : Lowercase<K> extends `${string}-bin`
    ? Uint8Array
    : string

/**
 * What may be given where metadata is wanted.
 *
 * @since 0.1.0
 * @category models
 */
export type Input = Metadata | Iterable<Entry> | { readonly [key: string]: Value | ReadonlyArray<Value> }

/**
 * A key or value that can't travel as metadata.
 *
 * @since 0.1.0
 * @category errors
 */
export class MetadataError extends Data.TaggedError("MetadataError")<{
  readonly key: string
  /** `TooLarge`: all entries together have more than 1 MiB, the most that any transport takes. */
  readonly reason: "Invalid" | "TooLarge"
  readonly message: string
}> {}

const Proto = {
  [TypeId]: TypeId,
  ...Inspectable.BaseProto,
  toJSON(this: Metadata) {
    return {
      _id: "Metadata",
      // Values may be credentials (`authorization`), so that only keys are printed.
      keys: this.entries.map(([key]) => key)
    }
  },
  pipe() {
    // biome-ignore lint/complexity/noArguments: the signature of Effect's Pipeable
    return pipeArguments(this, arguments)
  }
}

/**
 * Metadata from entries that are known to be valid: an internal step for transports, which read them off the wire.
 *
 * @internal
 */
export const unsafeFromEntries = (entries: ReadonlyArray<Entry>): Metadata =>
  entries.length === 0 ? empty : Object.assign(Object.create(Proto), { entries })

/**
 * @since 0.1.0
 * @category refinements
 */
export const isMetadata = (u: unknown): u is Metadata => Predicate.hasProperty(u, TypeId)

/**
 * Metadata without entries.
 *
 * @since 0.1.0
 * @category constructors
 */
export const empty: Metadata = Object.freeze(Object.assign(Object.create(Proto), { entries: Object.freeze([]) }))

const inputKeyPattern = /^[0-9A-Za-z_.-]+$/

/**
 * The most that `maxMetadataSize` may be, in bytes: reading metadata that a program gave ends here.
 *
 * @internal
 */
export const maxSize = 1024 * 1024

const quote = (key: unknown): string =>
  typeof key === "string" ? JSON.stringify(key.length <= 64 ? key : `${key.slice(0, 64)}...`) : typeof key

const invalid = (key: unknown, message: string) =>
  new MetadataError({
    key: typeof key === "string" ? key : "",
    reason: "Invalid",
    message: `metadata key ${quote(key)} ${message}`
  })

const checkKey = (key: unknown): MetadataError | undefined => {
  if (typeof key !== "string" || !inputKeyPattern.test(key.slice(0, Entries.maxKeyLength))) {
    return invalid(key, "has characters other than 0-9 a-z _ . -")
  }
  if (key.length > Entries.maxKeyLength) {
    return invalid(key, `has more than ${Entries.maxKeyLength} characters`)
  }
  return Entries.isReserved(key.toLowerCase()) ? invalid(key, "is reserved") : undefined
}

const checkValue = (key: string, name: string, value: unknown): MetadataError | undefined => {
  if (Entries.isBinary(name)) {
    return Bytes.isBytes(value) ? undefined : invalid(key, "ends in -bin and takes a Uint8Array")
  }
  if (typeof value !== "string") {
    return invalid(key, "takes text; bytes go under a key that ends in -bin")
  }
  return Entries.isText(value) ? undefined : invalid(key, "has a value that is not printable ASCII")
}

const isIterable = (input: Exclude<Input, Metadata>): input is Iterable<Entry> => Symbol.iterator in input

const collect = (
  pairs: Iterable<readonly [string, Value | ReadonlyArray<Value>]>
): Either.Either<Metadata, MetadataError> => {
  const out: Array<Entry> = []
  let size = 0
  for (const [key, values] of pairs) {
    const wrongKey = checkKey(key)
    if (wrongKey !== undefined) {
      return Either.left(wrongKey)
    }
    const name = key.toLowerCase()
    for (const value of Array.isArray(values) ? (values as ReadonlyArray<Value>) : [values as Value]) {
      size += typeof value === "string" || Bytes.isBytes(value) ? Entries.sizeOf(name, value) : 0
      if (size > maxSize) {
        return Either.left(
          new MetadataError({ key, reason: "TooLarge", message: `metadata has more than the ${maxSize} bytes allowed` })
        )
      }
      const wrongValue = checkValue(key, name, value)
      if (wrongValue !== undefined) {
        return Either.left(wrongValue)
      }
      out.push(Object.freeze<[string, Value]>([name, typeof value === "string" ? value.trim() : new Uint8Array(value)]))
    }
  }
  return Either.right(markChecked(unsafeFromEntries(out)))
}

/**
 * What has been checked and can't change since. That an object has the type says nothing: it may be made by hand, or hold
 * what a peer has sent.
 */
const checked = new WeakSet<Metadata>()

const markChecked = (metadata: Metadata): Metadata => {
  Object.freeze(metadata.entries)
  checked.add(Object.freeze(metadata))
  return metadata
}

/**
 * Checks the input and brings its keys to lower case. Bytes are copied: what becomes of the input later changes nothing.
 *
 * @since 0.1.0
 * @category constructors
 */
export const fromInput = (input: Input): Either.Either<Metadata, MetadataError> => {
  if (isMetadata(input) && (input === empty || checked.has(input))) {
    return Either.right(input)
  }
  try {
    return collect(isMetadata(input) ? input.entries : isIterable(input) ? input : Object.entries(input))
  } catch {
    return Either.left(new MetadataError({ key: "", reason: "Invalid", message: "the metadata can't be read" }))
  }
}

/**
 * Metadata from literals. Throws a `MetadataError` where `fromInput` returns it.
 *
 * @example
 * ```ts
 * import { Metadata } from "effect-transport"
 *
 * const metadata = Metadata.make({ "x-request-id": "17", "x-proof-bin": new Uint8Array([1, 2]) })
 * ```
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = (input: Input): Metadata => Either.getOrThrowWith(fromInput(input), (error) => error)

/**
 * The first value under a key, whatever the key's case; none where there is none.
 *
 * @example
 * ```ts
 * import { Metadata } from "effect-transport"
 *
 * const id = Metadata.make({ "x-request-id": "17" }).pipe(Metadata.get("x-request-id"))
 * ```
 *
 * @since 0.1.0
 * @category getters
 */
export const get: {
  <const K extends string>(key: K): (self: Metadata) => Option.Option<ValueOf<K>>
  <const K extends string>(self: Metadata, key: K): Option.Option<ValueOf<K>>
} = dual(2, <K extends string>(self: Metadata, key: K): Option.Option<ValueOf<K>> => {
  const name = key.toLowerCase()
  const found = self.entries.find((entry) => entry[0] === name)
  return found === undefined ? Option.none() : Option.some(found[1] as ValueOf<K>)
})

/**
 * All values under a key, in the order they were sent.
 *
 * @since 0.1.0
 * @category getters
 */
export const getAll: {
  <const K extends string>(key: K): (self: Metadata) => ReadonlyArray<ValueOf<K>>
  <const K extends string>(self: Metadata, key: K): ReadonlyArray<ValueOf<K>>
} = dual(2, <K extends string>(self: Metadata, key: K): ReadonlyArray<ValueOf<K>> => {
  const name = key.toLowerCase()
  return self.entries.flatMap(([k, value]) => (k === name ? [value as ValueOf<K>] : []))
})

/**
 * The entries of both, those of `self` first. A key that is in both keeps all its values.
 *
 * @since 0.1.0
 * @category combinators
 */
export const concat: {
  (that: Metadata): (self: Metadata) => Metadata
  (self: Metadata, that: Metadata): Metadata
} = dual(
  2,
  (self: Metadata, that: Metadata): Metadata =>
    that.entries.length === 0 ? self : self.entries.length === 0 ? that : concatAll(self, that)
)

const concatAll = (self: Metadata, that: Metadata): Metadata => {
  const all = unsafeFromEntries([...self.entries, ...that.entries])
  return checked.has(self) && checked.has(that) ? markChecked(all) : all
}

/**
 * The entries whose names pass.
 *
 * @internal
 */
export const filter = (self: Metadata, passes: (name: string) => boolean): Metadata =>
  self.entries.every(([name]) => passes(name)) ? self : unsafeFromEntries(self.entries.filter(([name]) => passes(name)))

/**
 * The size as HTTP/2 and QPACK count it: key, value and 32 bytes an entry.
 *
 * Source: RFC 9113 section 6.5.2, SETTINGS_MAX_HEADER_LIST_SIZE.
 *
 * @since 0.1.0
 * @category getters
 */
export const byteSize = (self: Metadata): number =>
  self.entries.reduce((size, [key, value]) => size + Entries.sizeOf(key, value), 0)

const EntrySchema = Schema.Tuple(Schema.String, Schema.Union(Schema.String, Schema.Uint8Array))

/**
 * Metadata as a schema: an array of entries when encoded.
 *
 * @since 0.1.0
 * @category schemas
 */
export const MetadataSchema: Schema.Schema<
  Metadata,
  ReadonlyArray<readonly [string, string | ReadonlyArray<number>]>
> = Schema.transformOrFail(Schema.Array(EntrySchema), Schema.declare(isMetadata, { identifier: "Metadata" }), {
  strict: true,
  decode: (entries, _, ast) =>
    Either.mapLeft(fromInput(entries), ({ message }) => new ParseResult.Type(ast, entries, message)),
  encode: (metadata) => Either.right(metadata.entries)
})
