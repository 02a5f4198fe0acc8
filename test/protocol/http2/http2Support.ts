/** Ends of HTTP/2 connections for tests: what each was told, as readable lines, and bytes carried between two of them. */
import { constVoid } from "effect/Function"
import type { Fields } from "../../../src/protocol/Fields.js"
import * as Http2Connection from "../../../src/protocol/http2/Http2Connection.js"
import { type Http2Code, Http2Violation, nameOf } from "../../../src/protocol/http2/Http2Error.js"

export const limits: Http2Connection.Limits = {
  maxConcurrentStreams: 100,
  maxHeaderListSize: 8192,
  streamWindow: 65_535,
  maxStreamWindow: 65_535,
  connectionWindow: 1 << 20,
  maxCallRate: 1_000_000,
  maxCancelRate: 1_000_000,
  maxPingRate: 1_000_000,
  maxUselessRate: 1_000_000
}

/** What a test keeps with a stream: how many bytes have come and were not read. */
export interface Owner {
  received: number
  unread: number
  sum: number
}

export type Stream = Http2Connection.Stream<Owner>

export interface End {
  readonly role: Http2Connection.Role
  readonly http2: Http2Connection.Http2Connection<Owner>
  readonly log: Array<string>
  readonly streams: Map<number, Stream>
  isFull: boolean
}

export const makeOwner = (): Owner => ({ received: 0, unread: 0, sum: 7 })

export const show = (fields: Fields) => fields.map(([name, value]) => `${name}=${value}`).join("&")

/** Bytes of a size. */
export const bytes = (size: number) => Uint8Array.from({ length: size }, (_, i) => (i * 7 + (i >> 8)) & 0xff)

export const digestOn = (sum: number, bytes: Uint8Array) => bytes.reduce((sum, byte) => (sum * 31 + byte) | 0, sum)

export const digest = (...parts: ReadonlyArray<Uint8Array>) => {
  const whole = Buffer.concat(parts)
  return `${whole.length}:${digestOn(7, whole)}`
}

export const makeEnd = (
  role: Http2Connection.Role,
  options: Partial<Http2Connection.Limits> = {},
  on: Partial<Http2Connection.Events<Owner>> = {}
): End => {
  const log: Array<string> = []
  const streams = new Map<number, Stream>()
  const received = ({ owner }: Stream) => `${owner?.received}:${owner?.sum}`
  const events: Http2Connection.Events<Owner> = {
    onSettings: constVoid,
    onRequest: (stream, { fields, method, path }, isEnd) => {
      stream.owner = makeOwner()
      streams.set(stream.id, stream)
      log.push(`request ${stream.id} ${method} ${path} ${show(fields)}${isEnd ? " end" : ""}`)
    },
    onResponse: ({ id }, { fields, status }, isEnd) =>
      log.push(`response ${id} ${status} ${show(fields)}${isEnd ? " end" : ""}`),
    onTooLarge: (stream, isTrailers) => {
      stream.owner ??= makeOwner()
      streams.set(stream.id, stream)
      log.push(`too large ${stream.id}${isTrailers ? " trailers" : ""}`)
    },
    onData: ({ owner }, bytes) => {
      if (owner !== undefined) {
        owner.received += bytes.length
        owner.unread += bytes.length
        owner.sum = digestOn(owner.sum, bytes)
      }
    },
    onTrailers: ({ id }, fields) => log.push(`trailers ${id} ${show(fields)}`),
    onEnd: (stream) => log.push(`end ${stream.id} ${received(stream)}`),
    onReset: ({ id }, code, by) => log.push(`reset ${id} ${nameOf(code)} ${by}`),
    onGoaway: (last, code, text) => log.push(`goaway ${last} ${nameOf(code)} ${text}`),
    onPing: constVoid,
    onPong: (payload) => log.push(`pong ${payload}`),
    isFull: () => end.isFull,
    ...on
  }
  const http2 = Http2Connection.make<Owner>(role, { ...limits, ...options }, events)
  const end: End = { role, http2, log, streams, isFull: false }
  return end
}

/** Gives bytes to an end in pieces of the given sizes, over and over. */
export const receive = (
  end: End,
  bytes: Buffer,
  sizes: ReadonlyArray<number> = [Number.POSITIVE_INFINITY],
  now = 0
): void => {
  let at = 0
  for (let i = 0; at < bytes.length; i++) {
    const size = Math.max(1, sizes[i % sizes.length] ?? 1)
    end.http2.receive(bytes.subarray(at, Math.min(bytes.length, at + size)), now)
    at += size
  }
}

export const take = (end: End, budget = 64 * 1024): Buffer => {
  const taken = Buffer.concat(end.http2.output(budget))
  end.http2.reclaim()
  return taken
}

/** Carries what one end has written to the other. */
export const carry = (from: End, to: End, sizes?: ReadonlyArray<number>, now = 0): number => {
  const bytes = take(from)
  receive(to, bytes, sizes, now)
  return bytes.length
}

/** Carries both ways until nothing moves. */
export const settle = (a: End, b: End, sizes?: ReadonlyArray<number>): void => {
  let moved = 1
  for (let i = 0; moved > 0; i++) {
    if (i > 10_000) {
      throw new Error("two ends do not come to rest")
    }
    moved = carry(a, b, sizes) + carry(b, a, sizes)
  }
}

export const pair = (
  options?: Partial<Http2Connection.Limits>,
  onClient?: Partial<Http2Connection.Events<Owner>>,
  onServer?: Partial<Http2Connection.Events<Owner>>
) => {
  const client = makeEnd("client", options, onClient)
  const server = makeEnd("server", options, onServer)
  settle(client, server)
  return { client, server }
}

export const requestFields: Fields = [
  [":method", "POST"],
  [":scheme", "https"],
  [":path", "/a.B/C"],
  [":authority", "a:1"],
  ["content-type", "application/grpc"],
  ["te", "trailers"]
]

export const responseFields: Fields = [
  [":status", "200"],
  ["content-type", "application/grpc"]
]

export const trailerFields: Fields = [["grpc-status", "0"]]

/** Opens a stream at a client. */
export const open = (client: End, isEnd = false, rest: Fields = []): Stream => {
  const stream = client.http2.open(client.http2.makeHead(requestFields), rest, isEnd, makeOwner())
  client.streams.set(stream.id, stream)
  return stream
}

export const respond = (server: End, stream: Stream, isEnd = false): void =>
  server.http2.sendHeaders(stream, server.http2.makeHead(responseFields), [], isEnd)

export const streamOf = (end: End, id: number): Stream => {
  const stream = end.streams.get(id)
  if (stream === undefined) {
    throw new Error(`no stream ${id}`)
  }
  return stream
}

/** Reads all that has come of a stream and was not read. */
export const read = (end: End, stream: Stream): void => {
  if (stream.owner !== undefined) {
    end.http2.consume(stream, stream.owner.unread)
    stream.owner.unread = 0
  }
}

export const readAll = (end: End): void => {
  for (const stream of end.streams.values()) {
    read(end, stream)
  }
}

/** The code of the violation that bytes are, or undefined for such as are none. */
export const violationOf = (run: () => void): Http2Code | undefined => {
  try {
    run()
    return undefined
  } catch (error) {
    if (error instanceof Http2Violation) {
      return error.code
    }
    throw error
  }
}

/** A frame as it stands on the wire. */
export const frame = (
  type: number,
  flags: number,
  id: number,
  payload: Uint8Array | ReadonlyArray<number> = []
): Buffer => {
  const header = Buffer.alloc(9)
  header.writeUIntBE(payload.length, 0, 3)
  header[3] = type
  header[4] = flags
  header.writeUInt32BE(id, 5)
  return Buffer.concat([header, Uint8Array.from(payload)])
}

export const uint32 = (value: number): Buffer => {
  const bytes = Buffer.alloc(4)
  bytes.writeUInt32BE(value)
  return bytes
}

/** A SETTINGS frame. */
export const settings = (...entries: ReadonlyArray<readonly [id: number, value: number]>): Buffer =>
  frame(4, 0, 0, Buffer.concat(entries.map(([id, value]) => Buffer.concat([Buffer.from([0, id]), uint32(value)]))))

export interface Frame {
  readonly type: number
  readonly flags: number
  readonly id: number
  readonly payload: Buffer
}

/** The frames that bytes are, without the preface of a client. */
export const frames = (bytes: Buffer): ReadonlyArray<Frame> => {
  const all: Array<Frame> = []
  let at = bytes.subarray(0, 3).toString() === "PRI" ? 24 : 0
  while (at < bytes.length) {
    const length = bytes.readUIntBE(at, 3)
    all.push({
      type: bytes.readUInt8(at + 3),
      flags: bytes.readUInt8(at + 4),
      id: bytes.readUInt32BE(at + 5),
      payload: bytes.subarray(at + 9, at + 9 + length)
    })
    at += 9 + length
  }
  return all
}

/** A POST for https and / as a header block, without a table. */
export const requestBlock: ReadonlyArray<number> = [0x83, 0x87, 0x84]

/** A literal field of a header block, without a table. */
export const literal = (name: string, value: string): ReadonlyArray<number> => [
  0,
  name.length,
  ...Buffer.from(name),
  value.length,
  ...Buffer.from(value)
]

/** What a client sends at first: its preface, no settings, and that it has read the server's. */
export const greeting: Buffer = Buffer.concat([
  Buffer.from("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
  settings(),
  frame(4, 1, 0)
])
