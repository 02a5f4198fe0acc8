import { describe, expect, it } from "@effect/vitest"
import * as GrpcJs from "@grpc/grpc-js"
import { ErrorDetails, Metadata, TransportError } from "effect-transport"
import * as GrpcStatus from "../../../src/Grpc/internal/grpcJs/GrpcStatus.js"

const where = { method: "/a.B/C", peer: "peer:1" }
const status = (code: number, details: string, metadata = new GrpcJs.Metadata()) => ({ code, details, metadata })
const trailersOnly = () => {
  const metadata = new GrpcJs.Metadata()
  metadata.add("content-type", "application/grpc")
  return metadata
}

describe("the status of grpc-js as an error", () => {
  it.each([
    // What it says itself of calls that did not get to the peer.
    [14, "No connection established. Last error: ECONNREFUSED", "Unavailable", "no"],
    [14, "Name resolution failed for target dns:nowhere", "Unavailable", "no"],
    [14, "Stream refused by server", "Unavailable", "no"],
    [14, "Channel closed before call started", "Unavailable", "no"],
    [13, "Failed to start HTTP/2 stream with error The session has been destroyed", "Unavailable", "no"],
    [14, "Connection dropped", "Unavailable", "unknown"],
    [1, "Call cancelled", "Cancelled", "unknown"]
  ] as const)("%i %s is %s, processed: %s", (code, details, tag, processed) => {
    const error = GrpcStatus.fromStatus(status(code, details), where, false)
    expect(error).toMatchObject({ _tag: tag, processed, message: details, ...where })
  })

  it.each([
    [14, "No connection established", "Unavailable"],
    [14, "Stream refused by server", "Unavailable"],
    [13, "Failed to start HTTP/2 stream with error x", "Internal"]
  ] as const)("%i %s that the peer says may have been processed", (code, details, tag) => {
    for (const error of [
      GrpcStatus.fromStatus(status(code, details), where, true),
      GrpcStatus.fromStatus(status(code, details, trailersOnly()), where, false)
    ]) {
      expect(error._tag).toBe(tag)
      expect("processed" in error ? error.processed : "unknown").toBe("unknown")
    }
  })

  it("has the class of every code, and Unknown for those that gRPC does not know", () => {
    for (const [code, clazz] of Object.entries(TransportError.statusErrors)) {
      expect(GrpcStatus.fromStatus(status(Number(code), "text"), where, true)).toBeInstanceOf(clazz)
    }
    for (const code of [17, 99, -1, 1.5, Number.NaN]) {
      expect(GrpcStatus.fromStatus(status(code, "text"), where, true)).toMatchObject({ _tag: "Unknown", code: 2 })
    }
  })

  it("is what it was made from", () => {
    const details = [ErrorDetails.pack(ErrorDetails.ErrorInfo, { reason: "BUSY", domain: "test" })]
    const error = new TransportError.NotFound({
      message: "no",
      details,
      metadata: Metadata.make({ "x-a": "1", "x-b-bin": Uint8Array.of(0, 255) })
    })
    const sent = GrpcStatus.toStatus(error, Metadata.concat(Metadata.make({ "x-t": "2" }), error.metadata))
    expect(GrpcStatus.fromStatus(sent, where, true)).toMatchObject({
      _tag: "NotFound",
      message: "no",
      details,
      metadata: {
        entries: [
          ["x-t", "2"],
          ["x-a", "1"],
          ["x-b-bin", Uint8Array.of(0, 255)]
        ]
      }
    })
  })

  it("leaves less room beside it the longer its text is when it is encoded", () => {
    const room = (message: string) => GrpcStatus.roomBeside(new TransportError.NotFound({ message }))
    expect([room(""), room("a"), room("é")]).toEqual([60 * 1024, 60 * 1024 - 1, 60 * 1024 - 6])
  })

  it("cuts long texts, and mends broken ones", () => {
    const text = (message: string) =>
      GrpcStatus.toStatus(new TransportError.Aborted({ message }), Metadata.empty).details
    expect(text("x".repeat(10_000))).toBe("x".repeat(4096))
    expect(text("a\ud800b")).toBe("a\ufffdb")
    expect(text(`${"x".repeat(4095)}🚀`)).toBe("x".repeat(4095))
    expect(text("日".repeat(4096))).toBe("日".repeat(1365))
  })
})
