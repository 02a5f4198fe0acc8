import { describe, expect, it } from "@effect/vitest"
import * as FastCheck from "effect/FastCheck"
import * as GrpcEncoding from "../../../src/protocol/grpc/GrpcEncoding.js"
import * as GrpcFields from "../../../src/protocol/grpc/GrpcFields.js"

const details = new Uint8Array(0)

describe("the fields of gRPC", () => {
  it("carry the text of a status as it is, in fields that HTTP/2 takes", () => {
    FastCheck.assert(
      FastCheck.property(
        FastCheck.oneof(
          FastCheck.string({ maxLength: 100 }),
          FastCheck.string({ maxLength: 100, unit: "binary" }),
          FastCheck.constantFrom(" ", "  ", " a ", "a b", "100 %", "\tx\n")
        ),
        (message) => {
          const fields = GrpcFields.fromStatus({ code: 5, message, details }, [])
          expect(GrpcFields.toStatus(fields)).toEqual({ code: 5, message: message.toWellFormed(), details })
          for (const [, value] of fields) {
            expect(value).toMatch(/^$|^[\x21-\x7e]([\x20-\x7e]*[\x21-\x7e])?$/)
          }
        }
      )
    )
  })

  it("white space around metadata is no part of it", () => {
    expect(
      GrpcFields.ofRequest([
        ["x-a", " one two\t"],
        ["x-b", "one\ttwo"],
        ["x-c", ""],
        ["x-d-bin", " AQI , AwQ= "]
      ])
    ).toEqual([
      ["x-a", "one two"],
      ["x-c", ""],
      ["x-d-bin", Uint8Array.of(1, 2)],
      ["x-d-bin", Uint8Array.of(3, 4)]
    ])
  })

  const types: ReadonlyArray<readonly [string | undefined, boolean]> = [
    ["application/grpc", true],
    ["application/grpc+proto", true],
    ["application/grpc;charset=utf-8", true],
    ["Application/GRPC", true],
    ["application/grpc-web", false],
    ["application/grpc-web+proto", false],
    ["application/grpcx", false],
    ["text/html", false],
    [undefined, false]
  ]
  it.each(types)("content-type %s: %s", (type, expected) => {
    expect(GrpcFields.isGrpc(type)).toBe(expected)
  })

  const accepts: ReadonlyArray<readonly [ReadonlyArray<string>, boolean]> = [
    [[], false],
    [["identity"], false],
    [["gzip"], true],
    [["identity, deflate, gzip"], true],
    [["identity", "GZIP"], true],
    [["gzipped,xgzip"], false]
  ]
  it.each(accepts)("grpc-accept-encoding %j: gzip %s", (values, expected) => {
    expect(GrpcEncoding.acceptsGzip(values.map((value) => ["grpc-accept-encoding", value]))).toBe(expected)
  })
})
