import { describe, expect, it } from "@effect/vitest"
import * as FastCheck from "effect/FastCheck"
import * as Schema from "effect/Schema"
import { ErrorDetails, Internal, Metadata, TransportError, Unavailable, Unknown } from "effect-transport"

const classes = Object.entries(TransportError.statusErrors).map(([code, clazz]) => ({ code: Number(code), clazz }))

const names = [
  "Cancelled",
  "Unknown",
  "InvalidArgument",
  "DeadlineExceeded",
  "NotFound",
  "AlreadyExists",
  "PermissionDenied",
  "ResourceExhausted",
  "FailedPrecondition",
  "Aborted",
  "OutOfRange",
  "Unimplemented",
  "Internal",
  "Unavailable",
  "DataLoss",
  "Unauthenticated"
]

const props = FastCheck.record({
  message: FastCheck.fullUnicodeString(),
  metadata: FastCheck.constantFrom(
    Metadata.empty,
    Metadata.make({ "x-reason": "busy", "x-proof-bin": new Uint8Array([0, 255]) })
  ),
  details: FastCheck.array(
    FastCheck.record({ type: FastCheck.string(), value: FastCheck.uint8Array({ maxLength: 20 }) }),
    { maxLength: 3 }
  )
})

describe("TransportError", () => {
  it("has one class for each of gRPC's sixteen statuses, by gRPC's number", () => {
    expect(classes.map(({ code, clazz }) => [code, new clazz({ message: "" })._tag])).toEqual(
      names.map((name, index) => [index + 1, name])
    )
  })

  it.prop(
    "fromCode gives a status error for any number",
    [FastCheck.oneof(FastCheck.integer(), FastCheck.integer({ min: -1, max: 18 }))],
    ([code]) => {
      const error = TransportError.fromCode(code, { message: "no" })
      expect(TransportError.isStatusError(error)).toBe(true)
      if (code >= 1 && code <= 16) {
        expect(error).toMatchObject({
          _tag: names[code - 1],
          code,
          message: "no",
          details: [],
          metadata: Metadata.empty
        })
      } else {
        expect(error).toMatchObject({ _tag: "Unknown", code: 2, message: `status ${code}: no` })
      }
    }
  )

  it("fromCode fills in what the constructor fills in", () => {
    for (const { code, clazz } of classes) {
      expect({ ...TransportError.fromCode(code, { message: "no" }) }).toEqual({ ...new clazz({ message: "no" }) })
    }
  })

  it("isStatusError refuses everything else", () => {
    for (const other of [undefined, null, {}, new Error("no"), { _tag: "Internal", code: 13, message: "no" }]) {
      expect(TransportError.isStatusError(other)).toBe(false)
    }
    expect(TransportError.isStatusError(new Internal({ message: "no" }))).toBe(true)
  })

  describe.each(classes)("status $code", ({ clazz }) => {
    const schema = clazz as unknown as Schema.Schema<TransportError.StatusError, unknown>
    const make = (props: TransportError.StatusProps): TransportError.StatusError => new clazz(props)

    it.prop("survives its schema", [props], ([props]) => {
      const error = make({ ...props, peer: "node-1:50051", method: "/echo.v1.EchoService/Echo" })
      const decoded = Schema.decodeUnknownSync(schema)(Schema.encodeSync(schema)(error))
      expect(decoded).toBeInstanceOf(clazz)
      expect({ ...decoded }).toEqual({ ...error })
      expect(decoded.metadata.entries).toEqual(error.metadata.entries)
    })
  })

  it("keeps what is known of the call's fate through its schema", () => {
    const error = new Unavailable({ message: "gone", processed: "no" })
    expect(Schema.decodeSync(Unavailable)(Schema.encodeSync(Unavailable)(error)).processed).toBe("no")
    expect(new Unavailable({ message: "gone" }).processed).toBe("unknown")
  })

  it("of a call that has not run says so in a detail that every peer of gRPC can read", () => {
    const info = ErrorDetails.pack(ErrorDetails.ErrorInfo, { reason: "NOT_PROCESSED", domain: "effect-transport" })
    const other = ErrorDetails.pack(ErrorDetails.RetryInfo, { retryDelay: { seconds: 1n } })
    expect(TransportError.notProcessed).toEqual(info)
    expect(TransportError.fromCode(14, { message: "", details: [other, info] })).toMatchObject({
      processed: "no",
      details: [other]
    })
    expect(TransportError.fromCode(14, { message: "", details: [info], processed: "unknown" })).toMatchObject({
      processed: "no",
      details: []
    })
    for (const code of [1, 8, 13]) {
      const error = TransportError.fromCode(code, { message: "", details: [info] })
      expect(error.details).toEqual([info])
      expect(error).not.toMatchObject({ processed: "no" })
    }
  })

  it("is an Error that reads well", () => {
    const error = new Unknown({ message: "what was that" })
    expect(error).toBeInstanceOf(Error)
    expect(String(error)).toContain("what was that")
    expect(error.name).toBe("Unknown")
  })
})
