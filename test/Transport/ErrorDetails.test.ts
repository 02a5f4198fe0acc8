import { create, toBinary } from "@bufbuild/protobuf"
import { AnySchema } from "@bufbuild/protobuf/wkt"
import { describe, expect, it } from "@effect/vitest"
import * as FastCheck from "effect/FastCheck"
import { pipe } from "effect/Function"
import * as Option from "effect/Option"
import { Aborted, ErrorDetails, TransportError } from "effect-transport"
import { StatusSchema } from "../../src/gen/google/rpc/status_pb.js"

const text = FastCheck.fullUnicodeString()

const errorInfo = FastCheck.record({
  reason: text,
  domain: text,
  metadata: FastCheck.dictionary(text, text, { maxKeys: 4 })
}).map((message) => create(ErrorDetails.ErrorInfo, message))

const retryInfo = FastCheck.record({
  seconds: FastCheck.bigInt({ min: 0n, max: 10n ** 11n }),
  nanos: FastCheck.integer({ min: 0, max: 999_999_999 })
}).map((retryDelay) => create(ErrorDetails.RetryInfo, { retryDelay }))

const detail = FastCheck.record({
  type: FastCheck.stringMatching(/^[a-z]{1,8}(\.[A-Za-z_]{1,8}){0,3}$/),
  value: FastCheck.uint8Array({ maxLength: 40 })
})

const code = FastCheck.integer({ min: 1, max: 16 })

describe("ErrorDetails", () => {
  it.prop("get finds what pack packed, by type", [errorInfo, retryInfo], ([errorInfo, retryInfo]) => {
    const error = new Aborted({
      message: "no",
      details: [
        ErrorDetails.pack(ErrorDetails.ErrorInfo, errorInfo),
        ErrorDetails.pack(ErrorDetails.RetryInfo, retryInfo)
      ]
    })
    expect(ErrorDetails.get(error, ErrorDetails.ErrorInfo)).toEqual(Option.some(errorInfo))
    expect(ErrorDetails.get(error, ErrorDetails.RetryInfo)).toEqual(Option.some(retryInfo))
    expect(ErrorDetails.get(error, ErrorDetails.BadRequest)).toEqual(Option.none())
    expect(pipe(error, ErrorDetails.get(ErrorDetails.RetryInfo))).toEqual(Option.some(retryInfo))
    expect(pipe(error, ErrorDetails.get(ErrorDetails.BadRequest))).toEqual(Option.none())
  })

  it.prop("get takes the first of several of one type", [errorInfo, errorInfo], ([first, second]) => {
    const details = [first, second].map((each) => ErrorDetails.pack(ErrorDetails.ErrorInfo, each))
    expect(ErrorDetails.get({ details }, ErrorDetails.ErrorInfo)).toEqual(Option.some(first))
  })

  it.prop("get takes any bytes without a throw", [FastCheck.uint8Array()], ([value]) => {
    const found = ErrorDetails.get({ details: [{ type: "google.rpc.BadRequest", value }] }, ErrorDetails.BadRequest)
    expect(Option.isOption(found)).toBe(true)
  })

  it("get finds nothing in bytes of another type", () => {
    const details = [{ type: "google.rpc.RetryInfo", value: Uint8Array.of(0x0a, 0x7f) }]
    expect(ErrorDetails.get({ details }, ErrorDetails.RetryInfo)).toEqual(Option.none())
  })

  it.prop(
    "details survive the google.rpc.Status message",
    [code, text, FastCheck.array(detail, { maxLength: 4 })],
    ([code, message, details]) => {
      const error = TransportError.fromCode(code, { message, details })
      expect(ErrorDetails.decodeStatus(ErrorDetails.encodeStatus(error))).toEqual(details)
    }
  )

  it.prop("a message that is no Unicode is no obstacle", [FastCheck.string16bits(), code], ([message, code]) => {
    const details = [{ type: "a.B", value: Uint8Array.of(1) }]
    const error = TransportError.fromCode(code, { message, details })
    expect(ErrorDetails.decodeStatus(ErrorDetails.encodeStatus(error))).toEqual(details)
  })

  it.prop("decodeStatus takes any bytes without a throw", [FastCheck.uint8Array()], ([bytes]) => {
    expect(Array.isArray(ErrorDetails.decodeStatus(bytes))).toBe(true)
  })

  it("decodeStatus takes bytes that almost are a status", () => {
    const whole = ErrorDetails.encodeStatus(
      new Aborted({ message: "no", details: [ErrorDetails.pack(ErrorDetails.ErrorInfo, { reason: "BUSY" })] })
    )
    expect(ErrorDetails.decodeStatus(whole)).toHaveLength(1)
    for (let length = 0; length < whole.length; length++) {
      expect(ErrorDetails.decodeStatus(whole.subarray(0, length))).toEqual([])
    }
  })

  it.each([
    ["type.googleapis.com/google.rpc.RetryInfo", "google.rpc.RetryInfo"],
    ["example.org/some/where/a.B", "a.B"],
    ["a.B", "a.B"],
    ["", ""]
  ])("reads the type of %j", (typeUrl, type) => {
    const value = Uint8Array.of(1)
    const status = create(StatusSchema, { code: 3, details: [create(AnySchema, { typeUrl, value })] })
    expect(ErrorDetails.decodeStatus(toBinary(StatusSchema, status))).toEqual([{ type, value }])
  })

  it("gives plain bytes, whatever they came in", () => {
    const details = [{ type: "a.B", value: Uint8Array.of(1, 2, 3) }]
    const encoded = Buffer.from(ErrorDetails.encodeStatus(new Aborted({ message: "no", details })))
    expect(ErrorDetails.decodeStatus(encoded)).toEqual(details)
    expect(ErrorDetails.decodeStatus(encoded).map(({ value }) => value.constructor)).toEqual([Uint8Array])
  })
})
