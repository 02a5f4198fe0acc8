import { create, equals, fromBinary, toBinary } from "@bufbuild/protobuf"
import { describe, expect, it } from "@effect/vitest"
import * as FastCheck from "effect/FastCheck"
import { Service } from "effect-transport"
import { DagService } from "../../examples/gen/dag/v1/dag_pb.js"
import { EchoRequestSchema, EchoService } from "../../examples/gen/echo/v1/echo_pb.js"

const request = FastCheck.record(
  {
    message: FastCheck.fullUnicodeString(),
    payload: FastCheck.uint8Array({ maxLength: 100 }),
    repeat: FastCheck.nat()
  },
  { requiredKeys: [] }
)

describe("Service", () => {
  it("of a descriptor has its methods by their generated names, with gRPC's paths", () => {
    const service = Service.from(EchoService)
    expect(service.name).toBe("echo.v1.EchoService")
    expect(Object.entries(service.methods).map(([name, { path, shape }]) => [name, path, shape])).toEqual([
      ["echo", "/echo.v1.EchoService/Echo", "unary"],
      ["echoServerStream", "/echo.v1.EchoService/EchoServerStream", "serverStreaming"],
      ["echoClientStream", "/echo.v1.EchoService/EchoClientStream", "clientStreaming"],
      ["echoBidi", "/echo.v1.EchoService/EchoBidi", "bidiStreaming"]
    ])
  })

  it("of a descriptor has what it says of calling its methods again", () => {
    expect(Object.values(Service.from(DagService).methods).map(({ idempotency, path }) => [path, idempotency])).toEqual(
      [
        ["/dag.v1.DagService/SubmitTransaction", "idempotent"],
        ["/dag.v1.DagService/Upload", "unknown"],
        ["/dag.v1.DagService/Watch", "noSideEffects"],
        ["/dag.v1.DagService/Gossip", "unknown"]
      ]
    )
  })

  it("of a descriptor is made once", () => {
    expect(Service.from(EchoService)).toBe(Service.from(EchoService))
  })

  it("made by hand is taken as it is", () => {
    const service = Service.make("test.Empty", {})
    expect(Service.from(service)).toBe(service)
    expect(Service.isService(service)).toBe(true)
    expect(Service.isService(EchoService)).toBe(false)
    expect(Service.isService(undefined)).toBe(false)
  })
})

describe("protobufCodec", () => {
  const codec = Service.protobufCodec(EchoRequestSchema)

  it.prop("gives back what it was given, with what was left out", [request], ([partial]) => {
    const message = create(EchoRequestSchema, partial)
    expect(equals(EchoRequestSchema, codec.decode(codec.encode(partial)), message)).toBe(true)
    expect(equals(EchoRequestSchema, codec.decode(codec.encode(message)), message)).toBe(true)
  })

  it.prop(
    "keeps fields that the contract does not know",
    [request, FastCheck.integer({ min: 100, max: 2000 })],
    ([known, number]) => {
      const tag = Uint8Array.of(((number << 3) & 0x7f) | 0x80, number >> 4)
      const bytes = Uint8Array.of(...toBinary(EchoRequestSchema, create(EchoRequestSchema, known)), ...tag, 42)
      expect(codec.decode(bytes).$unknown).toMatchObject([{ no: number }])
      expect(codec.encode(codec.decode(bytes))).toEqual(bytes)
    }
  )

  it.prop("reads any bytes as a message or throws an Error", [FastCheck.uint8Array({ maxLength: 60 })], ([bytes]) => {
    try {
      expect(codec.decode(bytes).$typeName).toBe("echo.v1.EchoRequest")
    } catch (error) {
      expect(error).toBeInstanceOf(Error)
    }
  })

  it("does not read a truncated message", () => {
    const bytes = codec.encode({ message: "hello" })
    expect(() => codec.decode(bytes.subarray(0, bytes.length - 1))).toThrow()
    expect(fromBinary(EchoRequestSchema, bytes).message).toBe("hello")
  })
})
