import { create, createFileRegistry, type DescMessage, fromBinary, type Message, toBinary } from "@bufbuild/protobuf"
import { BinaryWriter, WireType } from "@bufbuild/protobuf/wire"
import {
  FieldDescriptorProto_Label,
  FieldDescriptorProto_Type,
  FileDescriptorProtoSchema,
  FileDescriptorSetSchema,
  file_google_protobuf_struct,
  ListValueSchema,
  SourceCodeInfo_LocationSchema,
  StructSchema,
  ValueSchema
} from "@bufbuild/protobuf/wkt"
import { describe, expect, it } from "@effect/vitest"
import * as FastCheck from "effect/FastCheck"
import { GossipMessageSchema, TxReplySchema } from "../../../examples/gen/dag/v1/dag_pb.js"
import { EchoRequestSchema } from "../../../examples/gen/echo/v1/echo_pb.js"
import * as ProtobufScan from "../../../src/protocol/protobuf/ProtobufScan.js"

/** A message with a Struct, with one of its own type, and with a list of its own type. */
const withStruct = (() => {
  const file = create(FileDescriptorProtoSchema, {
    name: "test/with_struct.proto",
    syntax: "proto3",
    dependency: ["google/protobuf/struct.proto"],
    messageType: [
      {
        name: "WithStruct",
        field: [
          { name: "struct", number: 1, typeName: ".google.protobuf.Struct" },
          { name: "one", number: 2, typeName: ".WithStruct" },
          { name: "many", number: 3, typeName: ".WithStruct", label: FieldDescriptorProto_Label.REPEATED }
        ].map((field) => ({
          label: FieldDescriptorProto_Label.OPTIONAL,
          type: FieldDescriptorProto_Type.MESSAGE,
          ...field
        }))
      }
    ]
  })
  const desc = createFileRegistry(file, () => file_google_protobuf_struct).getMessage("WithStruct")
  if (desc === undefined) {
    throw new Error("no such message")
  }
  return desc
})()

/** The count, with a limit that is never reached and yet does not spare the message the walk. */
const count = (desc: DescMessage, bytes: Uint8Array) =>
  ProtobufScan.makeCounter(desc)(bytes, Math.max(0, bytes.length - 1))

/** How many elements a decoded message holds, in the terms of the count. */
const elementsOf = (value: unknown): number => {
  if (value instanceof Uint8Array || typeof value !== "object" || value === null) {
    return 0
  }
  let elements = 0
  for (const [key, field] of Object.entries(value)) {
    if (key === "$unknown" || Array.isArray(field)) {
      for (const item of field) {
        elements += 1 + (key === "$unknown" ? 0 : elementsOf(item))
      }
    } else if (field !== null && typeof field === "object" && "case" in field) {
      elements += field.case === undefined ? 0 : 1 + elementsOf(field.value)
    } else if (field !== null && typeof field === "object" && "$typeName" in field) {
      elements += 1 + elementsOf(field)
    }
  }
  return elements
}

const repeat = (bytes: ReadonlyArray<number>, times: number) =>
  Uint8Array.from({ length: bytes.length * times }, (_, i) => bytes[i % bytes.length] ?? 0)

const varint = (value: number) => Array.from(new BinaryWriter().uint32(value).finish())

describe("elements of protobuf messages", () => {
  const cases: Record<string, readonly [DescMessage, Uint8Array, number]> = {
    "unknown varints": [EchoRequestSchema, repeat([0x78, 0], 100), 100],
    "unknown fields of eight bytes": [EchoRequestSchema, repeat([0x79, 1, 2, 3, 4, 5, 6, 7, 8], 100), 100],
    "an unknown field with a length is one": [EchoRequestSchema, Uint8Array.of(0x7a, 4, 0x78, 0, 0x78, 0), 1],
    "what an unknown group holds": [EchoRequestSchema, Uint8Array.of(0x7b, 0x78, 0, 0x78, 0, 0x7c), 3],
    "bytes are one": [
      EchoRequestSchema,
      toBinary(EchoRequestSchema, create(EchoRequestSchema, { payload: new Uint8Array(5000) })),
      1
    ],
    "empty submessages": [ListValueSchema, repeat([0x0a, 0], 100), 100],
    "submessages with a field": [ListValueSchema, repeat([0x0a, 2, 0x20, 1], 100), 200],
    "entries of a map are one": [
      StructSchema,
      toBinary(StructSchema, create(StructSchema, { fields: { a: { kind: { case: undefined } } } })),
      1
    ],
    "empty entries of a map": [StructSchema, repeat([0x0a, 0], 100), 100],
    "a key again and again": [StructSchema, Uint8Array.of(0x0a, 8, 0x0a, 0, 0x0a, 0, 0x0a, 0, 0x0a, 0), 3],
    "packed numbers": [SourceCodeInfo_LocationSchema, Uint8Array.of(0x0a, 4, 1, 2, 3, 4), 4],
    "no packed numbers": [SourceCodeInfo_LocationSchema, repeat([0x0a, 0], 100), 100],
    "numbers that are not packed": [SourceCodeInfo_LocationSchema, repeat([0x08, 1], 100), 100],
    "strings of a list": [SourceCodeInfo_LocationSchema, repeat([0x32, 0], 100), 100],
    "one field again and again": [EchoRequestSchema, repeat([0x0a, 0], 100), 100],
    "one submessage again and again": [FileDescriptorProtoSchema, repeat([0x42, 0], 100), 100],
    "one case of a oneof again and again": [ValueSchema, repeat([0x20, 1], 100), 100]
  }

  for (const [what, [desc, bytes, elements]] of Object.entries(cases)) {
    it(`${what}`, () => {
      expect(() => fromBinary(desc, bytes)).not.toThrow()
      expect(count(desc, bytes)).toBe(elements)
      if (elements > 1) {
        expect(ProtobufScan.makeCounter(desc)(bytes, elements - 1)).toBe(elements)
      }
    })
  }

  it("a Struct that is merged again and again counts as often as it is converted", () => {
    const entries = Array.from(
      { length: 1000 },
      (_, i) => [`k${i}`, { kind: { case: "boolValue", value: true } }] as const
    )
    const struct = toBinary(StructSchema, create(StructSchema, { fields: Object.fromEntries(entries) }))
    const desc = withStruct
    const first = [0x0a, ...varint(struct.length), ...struct]
    const bytes = Uint8Array.from([...first, ...repeat([0x0a, 0], 100)])
    expect(ProtobufScan.makeCounter(desc)(Uint8Array.from(first), 65_536)).toBeLessThanOrEqual(3001)
    expect(ProtobufScan.makeCounter(desc)(bytes, 65_536)).toBeGreaterThan(65_536)
    // In fields of a message that is merged as well, and in those of one that is not.
    const nested = [0x12, ...varint(first.length), ...first, ...repeat([0x12, 2, 0x0a, 0], 100)]
    expect(ProtobufScan.makeCounter(desc)(Uint8Array.from(nested), 65_536)).toBeGreaterThan(65_536)
    const listed = [0x1a, ...varint(first.length), ...first, ...repeat([0x1a, 2, 0x0a, 0], 100)]
    expect(ProtobufScan.makeCounter(desc)(Uint8Array.from(listed), 65_536)).toBeLessThan(4000)
  })

  it("stops above the limit", () => {
    const fields = new Uint8Array(4 * 1024 * 1024).fill(0x08)
    expect(ProtobufScan.makeCounter(EchoRequestSchema)(fields, 65_536)).toBe(65_537)
  })

  it("a message of fewer bytes than elements are allowed is not walked", () => {
    expect(ProtobufScan.makeCounter(EchoRequestSchema)(Uint8Array.of(0xff), 1)).toBe(1)
  })

  it("messages as deep as protobuf-es decodes them, and no deeper", () => {
    const nest = (depth: number) => {
      let bytes: ReadonlyArray<number> = []
      for (let i = 0; i < depth; i++) {
        // A ListValue in a Value in a ListValue.
        bytes = [0x32, ...varint(bytes.length), ...bytes]
        bytes = [0x0a, ...varint(bytes.length), ...bytes]
      }
      return Uint8Array.from(bytes)
    }
    expect(count(ListValueSchema, nest(49))).toBe(98)
    expect(count(ListValueSchema, nest(50))).toBe(-1)
    expect(count(ListValueSchema, nest(1000))).toBe(-1)
    expect(count(EchoRequestSchema, repeat([0x7b], 100_000))).toBe(-1)
  })

  it("counts what is there, and accepts all that is valid", () => {
    const text = FastCheck.fullUnicodeString({ maxLength: 20 })
    const bytes = FastCheck.uint8Array({ maxLength: 20 })
    const location = FastCheck.record(
      {
        path: FastCheck.array(FastCheck.integer()),
        span: FastCheck.array(FastCheck.integer()),
        leadingComments: text,
        leadingDetachedComments: FastCheck.array(text)
      },
      { requiredKeys: [] }
    )
    const file = FastCheck.record(
      {
        name: text,
        dependency: FastCheck.array(text),
        publicDependency: FastCheck.array(FastCheck.nat()),
        messageType: FastCheck.array(FastCheck.record({ name: text, reservedName: FastCheck.array(text) })),
        sourceCodeInfo: FastCheck.record({ location: FastCheck.array(location) })
      },
      { requiredKeys: [] }
    )
    const check = (desc: DescMessage, message: Message) => {
      const encoded = toBinary(desc, message)
      const elements = count(desc, encoded)
      expect(elements).toBeGreaterThanOrEqual(elementsOf(fromBinary(desc, encoded)))
      expect(elements).toBeLessThanOrEqual(encoded.length)
    }
    FastCheck.assert(
      FastCheck.property(FastCheck.array(file, { maxLength: 4 }), (files) =>
        check(FileDescriptorSetSchema, create(FileDescriptorSetSchema, { file: files }))
      )
    )
    FastCheck.assert(
      FastCheck.property(text, bytes, FastCheck.nat(), (message, payload, payloadSize) =>
        check(EchoRequestSchema, create(EchoRequestSchema, { message, payload, payloadSize }))
      )
    )
    FastCheck.assert(
      FastCheck.property(text, FastCheck.bigUint(2n ** 64n - 1n), (txId, height) =>
        check(TxReplySchema, create(TxReplySchema, { txId, height }))
      )
    )
  })

  it("any bytes give a number; what protobuf-es decodes is not malformed, and the count is what it makes", () => {
    const wireTypes = FastCheck.constantFrom(...[0, 1, 2, 3, 4, 5])
    const records = FastCheck.array(
      FastCheck.tuple(FastCheck.integer({ min: 1, max: 12 }), wireTypes, FastCheck.uint8Array({ maxLength: 12 })),
      { maxLength: 12 }
    ).map((fields) =>
      Uint8Array.from(
        fields.flatMap(([no, wireType, bytes]) => [
          ...varint((no << 3) | wireType),
          ...(wireType === WireType.LengthDelimited ? [bytes.length] : []),
          ...bytes
        ])
      )
    )
    const descs = [
      EchoRequestSchema,
      GossipMessageSchema,
      FileDescriptorProtoSchema,
      SourceCodeInfo_LocationSchema,
      StructSchema,
      ValueSchema,
      ListValueSchema,
      withStruct
    ]
    const decode = (desc: DescMessage, bytes: Uint8Array) => {
      try {
        return fromBinary(desc, bytes)
      } catch {
        return undefined
      }
    }
    FastCheck.assert(
      FastCheck.property(
        FastCheck.constantFrom(...descs),
        FastCheck.oneof(FastCheck.uint8Array({ maxLength: 60 }), records),
        (desc, bytes) => {
          const elements = count(desc, bytes)
          const decoded = decode(desc, bytes)
          expect(Number.isSafeInteger(elements)).toBe(true)
          if (decoded !== undefined) {
            expect(elements).toBeGreaterThanOrEqual(desc === withStruct ? 0 : elementsOf(decoded))
          }
        }
      ),
      { numRuns: 20_000 }
    )
  })
})
