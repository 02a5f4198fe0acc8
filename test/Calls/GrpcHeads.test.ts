import { describe, expect, it } from "@effect/vitest"
import * as Either from "effect/Either"
import * as GrpcClientHead from "../../src/Calls/GrpcClientHead.js"
import * as GrpcReceiving from "../../src/Calls/GrpcReceiving.js"
import * as GrpcServerHead from "../../src/Calls/GrpcServerHead.js"
import type { Fields } from "../../src/protocol/Fields.js"
import * as GrpcMessage from "../../src/protocol/grpc/GrpcMessage.js"
import * as HttpFields from "../../src/protocol/http/HttpFields.js"
import * as Metadata from "../../src/Transport/Metadata.js"
import { NotFound } from "../../src/Transport/TransportError.js"

const target = { scheme: "https", authority: "a.example", path: "/a.B/C", compression: "identity" } as const

const headOf = (...more: Fields) =>
  HttpFields.readRequestHead([...GrpcClientHead.requestFields(target), ...more], { needsAuthority: true })

describe("the head of a request", () => {
  it("is read as it was written", () => {
    const timeout = GrpcClientHead.timeoutField(1500)
    const fields = [
      ...GrpcClientHead.requestFields({ ...target, compression: "gzip" }),
      ...(timeout === undefined ? [] : [timeout]),
      ["x-a", "1"] as const
    ]
    const head = HttpFields.readRequestHead(fields, { needsAuthority: true })
    expect(GrpcServerHead.isGrpc(head)).toBe(true)
    expect(GrpcServerHead.read(head)).toEqual({
      encoding: "gzip",
      acceptsGzip: true,
      timeout: 1500,
      metadata: Metadata.unsafeFromEntries([["x-a", "1"]])
    })
  })

  it("is read once where it has no metadata", () => {
    const head = headOf()
    expect(GrpcServerHead.read(head)).toBe(GrpcServerHead.read(head))
    expect(GrpcServerHead.read(head)).toMatchObject({
      encoding: "identity",
      timeout: Number.POSITIVE_INFINITY,
      metadata: Metadata.empty
    })
  })

  it("may have a timeout that is none", () => {
    expect(GrpcServerHead.read(headOf(["grpc-timeout", "soon"])).timeout).toBeNaN()
    expect(GrpcClientHead.timeoutField(Number.POSITIVE_INFINITY)).toBeUndefined()
  })

  it("may name an encoding that nobody reads here", () => {
    const errorOf = (encoding: string) =>
      GrpcServerHead.checkEncoding(GrpcServerHead.read(headOf(["grpc-encoding", encoding])))
    expect([errorOf("gzip"), errorOf("identity")]).toEqual([undefined, undefined])
    expect(errorOf("snappy")).toMatchObject({
      _tag: "Unimplemented",
      message: expect.stringContaining("snappy"),
      metadata: Metadata.unsafeFromEntries([["grpc-accept-encoding", "identity,gzip"]])
    })
  })

  it("is none of gRPC for its method or its content-type", () => {
    const head = headOf()
    expect(GrpcServerHead.isGrpc({ ...head, method: "GET" })).toBe(false)
    expect(GrpcServerHead.isGrpc({ ...head, fields: [["content-type", "application/grpc-web"]] })).toBe(false)
    expect(GrpcServerHead.isGrpc({ ...head, fields: [] })).toBe(false)
  })
})

it("the trailers of an error are its status alone where the peer does not take more", () => {
  const error = new NotFound({ message: "no such thing" })
  const metadata = Metadata.unsafeFromEntries([["x-a", "x".repeat(100)]])
  const all = GrpcServerHead.errorTrailer(error, metadata, 10_000)
  expect(all.map(([name]) => name)).toEqual(["grpc-status", "grpc-message", "x-a"])
  expect(GrpcServerHead.errorTrailer(error, metadata, 200)).toEqual([["grpc-status", "5"]])
})

describe("an answer", () => {
  const where = { method: "/a.B/C", peer: "a" }
  const open = () => ({ answer: GrpcClientHead.makeAnswer(), messages: GrpcReceiving.makeInbound(1000), where })
  const grpc = ["content-type", "application/grpc"] as const

  it("has metadata in its head, and says how its messages are compressed", () => {
    const stream = open()
    const head = {
      status: 200,
      fields: [grpc, ["grpc-encoding", "gzip"], ["x-a", "1"]],
      contentLength: undefined
    } as const
    expect(GrpcClientHead.receiveHead(stream, head)).toEqual(Either.right(Metadata.unsafeFromEntries([["x-a", "1"]])))
    expect(stream.messages.decoder.takesCompressed).toBe(true)
    expect(stream.answer.trailers).toBeUndefined()
  })

  it("of one section has it in its trailers", () => {
    const stream = open()
    const fields = [grpc, ["grpc-status", "5"], ["grpc-message", "gone"], ["x-a", "1"]] as const
    expect(GrpcClientHead.receiveHead(stream, { status: 200, fields, contentLength: undefined })).toEqual(
      Either.right(Metadata.empty)
    )
    const metadata = GrpcClientHead.trailersOf(stream.answer)
    expect(GrpcClientHead.errorOf(stream, metadata)).toMatchObject({ _tag: "NotFound", message: "gone", metadata })
  })

  it("of something else is an error", () => {
    const fields = [["content-type", "text/html"]] as const
    const result = GrpcClientHead.receiveHead(open(), { status: 503, fields, contentLength: undefined })
    expect(Either.flip(result)).toMatchObject({ right: { _tag: "Unavailable" } })
  })

  const ends: ReadonlyArray<readonly [string, { trailers?: Fields; content?: Buffer }, string | undefined]> = [
    ["OK", { trailers: [["grpc-status", "0"]] }, undefined],
    ["nothing", {}, "Unknown"],
    ["content and no trailers", { content: Buffer.alloc(5) }, "Internal"],
    ["trailers without a status", { trailers: [["x-a", "1"]], content: Buffer.alloc(5) }, "Unknown"],
    ["OK within a message", { trailers: [["grpc-status", "0"]], content: Buffer.alloc(3) }, "Internal"],
    ["a status within a message", { trailers: [["grpc-status", "7"]], content: Buffer.alloc(3) }, "PermissionDenied"]
  ]
  it.each(ends)("ends with %s", (_, { content, trailers }, tag) => {
    const stream = open()
    stream.answer.trailers = trailers
    if (content !== undefined) {
      stream.answer.hasContent = true
      GrpcMessage.receive(stream.messages.decoder, { onMessage: () => {}, onBroken: () => {} }, 0, content)
    }
    expect(GrpcClientHead.errorOf(stream, Metadata.empty)?._tag).toBe(tag)
  })

  const resets: ReadonlyArray<readonly [GrpcClientHead.ResetMeaning, object, object]> = [
    ["Refused", { _tag: "Unavailable", processed: "no" }, { _tag: "Unavailable", processed: "unknown" }],
    ["Cancelled", { _tag: "Cancelled" }, { _tag: "Cancelled" }],
    ["Excessive", { _tag: "ResourceExhausted" }, { _tag: "ResourceExhausted" }],
    ["Insecure", { _tag: "PermissionDenied" }, { _tag: "PermissionDenied" }],
    ["Broken", { _tag: "Internal" }, { _tag: "Internal" }]
  ]
  it.each(resets)("that is reset: %s", (meaning, before, after) => {
    expect(GrpcClientHead.resetError(meaning, "CODE", false, where)).toMatchObject({ ...before, ...where })
    expect(GrpcClientHead.resetError(meaning, "CODE", true, where)).toMatchObject(after)
  })
})
