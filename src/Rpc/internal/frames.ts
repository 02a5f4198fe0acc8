/** Cuts what an RPC peer sends into frames, and scans each before it is decoded. */
import type { FromClientEncoded, FromServerEncoded } from "@effect/rpc/RpcMessage"
import type * as RpcSerialization from "@effect/rpc/RpcSerialization"
import * as Either from "effect/Either"
import { escapeText } from "../../Transport/internal/boundary.js"
import type * as FrameScan from "./frameScan.js"
import * as JsonScan from "./jsonScan.js"
import * as MsgPackScan from "./msgPackScan.js"

/** The frames in what a peer sends, one after the other, none of which is decoded before it has been scanned. */
export interface Reader<A> {
  /** A message of the call. It holds any number of frames where the serialization tells where one ends, and parts of them. */
  readonly push: (message: Uint8Array) => void
  /** The next frame, undefined when there is none as yet, or why what comes is none. After that nothing comes. */
  readonly next: () => Either.Either<A | undefined, string>
  /** Bytes that have been received and not been read. */
  readonly unread: () => number
}

export const limitsOf = (options: {
  readonly maxFrameSize?: number | undefined
  readonly maxFrameElements?: number | undefined
}): FrameScan.Limits => ({
  maxFrameSize: options.maxFrameSize ?? 8 * 1024 * 1024,
  maxFrameElements: options.maxFrameElements ?? 65_536
})

type Format = "MessagePack" | "JSON" | "unknown"

/** Which scan a serialization needs, by what it writes: its content type is whatever its user says. */
export const formatOf = (serialization: RpcSerialization.RpcSerialization["Type"]): Format => {
  try {
    const encoded = serialization.unsafeMake().encode({ _tag: "Ping" })
    if (typeof encoded === "string") {
      return encoded.startsWith("{") ? "JSON" : "unknown"
    }
    // A record, or a map of one.
    const isMap = encoded?.[0] === 0x81 || (encoded?.[0] === 0xde && encoded[1] === 0 && encoded[2] === 1)
    return isMap || (encoded?.[0] === 0xd4 && encoded[1] === 0x72) ? "MessagePack" : "unknown"
  } catch {
    return "unknown"
  }
}

const maxTextLength = 1024
const maxHeaders = 128
const maxHeadersSize = 16 * 1024

/** The longest unfinished piece that is kept as it came; a buffer that grows holds longer ones. */
const minBuffer = 1024

const id = /^(0|[1-9]\d{0,19})?$/

/**
 * Unsigned, of 20 digits at most, and in the one way to write them. A number of millions of digits takes seconds to read.
 * JSON-RPC writes none for 0.
 */
const isId = (value: unknown) =>
  typeof value === "string"
    ? value.length <= 20 && id.test(value)
    : typeof value === "number"
      ? Number.isSafeInteger(value) && value >= 0
      : typeof value === "bigint" && value >= 0n && value < 2n ** 64n

const isText = (value: unknown) => typeof value === "string" && value.length <= maxTextLength
const isTextOrNone = (value: unknown) => value === undefined || value === null || isText(value)

const areHeaders = (headers: unknown): boolean => {
  if (!Array.isArray(headers) || headers.length > maxHeaders) {
    return false
  }
  let size = 0
  return headers.every((header) => {
    if (!Array.isArray(header) || header.length !== 2) {
      return false
    }
    const [name, value] = header
    if (typeof name !== "string" || typeof value !== "string") {
      return false
    }
    size += name.length + value.length
    return size <= maxHeadersSize
  })
}

/** What `@effect/rpc` would stumble over, or repeat at length. */
const isFrame = (frame: unknown): boolean => {
  if (typeof frame !== "object" || frame === null || !Object.hasOwn(frame, "_tag")) {
    return false
  }
  const fields = frame as { readonly [field: string]: unknown }
  switch (fields._tag) {
    case "Request":
      return (
        isId(fields.id) &&
        isText(fields.tag) &&
        (fields.headers === undefined || areHeaders(fields.headers)) &&
        isTextOrNone(fields.traceId) &&
        isTextOrNone(fields.spanId)
      )
    case "Ack":
    case "Interrupt":
      return isId(fields.requestId)
    case "Chunk":
      return isId(fields.requestId) && Array.isArray(fields.values) && fields.values.length > 0
    case "Exit":
      return isId(fields.requestId) && typeof fields.exit === "object" && fields.exit !== null
    // What a client's own protocol tells it.
    case "ClientProtocolError":
      return false
    default:
      return isText(fields._tag)
  }
}

const makeScan = (format: Format, isFramed: boolean, limits: FrameScan.Limits): FrameScan.Scan | undefined => {
  switch (format) {
    case "JSON":
      return JsonScan.make(limits, isFramed)
    case "MessagePack":
      return MsgPackScan.make(limits)
    case "unknown":
      return undefined
  }
}

const text = new TextEncoder()

/**
 * A parser that encodes no frame which the other end would take for an attack: it throws, and that one request fails
 * instead of all that are in flight. An element is a byte at least, so that small frames need no scan.
 */
export const makeParser = (
  serialization: RpcSerialization.RpcSerialization["Type"],
  format: Format,
  limits: FrameScan.Limits
): RpcSerialization.Parser => {
  const parser = serialization.unsafeMake()
  return {
    decode: parser.decode,
    encode: (frame) => {
      const encoded = parser.encode(frame)
      if (encoded === undefined || encoded.length <= limits.maxFrameElements) {
        return encoded
      }
      const bytes = typeof encoded === "string" ? text.encode(encoded) : encoded
      const refusal = makeScan(format, serialization.includesFraming, limits)?.next(bytes, 0, bytes.length)
      if (typeof refusal === "string") {
        throw new Error(refusal)
      }
      return bytes
    }
  }
}

export const makeReader = <A extends FromClientEncoded | FromServerEncoded>(
  serialization: RpcSerialization.RpcSerialization["Type"],
  format: Format,
  parser: RpcSerialization.Parser,
  limits: FrameScan.Limits
): Reader<A> => {
  const isFramed = serialization.includesFraming
  const scan = makeScan(format, isFramed, limits)
  /** What has been received and not been read: from `start` to `end` of `buffer`. */
  let buffer: Uint8Array = new Uint8Array(0)
  let start = 0
  let end = 0
  let isOwn = false
  let decoded: ReadonlyArray<unknown> = []
  let read = 0
  let failure: Either.Either<never, string> | undefined

  const fail = (reason: string) => {
    buffer = new Uint8Array(0)
    start = 0
    end = 0
    decoded = []
    failure = Either.left(reason)
    return failure
  }

  /** Keeps the unfinished frame in a buffer that grows by doubling, so that one in many pieces is copied a few times. */
  const keep = (message: Uint8Array) => {
    const unread = end - start
    if (unread === 0) {
      buffer = message
      start = 0
      end = message.length
      isOwn = false
      return
    }
    const length = unread + message.length
    if (!isOwn || start + length > buffer.length) {
      const larger = new Uint8Array(Math.max(minBuffer, 2 * length))
      larger.set(buffer.subarray(start, end))
      buffer = larger
      start = 0
      end = unread
      isOwn = true
    }
    buffer.set(message, end)
    end += message.length
  }

  /** The bytes of the next frame. */
  const take = (): Either.Either<Uint8Array | undefined, string> => {
    if (start === end) {
      return Either.right(undefined)
    }
    let length = end - start
    if (scan !== undefined) {
      const found = scan.next(buffer, start, end)
      if (typeof found === "string") {
        return Either.left(found)
      }
      length = isFramed ? found : length
    }
    if (length === 0) {
      return Either.right(undefined)
    }
    const frame = buffer.subarray(start, start + length)
    start += length
    return Either.right(frame)
  }

  const decode = (frame: Uint8Array): Either.Either<ReadonlyArray<unknown>, string> => {
    try {
      const frames = parser.decode(frame)
      // One that msgpackr holds to be unfinished it would keep, and read again with whatever comes next.
      return format === "MessagePack" && frames.length !== 1 ? Either.left("no frame") : Either.right(frames)
    } catch (cause) {
      return Either.left(escapeText(cause instanceof Error ? cause.message : "no frame"))
    }
  }

  return {
    unread: () => end - start,
    push: (message) => {
      if (failure === undefined) {
        keep(message)
      }
    },
    next: () => {
      if (failure !== undefined) {
        return failure
      }
      while (read === decoded.length) {
        const frame = take()
        if (Either.isLeft(frame)) {
          return fail(frame.left)
        }
        if (frame.right === undefined) {
          return Either.right(undefined)
        }
        const frames = decode(frame.right)
        if (Either.isLeft(frames)) {
          return fail(frames.left)
        }
        decoded = frames.right
        read = 0
      }
      const frame = decoded[read]
      read += 1
      return isFrame(frame) ? Either.right(frame as A) : fail("a frame that is none")
    }
  }
}
