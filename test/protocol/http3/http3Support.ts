import * as FastCheck from "effect/FastCheck"
import type { Field, Fields } from "../../../src/protocol/Fields.js"
import * as Http3Connection from "../../../src/protocol/http3/Http3Connection.js"
import { type Http3Code, Http3Violation } from "../../../src/protocol/http3/Http3Error.js"
import * as Frames from "../../../src/protocol/http3/Http3Frames.js"
import * as Http3Message from "../../../src/protocol/http3/Http3Message.js"
import { qpackTable } from "../../../src/protocol/http3/QpackTable.js"
import * as Varint from "../../../src/protocol/quic/Varint.js"

export const limits = { maxFieldSectionSize: 2_000 }

/** What a peer's bytes come to: the violation, or undefined. Anything else that is thrown goes on. */
export const violationOf = (run: () => void): Http3Violation | undefined => {
  try {
    run()
    return undefined
  } catch (error) {
    if (error instanceof Http3Violation) {
      return error
    }
    throw error
  }
}

export const codeOf = (run: () => void): Http3Code | undefined => violationOf(run)?.code

/** The bytes that are written. */
export const written = (write: (writer: Varint.Writer) => void): Buffer => {
  const writer = Varint.makeWriter()
  write(writer)
  return Varint.take(writer)
}

export const headers = (...fields: ReadonlyArray<Field>): Buffer =>
  written((writer) => Frames.writeHeaders(writer, fields))

export const data = (...bytes: ReadonlyArray<number>): Buffer =>
  written((writer) => Frames.writeData(writer, Uint8Array.from(bytes)))

/** A frame as it stands on the wire. */
export const frame = (type: number, payload: Uint8Array = new Uint8Array(0)): Buffer =>
  written((writer) => {
    Varint.reserve(writer, 16 + payload.length)
    writer.at = Varint.write(writer.buffer, writer.at, type)
    writer.at = Varint.write(writer.buffer, writer.at, payload.length)
    writer.buffer.set(payload, writer.at)
    writer.at += payload.length
  })

export const integers = (type: number, ...values: ReadonlyArray<number>): Buffer =>
  written((writer) => Frames.writeIntegers(writer, type, values))

export const show = (fields: Fields): string => fields.map(([name, value]) => `${name}=${value}`).join("&")

/** What was heard, as readable lines, with the content in one line however it came. */
export interface Log {
  readonly lines: Array<string>
  readonly add: (line: string) => void
  readonly addData: (chunk: Buffer) => void
}

export const makeLog = (): Log => {
  const lines: Array<string> = []
  let isData = false
  return {
    lines,
    add: (line) => {
      isData = false
      lines.push(line)
    },
    addData: (chunk) => {
      const hex = chunk.toString("hex")
      lines.push(isData ? `${lines.pop()}${hex}` : `data ${hex}`)
      isData = true
    }
  }
}

export interface Listener extends Log {
  readonly receive: (chunk: Buffer, fin: boolean) => void
}

/** Messages whose owner is the log of what was heard of them. */
const hear = (kind: Http3Message.Kind<Log>): Listener => {
  const log = makeLog()
  const message = Http3Message.make(kind, log)
  return { ...log, receive: (chunk, fin) => Http3Message.receive(chunk, fin, message) }
}

const onContent = {
  onData: (chunk: Buffer, log: Log) => log.addData(chunk),
  onTrailers: (trailers: Fields, log: Log) => log.add(`trailers ${show(trailers)}`),
  onEnd: (log: Log) => log.add("end")
}

export const hearRequest = (options: Http3Message.Options = limits): Listener =>
  hear(
    Http3Message.requests(
      {
        ...onContent,
        onHead: ({ authority, contentLength, fields, method, path, scheme }, log) =>
          log.add(`request ${method} ${scheme} ${authority} ${path} ${contentLength} ${show(fields)}`)
      },
      options
    )
  )

export const hearResponse = (method = "GET", options: Http3Message.Options = limits): Listener =>
  hear(
    Http3Message.responses(
      {
        ...onContent,
        onInformational: ({ fields, status }, log) => log.add(`informational ${status} ${show(fields)}`),
        onHead: ({ contentLength, fields, status }, log) =>
          log.add(`response ${status} ${contentLength} ${show(fields)}`)
      },
      { ...options, method }
    )
  )

export const settings: Http3Connection.Settings = { maxFieldSectionSize: 16_384, datagrams: true }

export interface End extends Log {
  readonly connection: Http3Connection.Http3Connection
}

export const makeEnd = (role: "client" | "server", mine = settings): End => {
  const log = makeLog()
  const connection = Http3Connection.make(role, mine, {
    onSettings: ({ datagrams, maxFieldSectionSize }) => log.add(`settings ${maxFieldSectionSize} ${datagrams}`),
    onGoaway: (id) => log.add(`goaway ${id}`)
  })
  return { ...log, connection }
}

/** Hands out bytes in pieces of the given sizes, over and over; the last with `fin`. */
export const inPieces = (
  bytes: Buffer,
  sizes: ReadonlyArray<number>,
  take: (chunk: Buffer, fin: boolean) => void
): void => {
  // What is received may be overwritten after the call, as an engine's one buffer is.
  const room = Buffer.alloc(bytes.length)
  let at = 0
  for (let i = 0; ; i++) {
    const end = Math.min(bytes.length, at + Math.max(1, sizes[i % sizes.length] ?? 1))
    const size = bytes.copy(room, 0, at, end)
    at = end
    take(room.subarray(0, size), at === bytes.length)
    room.fill(0xee)
    if (at === bytes.length) {
      return
    }
  }
}

/** All that a message comes to: what was heard, and the violation that ended it. */
export const outcome = (listener: Listener, bytes: Buffer, sizes: ReadonlyArray<number>): ReadonlyArray<string> => {
  const violation = violationOf(() => inPieces(bytes, sizes, listener.receive))
  return violation === undefined ? listener.lines : [...listener.lines, `${violation.scope} ${violation.code}`]
}

export const get: ReadonlyArray<Field> = [
  [":method", "GET"],
  [":scheme", "https"],
  [":authority", "a.example"],
  [":path", "/"]
]

export const post = (...fields: ReadonlyArray<Field>): Fields => [
  [":method", "POST"],
  [":scheme", "https"],
  [":authority", "a.example"],
  [":path", "/a.B/C"],
  ...fields
]

const text = (codes: FastCheck.Arbitrary<number>, minLength: number) =>
  FastCheck.array(codes, { minLength, maxLength: 40 }).map((all) => String.fromCharCode(...all))

const token = FastCheck.constantFrom(..."abcdefghijklmnopqrstuvwxyz0123456789!#$%&'*+-.^_`|~").map((character) =>
  character.charCodeAt(0)
)

/** Fields as applications send them, among them those of the static table. */
export const arbitraryField: FastCheck.Arbitrary<Field> = FastCheck.oneof(
  FastCheck.constantFrom(...qpackTable.filter(([name]) => !name.startsWith(":") && name !== "content-length")),
  FastCheck.tuple(
    FastCheck.oneof(
      text(token, 1).map((name) => `x-${name}`),
      FastCheck.constantFrom("authorization", "cookie", "grpc-timeout", "user-agent")
    ),
    text(
      FastCheck.integer({ min: 0x20, max: 0xff }).filter((code) => code !== 0x7f),
      0
    )
  )
)

export const arbitrarySizes = FastCheck.array(FastCheck.integer({ min: 1, max: 50 }), { minLength: 1, maxLength: 5 })

/** A control stream as it should begin. */
export const control = Buffer.concat([Buffer.of(0), integers(0x04, 0x06, 65_536)])

/** A message of gRPC as it stands in the content. */
export const message = (bytes: Uint8Array, { flag = 0, length = bytes.length } = {}) => {
  const prefix = Buffer.alloc(5)
  prefix[0] = flag
  prefix.writeUInt32BE(length, 1)
  return Buffer.concat([prefix, bytes])
}
