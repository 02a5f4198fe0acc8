/**
 * Metadata: the key-value pairs that travel beside a call's messages, in request headers, response headers and
 * response trailers. The same as gRPC custom metadata on every transport.
 *
 * @since 0.1.0
 */
import * as Data from "effect/Data"
import * as Either from "effect/Either"
import * as Inspectable from "effect/Inspectable"
import * as Option from "effect/Option"
import { type Pipeable, pipeArguments } from "effect/Pipeable"
import * as Predicate from "effect/Predicate"
import * as Schema from "effect/Schema"

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
 * An ordered, immutable multimap. Keys are lower case ASCII; the value of a key that ends in `-bin` is bytes, any other
 * value is printable ASCII text.
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
export type Entry = readonly [key: string, value: Value]

/**
 * @since 0.1.0
 * @category models
 */
export type Value = string | Uint8Array

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
export const empty: Metadata = Object.assign(Object.create(Proto), { entries: [] })

const keyPattern = /^[0-9a-z_.-]+$/
/** TlsLive counts a key's bytes in one. */
const maxKeyLength = 255
/** The one reserved key that handlers set: gRFC A6 leaves it to them. */
const pushback = "grpc-retry-pushback-ms"
const textPattern = /^[\x20-\x7e]*$/

const invalid = (key: string, message: string) => Either.left(new MetadataError({ key, message }))

const checkEntry = (key: string, value: Value): Either.Either<Entry, MetadataError> => {
  const name = key.toLowerCase()
  if (!keyPattern.test(name)) {
    return invalid(key, `metadata key ${JSON.stringify(key)} has characters other than 0-9 a-z _ . -`)
  }
  if (name.length > maxKeyLength) {
    return invalid(
      key,
      `metadata key ${JSON.stringify(`${key.slice(0, 32)}...`)} has more than ${maxKeyLength} characters`
    )
  }
  if (name.startsWith("grpc-") && name !== pushback) {
    return invalid(key, `metadata key ${JSON.stringify(key)} is reserved`)
  }
  if (name.endsWith("-bin")) {
    return value instanceof Uint8Array
      ? Either.right([name, value])
      : invalid(key, `metadata key ${JSON.stringify(key)} ends in -bin and takes a Uint8Array`)
  }
  if (typeof value !== "string") {
    return invalid(key, `metadata key ${JSON.stringify(key)} takes text; bytes go under a key that ends in -bin`)
  }
  return textPattern.test(value)
    ? Either.right([name, value.trim()])
    : invalid(key, `the value of metadata key ${JSON.stringify(key)} is not printable ASCII`)
}

const isIterable = (input: Exclude<Input, Metadata>): input is Iterable<Entry> => Symbol.iterator in input

/**
 * Checks the input and brings its keys to lower case.
 *
 * @since 0.1.0
 * @category constructors
 */
export const fromInput = (input: Input): Either.Either<Metadata, MetadataError> => {
  if (isMetadata(input)) {
    return Either.right(input)
  }
  const out: Array<Entry> = []
  const pairs: Iterable<readonly [string, Value | ReadonlyArray<Value>]> = isIterable(input)
    ? input
    : Object.entries(input)
  for (const [key, values] of pairs) {
    for (const value of Array.isArray(values) ? (values as ReadonlyArray<Value>) : [values as Value]) {
      const entry = checkEntry(key, value)
      if (Either.isLeft(entry)) {
        return Either.left(entry.left)
      }
      out.push(entry.right)
    }
  }
  return Either.right(unsafeFromEntries(out))
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
 * The first value under a key, whatever the key's case.
 *
 * @since 0.1.0
 * @category getters
 */
export const get = <const K extends string>(self: Metadata, key: K): Option.Option<ValueOf<K>> => {
  const name = key.toLowerCase()
  const found = self.entries.find((entry) => entry[0] === name)
  return found === undefined ? Option.none() : Option.some(found[1] as ValueOf<K>)
}

/**
 * All values under a key, in the order they were sent.
 *
 * @since 0.1.0
 * @category getters
 */
export const getAll = <const K extends string>(self: Metadata, key: K): ReadonlyArray<ValueOf<K>> => {
  const name = key.toLowerCase()
  return self.entries.flatMap(([k, value]) => (k === name ? [value as ValueOf<K>] : []))
}

/**
 * The entries of both, those of `self` first. A key that is in both keeps all its values.
 *
 * @since 0.1.0
 * @category combinators
 */
export const concat = (self: Metadata, that: Metadata): Metadata =>
  that.entries.length === 0
    ? self
    : self.entries.length === 0
      ? that
      : unsafeFromEntries([...self.entries, ...that.entries])

/**
 * The size as HTTP/2 and QPACK count it: key, value and 32 bytes an entry.
 *
 * Source: RFC 9113 section 6.5.2, SETTINGS_MAX_HEADER_LIST_SIZE.
 *
 * @since 0.1.0
 * @category getters
 */
export const byteSize = (self: Metadata): number =>
  self.entries.reduce(
    (size, [key, value]) =>
      size + 32 + key.length + (typeof value === "string" ? value.length : Math.ceil(value.length / 3) * 4),
    0
  )

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
> = Schema.transform(Schema.Array(EntrySchema), Schema.declare(isMetadata, { identifier: "Metadata" }), {
  strict: true,
  decode: (entries) => unsafeFromEntries(entries),
  encode: (metadata) => metadata.entries
})
