/**
 * The ceiling of gRPC: what Node's TLS and protobuf-es leave to HTTP/2 frames and HPACK in JavaScript, without Effect,
 * errors, deadlines, metadata or limits. It speaks gRPC, but only to itself: both ends send what the other expects.
 */
import { once } from "node:events"
import * as Tls from "node:tls"
import type { Connection, Contestant, Work } from "../contestant.js"
import { bindHost, echoPath, host, request, response } from "../echo.js"

const type = { data: 0, headers: 1, settings: 4, windowUpdate: 8 } as const
const endStream = 1
const ack = 1
const endHeaders = 4
const headerSize = 9
/** Of a gRPC message: a flag and its length. */
const prefixSize = 5

const preface = Buffer.from("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")

const frame = (frameType: number, flags: number, id: number, payload: Buffer) => {
  const out = Buffer.alloc(headerSize + payload.length)
  out.writeUIntBE(payload.length, 0, 3)
  out.writeUInt8(frameType, 3)
  out.writeUInt8(flags, 4)
  out.writeUInt32BE(id, 5)
  payload.copy(out, headerSize)
  return out
}

const windowUpdate = (size: number) => {
  const payload = Buffer.alloc(4)
  payload.writeUInt32BE(size)
  return frame(type.windowUpdate, 0, 0, payload)
}

const settingsAck = frame(type.settings, ack, 0, Buffer.alloc(0))
/** A window for each call that no call uses up, and nearly the same for the connection. */
const opening = Buffer.concat([
  frame(type.settings, 0, 0, Buffer.of(0, 4, 0x7f, 0xff, 0xff, 0xff)),
  windowUpdate(2 ** 30 - 2 ** 16)
])

/** The connection's window is given back in so large pieces. */
const creditBytes = 2 ** 20

type Field = readonly [name: string, value: string]

/** The names of HPACK's static table that are used here, and its values where they are sent by index. */
const staticTable = new Map<number, Field>([
  [1, [":authority", ""]],
  [3, [":method", "POST"]],
  [4, [":path", "/"]],
  [7, [":scheme", "https"]],
  [8, [":status", "200"]],
  [31, ["content-type", ""]]
])
const staticSize = 61
const indexed = 0x80
const literal = 0x40

/** A field that goes into the dynamic table, its name by index of the static one or, with 0, as text. */
const literalField = (index: number, [name, value]: Field) => {
  const text = (text: string) => Buffer.concat([Buffer.of(text.length), Buffer.from(text)])
  return Buffer.concat([Buffer.of(literal | index), ...(index === 0 ? [text(name)] : []), text(value)])
}

/** Fields by index of the dynamic table, where the last that went into it is the first. */
const dynamicFields = (...indexes: ReadonlyArray<number>) =>
  Buffer.from(indexes.map((index) => indexed | (staticSize + 1 + index)))

/** The first heads of a connection fill the dynamic table, and all further ones are the same few bytes. */
const heads = {
  request: {
    first: Buffer.concat([
      Buffer.of(indexed | 3, indexed | 7),
      literalField(4, [":path", echoPath]),
      literalField(1, [":authority", "localhost"]),
      literalField(31, ["content-type", "application/grpc"]),
      literalField(0, ["te", "trailers"]),
      literalField(0, ["grpc-timeout", "30S"])
    ]),
    further: Buffer.concat([Buffer.of(indexed | 3, indexed | 7), dynamicFields(4, 3, 2, 1, 0)])
  },
  response: {
    first: Buffer.concat([Buffer.of(indexed | 8), literalField(31, ["content-type", "application/grpc"])]),
    further: Buffer.concat([Buffer.of(indexed | 8), dynamicFields(1)])
  },
  trailers: { first: literalField(0, ["grpc-status", "0"]), further: dynamicFields(0) }
}

/** Reads field blocks without Huffman, and knows again those that it has read since the table last changed. */
const makeDecoder = () => {
  const dynamicTable: Array<Field> = []
  const known = new Map<string, ReadonlyArray<Field>>()
  const fieldAt = (index: number): Field =>
    (index <= staticSize ? staticTable.get(index) : dynamicTable[index - staticSize - 1]) ?? ["", ""]

  const decode = (block: Buffer): ReadonlyArray<Field> => {
    const fields: Array<Field> = []
    let at = 0
    const text = () => {
      const end = at + 1 + block.readUInt8(at)
      const value = block.toString("latin1", at + 1, end)
      at = end
      return value
    }
    while (at < block.length) {
      const first = block.readUInt8(at)
      at += 1
      if ((first & indexed) !== 0) {
        fields.push(fieldAt(first & 0x7f))
      } else {
        const index = first & 0x3f
        const name = index === 0 ? text() : fieldAt(index)[0]
        const field: Field = [name, text()]
        dynamicTable.unshift(field)
        known.clear()
        fields.push(field)
      }
    }
    return fields
  }

  return (block: Buffer): ReadonlyArray<Field> => {
    const key = block.toString("latin1")
    const again = known.get(key)
    if (again !== undefined) {
      return again
    }
    const size = dynamicTable.length
    const fields = decode(block)
    if (dynamicTable.length === size) {
      known.set(key, fields)
    }
    return fields
  }
}

const chunkBytes = 64 * 1024
const minChunkBytes = 8 * 1024
/** What is written in one turn goes to TLS together, or in pieces of this size. */
const writeBytes = 4096

/** Writes frames into a chunk, and the chunk to the socket once in a turn. */
const makeWriter = (socket: Tls.TLSSocket) => {
  let chunk = Buffer.allocUnsafe(chunkBytes)
  let at = 0
  let isScheduled = false
  const flush = () => {
    isScheduled = false
    if (at > 0) {
      socket.write(chunk.subarray(0, at))
      chunk = chunk.length - at < minChunkBytes ? Buffer.allocUnsafe(chunkBytes) : chunk.subarray(at)
      at = 0
    }
  }
  const header = (length: number, frameType: number, flags: number, id: number) => {
    chunk[at] = length >>> 16
    chunk[at + 1] = length >>> 8
    chunk[at + 2] = length
    chunk[at + 3] = frameType
    chunk[at + 4] = flags
    at = chunk.writeUInt32BE(id, at + 5)
  }
  const bytes = (content: Uint8Array) => {
    chunk.set(content, at)
    at += content.length
  }
  return {
    /** Makes room for what is written next. */
    begin: (size: number) => {
      if (chunk.length - at < size) {
        flush()
        chunk = chunk.length < size ? Buffer.allocUnsafe(Math.max(size, chunkBytes)) : chunk
      }
    },
    end: () => {
      if (at >= writeBytes) {
        flush()
      } else if (!isScheduled) {
        isScheduled = true
        setImmediate(flush)
      }
    },
    head: (id: number, flags: number, block: Buffer) => {
      header(block.length, type.headers, endHeaders | flags, id)
      bytes(block)
    },
    message: (id: number, flags: number, message: Buffer) => {
      header(prefixSize + message.length, type.data, flags, id)
      chunk[at] = 0
      at = chunk.writeUInt32BE(message.length, at + 1)
      bytes(message)
    },
    frame: (whole: Buffer) => socket.write(whole)
  }
}

type Writer = ReturnType<typeof makeWriter>

/** Takes what comes off a socket, behind so many bytes, and gives its frames. */
const makeReader = (
  skipped: number,
  onFrame: (frameType: number, flags: number, id: number, payload: Buffer) => void
) => {
  let rest: Buffer = Buffer.alloc(0)
  let at = skipped
  return (chunk: Buffer) => {
    const bytes = rest.length === 0 ? chunk : Buffer.concat([rest, chunk])
    while (bytes.length - at >= headerSize) {
      const end = at + headerSize + bytes.readUIntBE(at, 3)
      if (bytes.length < end) {
        break
      }
      onFrame(bytes[at + 3] ?? 0, bytes[at + 4] ?? 0, bytes.readUInt32BE(at + 5), bytes.subarray(at + headerSize, end))
      at = end
    }
    rest = bytes.subarray(at)
    at = 0
  }
}

/** What both ends do with frames that are no heads, but the content of calls. */
const receive = (
  socket: Tls.TLSSocket,
  writer: Writer,
  skipped: number,
  onHead: (id: number, flags: number, fields: ReadonlyArray<Field>) => void,
  onData: (id: number, flags: number, payload: Buffer) => void
) => {
  const decode = makeDecoder()
  let received = 0
  const onFrame = (frameType: number, flags: number, id: number, payload: Buffer) => {
    if (frameType === type.headers) {
      onHead(id, flags, decode(payload))
    } else if (frameType === type.data) {
      received += payload.length
      if (received > creditBytes) {
        writer.frame(windowUpdate(received))
        received = 0
      }
      onData(id, flags, payload)
    } else if (frameType === type.settings && (flags & ack) === 0) {
      writer.frame(settingsAck)
    }
  }
  socket.on("data", makeReader(skipped, onFrame)).on("error", () => {})
}

const joined = (data: Buffer | undefined, payload: Buffer) =>
  data === undefined ? payload : Buffer.concat([data, payload])

const fieldValue = (fields: ReadonlyArray<Field>, wanted: string) => fields.find(([name]) => name === wanted)?.[1]

const serve = (socket: Tls.TLSSocket) => {
  const writer = makeWriter(socket.setNoDelay())
  writer.frame(opening)
  const calls = new Map<number, Buffer | undefined>()
  let head = heads.response.first
  let trailers = heads.trailers.first
  const reply = (id: number, data: Buffer) => {
    const { payload } = request.deserialize(data.subarray(prefixSize))
    const message = response.serialize({ payload })
    writer.begin(3 * headerSize + head.length + trailers.length + prefixSize + message.length)
    writer.head(id, 0, head)
    writer.message(id, 0, message)
    writer.head(id, endStream, trailers)
    writer.end()
    head = heads.response.further
    trailers = heads.trailers.further
  }
  receive(
    socket,
    writer,
    preface.length,
    (id, _, fields) => {
      if (fieldValue(fields, ":path") === echoPath) {
        calls.set(id, undefined)
      }
    },
    (id, flags, payload) => {
      const data = joined(calls.get(id), payload)
      if ((flags & endStream) === 0) {
        calls.set(id, data)
      } else if (calls.delete(id)) {
        reply(id, data)
      }
    }
  )
}

interface Call {
  data: Buffer | undefined
  readonly onReply: (data: Buffer) => void
}

const connection = (socket: Tls.TLSSocket): Connection => {
  const writer = makeWriter(socket)
  writer.frame(preface)
  writer.frame(opening)
  const calls = new Map<number, Call>()
  let nextId = 1
  let head = heads.request.first
  const send = (message: Buffer, onReply: Call["onReply"]) => {
    calls.set(nextId, { data: undefined, onReply })
    writer.begin(2 * headerSize + head.length + prefixSize + message.length)
    writer.head(nextId, 0, head)
    writer.message(nextId, endStream, message)
    writer.end()
    head = heads.request.further
    nextId += 2
  }
  receive(
    socket,
    writer,
    0,
    (id, flags, fields) => {
      const call = calls.get(id)
      if ((flags & endStream) !== 0 && calls.delete(id) && fieldValue(fields, "grpc-status") === "0") {
        call?.onReply(call.data ?? Buffer.alloc(0))
      }
    },
    (id, _, payload) => {
      const call = calls.get(id)
      if (call !== undefined) {
        call.data = joined(call.data, payload)
      }
    }
  )
  return {
    work: ({ done, next }: Work) =>
      new Promise<void>((resolve) => {
        const call = () => {
          const message = next()
          if (message === undefined) {
            return resolve()
          }
          send(request.serialize(message), onReply)
        }
        const onReply = (reply: Buffer) => {
          done(response.deserialize(reply.subarray(prefixSize)))
          call()
        }
        call()
      }),
    close: async () => {
      socket.destroy()
    }
  }
}

const tls = { minVersion: "TLSv1.3", ALPNProtocols: ["h2"] } as const

export default {
  serve: async (certificates) => {
    const server = Tls.createServer({ ...certificates, ...tls, requestCert: true, rejectUnauthorized: true }, serve)
    server.listen(0, bindHost)
    await once(server, "listening")
    const address = server.address()
    return typeof address === "object" && address !== null ? address.port : 0
  },
  client: async (certificates) => {
    const secureContext = Tls.createSecureContext({ ...certificates, minVersion: tls.minVersion })
    return {
      connect: async (port) => {
        const socket = Tls.connect({ ...tls, host, port, secureContext, servername: "localhost" })
        await once(socket.setNoDelay(), "secureConnect")
        return connection(socket)
      },
      close: async () => {}
    }
  }
} satisfies Contestant
