import { describe, expect, it } from "@effect/vitest"
import * as FastCheck from "effect/FastCheck"
import * as Fields from "../../../src/protocol/Fields.js"
import * as HttpFields from "../../../src/protocol/http/HttpFields.js"
import * as Frames from "../../../src/protocol/http3/Http3Frames.js"
import { Type } from "../../../src/protocol/http3/Http3Frames.js"
import * as Qpack from "../../../src/protocol/http3/Qpack.js"
import {
  arbitraryField,
  arbitrarySizes,
  data,
  frame,
  get,
  headers,
  hearRequest,
  hearResponse,
  integers,
  limits,
  makeLog,
  outcome,
  post,
  show,
  written
} from "./http3Support.js"

const whole = [Number.POSITIVE_INFINITY]
const request = (...parts: ReadonlyArray<Buffer>) => outcome(hearRequest(), Buffer.concat(parts), whole)
const response = (...parts: ReadonlyArray<Buffer>) => outcome(hearResponse(), Buffer.concat(parts), whole)
const ok: Fields.Field = [":status", "200"]

/** A frame of a type that is kept free so that ends learn to skip what they don't know: RFC 9114 section 7.2.8. */
const grease = (n: number, size: number) => frame(0x1f * n + 0x21, new Uint8Array(size))

describe("messages", () => {
  it("a request with content and trailers, and what nobody knows between", () => {
    expect(
      request(
        grease(0, 3),
        headers(...post(["te", "trailers"], ["x-a", "1"], ["x-a", "2"])),
        data(1, 2),
        grease(1_000_000, 300),
        data(),
        data(3),
        headers(["x-b", "3"]),
        grease(7, 0)
      )
    ).toEqual([
      "request POST https a.example /a.B/C undefined te=trailers&x-a=1&x-a=2",
      "data 010203",
      "trailers x-b=3",
      "end"
    ])
  })

  it("a response, and others before it", () => {
    expect(
      response(headers([":status", "103"], ["link", "x"]), headers([":status", "100"]), headers(ok), data(1))
    ).toEqual(["informational 103 link=x", "informational 100 ", "response 200 undefined ", "data 01", "end"])
  })

  it("a response of gRPC that is nothing but trailers", () => {
    expect(response(headers(ok, ["content-type", "application/grpc"], ["grpc-status", "5"]))).toEqual([
      "response 200 undefined content-type=application/grpc&grpc-status=5",
      "end"
    ])
  })

  it("fields that were prepared come before those of the message", () => {
    const prepared = Qpack.encodeLines(post(["te", "trailers"]))
    const bytes = written((writer) => {
      Frames.writeHeaders(writer, [["grpc-timeout", "1S"]], prepared)
      Frames.writeDataHead(writer, 2)
    })
    expect(request(bytes, Buffer.of(8, 9))).toEqual([
      "request POST https a.example /a.B/C undefined te=trailers&grpc-timeout=1S",
      "data 0809",
      "end"
    ])
  })

  it("content-length is kept to, but by what has no content", () => {
    const of = (length: string): Fields.Field => ["content-length", length]
    expect(request(headers(...post(of("3"))), data(1, 2), data(3)).at(-1)).toBe("end")
    expect(request(headers(...post(of("3"), of("3"))), data(1, 2, 3)).at(-1)).toBe("end")
    expect(request(headers(...post(of("3"))), data(1, 2), headers()).at(-1)).toBe("stream H3_MESSAGE_ERROR")
    expect(request(headers(...post(of("3"))), data(1, 2, 3, 4)).at(-1)).toBe("stream H3_MESSAGE_ERROR")
    expect(outcome(hearResponse("HEAD"), headers(ok, of("3")), whole).at(-1)).toBe("end")
    expect(response(headers([":status", "304"], of("3"))).at(-1)).toBe("end")
    expect(response(headers(ok, of("3"))).at(-1)).toBe("stream H3_MESSAGE_ERROR")
    for (const length of ["", "-1", "1.5", "3, 3", "0x3", "1e1", "9999999999999999"]) {
      expect(request(headers(...post(of(length)))).at(-1)).toBe("stream H3_MESSAGE_ERROR")
    }
  })

  it("requests to no origin, and such as name it by host", () => {
    expect(request(headers([":method", "CONNECT"], [":authority", "a:1"]))[0]).toBe(
      "request CONNECT undefined a:1 undefined undefined "
    )
    expect(request(headers([":method", "OPTIONS"], ...get.slice(1, 3), [":path", "*"]))[0]).toContain("OPTIONS https")
    expect(request(headers(...get.slice(0, 2), [":path", "/"], ["host", "b"]))[0]).toBe(
      "request GET https b / undefined host=b"
    )
  })

  it("a section of the largest size passes, one byte more does not", () => {
    const fits = (extra: number) => {
      const fields = [...get, ["x", ""] as const]
      const size = limits.maxFieldSectionSize - Fields.sectionSize(fields)
      return request(headers(...get, ["x", "~".repeat(size + extra)])).at(-1)
    }
    expect(fits(0)).toBe("end")
    expect(fits(1)).toBe("stream H3_EXCESSIVE_LOAD")
    expect(request(headers(...get), headers(["x", "y".repeat(limits.maxFieldSectionSize)])).at(-1)).toBe(
      "stream H3_EXCESSIVE_LOAD"
    )
    expect(request(frame(Type.headers, new Uint8Array(limits.maxFieldSectionSize + 1))).at(-1)).toBe(
      "stream H3_EXCESSIVE_LOAD"
    )
  })

  it("what is written of a head is what is heard of it", () => {
    const log = makeLog()
    const head = { method: "PUT", scheme: "https", authority: "a", path: "/p?q", fields: [["x", "y"] as const] }
    log.add(request(headers(...HttpFields.requestSection(head)))[0] ?? "")
    log.add(response(headers(...HttpFields.responseSection({ status: 404, fields: head.fields })))[0] ?? "")
    expect(log.lines).toEqual(["request PUT https a /p?q undefined x=y", "response 404 undefined x=y"])
  })
})

describe("a message that breaks the rules ends its stream", () => {
  it("a head that is malformed", () => {
    expect(request(headers([":method", "GET"]))).toEqual(["stream H3_MESSAGE_ERROR"])
    expect(response(headers(["x", "y"]))).toEqual(["stream H3_MESSAGE_ERROR"])
  })

  it("a request that names no authority", () => {
    expect(request(headers(...get.filter(([name]) => name !== ":authority")))).toEqual(["stream H3_MESSAGE_ERROR"])
  })

  it("trailers with what belongs into a head", () => {
    expect(request(headers(...get), headers([":path", "/"])).at(-1)).toBe("stream H3_MESSAGE_ERROR")
    expect(response(headers(ok), headers(ok)).at(-1)).toBe("stream H3_MESSAGE_ERROR")
    expect(request(headers(...get), headers(["connection", "x"])).at(-1)).toBe("stream H3_MESSAGE_ERROR")
  })

  it("a stream that ends too early", () => {
    expect(request()).toEqual(["stream H3_REQUEST_INCOMPLETE"])
    expect(request(grease(1, 1))).toEqual(["stream H3_REQUEST_INCOMPLETE"])
    expect(response()).toEqual(["stream H3_MESSAGE_ERROR"])
    expect(response(headers([":status", "100"])).at(-1)).toBe("stream H3_MESSAGE_ERROR")
  })
})

describe("frames in the wrong place end the connection", () => {
  const unexpected: ReadonlyArray<readonly [string, ReadonlyArray<Buffer>]> = [
    ["DATA before HEADERS", [data(1)]],
    ["DATA behind the trailers", [headers(...get), headers(), data(1)]],
    ["HEADERS behind the trailers", [headers(...get), headers(), headers()]],
    ["SETTINGS", [integers(Type.settings)]],
    ["GOAWAY", [integers(Type.goaway, 0)]],
    ["CANCEL_PUSH", [integers(Type.cancelPush, 0)]],
    ["MAX_PUSH_ID", [integers(Type.maxPushId, 0)]],
    ["PUSH_PROMISE from a client", [headers(...get), frame(Type.pushPromise)]],
    ...[0x02, 0x06, 0x08, 0x09].map((type) => [`frame ${type} of HTTP/2`, [frame(type)]] as const)
  ]
  for (const [name, parts] of unexpected) {
    it(name, () => {
      expect(request(...parts).at(-1)).toBe("connection H3_FRAME_UNEXPECTED")
    })
  }

  it("PUSH_PROMISE from a server, which was allowed none", () => {
    expect(response(frame(Type.pushPromise))).toEqual(["connection H3_ID_ERROR"])
  })

  it("DATA behind a response that only announces one", () => {
    expect(response(headers([":status", "100"]), data(1)).at(-1)).toBe("connection H3_FRAME_UNEXPECTED")
  })

  it("a stream that ends within a frame", () => {
    const full = Buffer.concat([headers(...get), data(1, 2, 3)])
    const atFrames = [0, headers(...get).length, full.length]
    for (let size = 0; size <= full.length; size++) {
      expect(request(full.subarray(0, size)).at(-1) === "connection H3_FRAME_ERROR").toBe(!atFrames.includes(size))
    }
  })

  it("a section that is no QPACK", () => {
    expect(request(frame(Type.headers, Buffer.of(0, 0, 0x80)))).toEqual(["connection QPACK_DECOMPRESSION_FAILED"])
  })
})

describe("any bytes", () => {
  it("what is said is heard, however it is cut", () => {
    FastCheck.assert(
      FastCheck.property(
        FastCheck.array(arbitraryField, { maxLength: 6 }),
        FastCheck.array(FastCheck.uint8Array({ maxLength: 100 }), { maxLength: 6 }),
        FastCheck.option(FastCheck.array(arbitraryField, { maxLength: 4 })),
        arbitrarySizes,
        (fields, chunks, trailers, sizes) => {
          const bytes = Buffer.concat([
            headers(...post(...fields)),
            ...chunks.flatMap((chunk) => [data(...chunk), grease(chunk.length, chunk.length)]),
            ...(trailers === null ? [] : [headers(...trailers)])
          ])
          const content = Buffer.concat(chunks).toString("hex")
          expect(outcome(hearRequest({ maxFieldSectionSize: 100_000 }), bytes, sizes)).toEqual([
            `request POST https a.example /a.B/C undefined ${show(fields)}`,
            ...(content === "" ? [] : [`data ${content}`]),
            ...(trailers === null ? [] : [`trailers ${show(trailers)}`]),
            "end"
          ])
        }
      ),
      { numRuns: 500 }
    )
  })

  it("give a message or a violation, and the same however they are cut", () => {
    FastCheck.assert(
      FastCheck.property(
        FastCheck.array(
          FastCheck.oneof(
            FastCheck.constantFrom(headers(...get), headers(ok), headers([":status", "100"]), headers(), data(1, 2)),
            FastCheck.tuple(FastCheck.nat(14), FastCheck.uint8Array({ maxLength: 30 })).map(([type, payload]) =>
              frame(type, payload)
            ),
            FastCheck.uint8Array({ maxLength: 10 }).map((bytes) => Buffer.from(bytes))
          ),
          { maxLength: 8 }
        ),
        arbitrarySizes,
        (parts, sizes) => {
          const bytes = Buffer.concat(parts)
          expect(outcome(hearRequest(), bytes, sizes)).toEqual(outcome(hearRequest(), bytes, whole))
          expect(outcome(hearResponse(), bytes, sizes)).toEqual(outcome(hearResponse(), bytes, whole))
        }
      ),
      { numRuns: 3000 }
    )
  })
})
