import { describe, expect, it } from "@effect/vitest"
import * as Grpc from "@grpc/grpc-js"
import * as Either from "effect/Either"
import * as FastCheck from "effect/FastCheck"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import { Metadata } from "effect-transport"
import * as GrpcMetadata from "../../src/Grpc/internal/grpcJs/GrpcMetadata.js"
import * as Entries from "../../src/protocol/Entries.js"
import * as GrpcFields from "../../src/protocol/grpc/GrpcFields.js"
import * as Wire from "../../src/protocol/wire/Wire.js"

const key = FastCheck.oneof(
  FastCheck.string(),
  FastCheck.fullUnicodeString(),
  FastCheck.stringMatching(/^[0-9a-zA-Z_.-]{1,20}$/),
  FastCheck.stringMatching(/^[0-9a-zA-Z_.-]{1,20}-[bB][iI][nN]$/),
  FastCheck.stringMatching(/^[gG]rpc-[a-z]{0,5}$/)
)
const value = FastCheck.oneof(
  FastCheck.string(),
  FastCheck.fullUnicodeString(),
  FastCheck.uint8Array({ maxLength: 40 })
)
const entries = FastCheck.array(FastCheck.tuple(key, value), { maxLength: 8 })

const goodKey = FastCheck.stringMatching(/^x[0-9a-z_.-]{0,15}$/).filter((name) => !name.endsWith("-bin"))
const goodEntry: FastCheck.Arbitrary<Metadata.Entry> = FastCheck.oneof(
  FastCheck.tuple(
    goodKey,
    FastCheck.string().map((text) => text.trim())
  ),
  FastCheck.tuple(
    goodKey.map((name) => `${name}-bin`),
    FastCheck.uint8Array({ maxLength: 40 })
  )
)
const good = FastCheck.array(goodEntry, { maxLength: 8 }).map(Metadata.make)

const isValid = ([name, value]: Metadata.Entry) =>
  /^[0-9a-z_.-]+$/.test(name) &&
  !name.startsWith("grpc-") &&
  (name.endsWith("-bin") ? value instanceof Uint8Array : typeof value === "string" && /^[\x20-\x7e]*$/.test(value))

describe("Metadata", () => {
  it.prop("takes any entries without a throw, and accepts only what is valid", [entries], ([entries]) => {
    const metadata = Metadata.fromInput(entries)
    if (Either.isRight(metadata)) {
      expect(metadata.right.entries).toHaveLength(entries.length)
      expect(metadata.right.entries.filter((entry) => !isValid(entry))).toEqual([])
    } else {
      expect(metadata.left).toBeInstanceOf(Metadata.MetadataError)
      expect(entries.map(([name]) => name)).toContain(metadata.left.key)
    }
  })

  it.prop("brings keys to lower case and finds them in any case", [goodEntry], ([[name, value]]) => {
    const metadata = Metadata.make([[name.toUpperCase(), value]])
    expect(metadata.entries).toEqual([[name, value]])
    expect(Metadata.get(metadata, name)).toEqual(Option.some(value))
    expect(Metadata.getAll(metadata, name.toUpperCase())).toEqual([value])
  })

  it.prop("concat keeps every value of both, in order", [good, good], ([one, other]) => {
    const both = Metadata.concat(one, other)
    expect(both.entries).toEqual([...one.entries, ...other.entries])
    expect(Metadata.byteSize(both)).toBe(Metadata.byteSize(one) + Metadata.byteSize(other))
  })

  it.prop("reads the same in a pipe", [good, good, goodEntry], ([one, other, [name]]) => {
    expect(one.pipe(Metadata.concat(other)).entries).toEqual(Metadata.concat(one, other).entries)
    expect(one.pipe(Metadata.get(name))).toEqual(Metadata.get(one, name))
    expect(other.pipe(Metadata.concat(one), Metadata.getAll(name))).toEqual(
      Metadata.getAll(Metadata.concat(other, one), name)
    )
  })

  it.prop("survives its schema", [good], ([metadata]) => {
    const encoded = Schema.encodeSync(Metadata.MetadataSchema)(metadata)
    const throughJson: typeof encoded = JSON.parse(JSON.stringify(encoded))
    expect(Schema.decodeSync(Metadata.MetadataSchema)(throughJson).entries).toEqual(metadata.entries)
  })

  it.prop("never prints a value", [FastCheck.stringMatching(/^secret-[0-9a-f]{16}$/)], ([secret]) => {
    const metadata = Metadata.make({ authorization: secret, "x-proof-bin": new TextEncoder().encode(secret) })
    expect(`${metadata} ${JSON.stringify(metadata)}`).not.toContain(secret)
    expect(JSON.stringify(metadata)).toContain("authorization")
  })

  it("takes a record, with one value or several under a key", () => {
    const metadata = Metadata.make({ one: "1", many: ["1", "2"], "raw-bin": [new Uint8Array([1]), new Uint8Array()] })
    expect(metadata.entries).toEqual([
      ["one", "1"],
      ["many", "1"],
      ["many", "2"],
      ["raw-bin", new Uint8Array([1])],
      ["raw-bin", new Uint8Array()]
    ])
    expect(Metadata.getAll(metadata, "many")).toEqual(["1", "2"])
    expect(Metadata.get(metadata, "absent")).toEqual(Option.none())
  })

  it("leaves metadata that is given as it is", () => {
    const metadata = Metadata.make({ a: "1" })
    expect(Metadata.make(metadata)).toBe(metadata)
  })

  it.each([
    ["an empty key", { "": "x" }],
    ["a key with a space", { "a b": "x" }],
    ["a pseudo header", { ":path": "/x" }],
    ["a reserved key", { "grpc-timeout": "1S" }],
    ["a reserved key in capitals", { "GRPC-Status": "0" }],
    ["text under a -bin key", { "a-bin": "x" }],
    ["bytes under a text key", { a: new Uint8Array([1]) }],
    ["a line break", { a: "x\r\ny: z" }],
    ["a value beyond ASCII", { a: "ü" }]
  ] as const)("refuses %s", (_, input) => {
    expect(Either.isLeft(Metadata.fromInput(input))).toBe(true)
    expect(() => Metadata.make(input)).toThrow(Metadata.MetadataError)
  })
})

describe("metadata that was received", () => {
  const hop = ["connection", "keep-alive", "te", "trailer", "host", "content-length", "content-type", "grpc-status"]
  const values = ["a\tb", "ü", "a\r\nb", "\0"]

  /** What a peer may send that no metadata may have, and what is left of it. */
  const sent: ReadonlyArray<readonly [string, string]> = [
    ...hop.map((name) => [name, "x"] as const),
    ...values.map((value) => ["x-v", value] as const),
    ["k".repeat(256), "x"],
    ["x!v", "x"],
    ["x-v", "left"]
  ]

  it("over HTTP/3 can be sent on as it is", () => {
    for (const received of [GrpcFields.ofRequest(sent), GrpcFields.ofResponse(sent)]) {
      expect(received).toEqual([["x-v", "left"]])
      expect(Metadata.make(received).entries).toEqual(received)
    }
    expect(GrpcFields.ofRequest([["user-agent", "x"]])).toEqual([])
    expect(GrpcFields.ofResponse([["date", "x"]])).toEqual([])
  })

  it("over HTTP/2 can be sent on as it is", () => {
    const headers: Record<string, Array<string>> = {}
    for (const [name, value] of sent) {
      headers[name] = [...(headers[name] ?? []), value]
    }
    // grpc-js leaves out a name of which one value is bad, and says so.
    headers["x-v"] = ["left"]
    headers["x-bad"] = values
    delete headers["x!v"]
    const metadata = Grpc.Metadata.fromHttp2Headers(headers)
    for (const received of [GrpcMetadata.ofRequest(metadata), GrpcMetadata.ofResponse(metadata)]) {
      expect(received.entries).toEqual([["x-v", "left"]])
    }
  })

  it("over TLS can be sent on as it is", () => {
    const metadata: Entries.Entries = [...hop.map((name): Entries.Entry => [name, "x"]), ["x-v", "left"]]
    const bytes = Buffer.alloc(Wire.metadataSize(metadata))
    Wire.writeMetadata(bytes, 0, metadata)
    for (const isCustom of [Entries.isOfRequest, Entries.isOfResponse]) {
      const reader = { bytes, at: 0, end: bytes.length, isOwn: false }
      expect(Wire.readMetadata(reader, 10_000, isCustom)).toEqual([["x-v", "left"]])
    }
  })

  it("decoded by its schema is checked", () => {
    const decode = Schema.decodeUnknownEither(Metadata.MetadataSchema)
    expect(Either.isRight(decode([["x-v", "a"]]))).toBe(true)
    for (const entries of [[["te", "trailers"]], [["x-v", "a\nb"]], [["x-v-bin", "text"]], [["k".repeat(256), "a"]]]) {
      expect(Either.isLeft(decode(entries))).toBe(true)
    }
  })
})
