/**
 * The ceiling: what Node's TLS and protobuf-es leave to a transport that has no errors, deadlines, metadata or limits.
 * A frame is a length, a call (4 bytes each) and a message. Call 0 is the one stream that goes down.
 */
import { once } from "node:events"
import * as Tls from "node:tls"
import type { Connection, Consumer, Contestant, Work } from "../contestant.js"
import { bindHost, host, request, response } from "../echo.js"

const headerSize = 8

/** Takes what comes off a socket and gives its frames. */
const makeReader = (onFrame: (call: number, message: Buffer) => void) => {
  let chunks: Array<Buffer> = []
  let size = 0
  let needed = headerSize
  return (chunk: Buffer) => {
    chunks.push(chunk)
    size += chunk.length
    if (size < needed) {
      return
    }
    const bytes = chunks.length === 1 ? chunk : Buffer.concat(chunks, size)
    let at = 0
    needed = headerSize
    while (bytes.length - at >= headerSize) {
      needed = headerSize + bytes.readUInt32BE(at)
      if (bytes.length - at < needed) {
        break
      }
      onFrame(bytes.readUInt32BE(at + 4), bytes.subarray(at + headerSize, at + needed))
      at += needed
      needed = headerSize
    }
    size = bytes.length - at
    chunks = size === 0 ? [] : [bytes.subarray(at)]
  }
}

/** Collects the frames of one turn of the event loop for one write. */
const makeWriter = (socket: Tls.TLSSocket) => {
  let frames: Array<Buffer> = []
  const write = () => {
    socket.write(Buffer.concat(frames))
    frames = []
  }
  return (call: number, message: Buffer) => {
    if (frames.length === 0) {
      setImmediate(write)
    }
    const header = Buffer.allocUnsafe(headerSize)
    header.writeUInt32BE(message.length, 0)
    header.writeUInt32BE(call, 4)
    frames.push(header, message)
  }
}

const stream = async (socket: Tls.TLSSocket, repeat: number, payload: Uint8Array) => {
  for (let i = 0; i < repeat; i++) {
    const message = response.serialize({ payload })
    const header = Buffer.allocUnsafe(headerSize)
    header.writeUInt32BE(message.length, 0)
    header.writeUInt32BE(0, 4)
    socket.cork()
    socket.write(header)
    const isRoomy = socket.write(message)
    socket.uncork()
    if (!isRoomy) {
      await once(socket, "drain")
    }
  }
}

const serve = (socket: Tls.TLSSocket) => {
  const send = makeWriter(socket.setNoDelay())
  const onFrame = (call: number, bytes: Buffer) => {
    const { payload, payloadSize, repeat } = request.deserialize(bytes)
    if (call === 0) {
      return stream(socket, repeat, new Uint8Array(payloadSize))
    }
    send(call, response.serialize({ payload }))
  }
  socket.on("data", makeReader(onFrame)).on("error", () => {})
}

const connection = (socket: Tls.TLSSocket): Connection => {
  const send = makeWriter(socket)
  const calls = new Map<number, (message: Buffer) => void>()
  let lastCall = 0
  const onFrame = (call: number, message: Buffer) => {
    const onReply = calls.get(call)
    if (call !== 0) {
      calls.delete(call)
    }
    onReply?.(message)
  }
  socket.on("data", makeReader(onFrame)).on("error", () => {})
  return {
    work: ({ done, next }: Work) =>
      new Promise<void>((resolve) => {
        const call = () => {
          const message = next()
          if (message === undefined) {
            return resolve()
          }
          lastCall += 1
          calls.set(lastCall, onReply)
          send(lastCall, request.serialize(message))
        }
        const onReply = (reply: Buffer) => {
          done(response.deserialize(reply))
          call()
        }
        call()
      }),
    close: async () => {
      socket.destroy()
    },
    /** Knows only consumers that never wait. */
    download: ({ payloadSize, repeat }, consumer: Consumer) =>
      new Promise<void>((resolve) => {
        let left = repeat
        calls.set(0, (message) => {
          consumer(response.deserialize(message).payload)
          left -= 1
          if (left === 0) {
            resolve()
          }
        })
        send(0, request.serialize({ payloadSize, repeat }))
      })
  }
}

export default {
  serve: async (certificates) => {
    const options = { ...certificates, requestCert: true, rejectUnauthorized: true, minVersion: "TLSv1.3" } as const
    const server = Tls.createServer(options, serve)
    server.listen(0, bindHost)
    await once(server, "listening")
    const address = server.address()
    return typeof address === "object" && address !== null ? address.port : 0
  },
  client: async (certificates) => {
    const secureContext = Tls.createSecureContext({ ...certificates, minVersion: "TLSv1.3" })
    return {
      connect: async (port) => {
        const socket = Tls.connect({ host, port, secureContext, servername: "localhost" })
        await once(socket.setNoDelay(), "secureConnect")
        return connection(socket)
      },
      close: async () => {}
    }
  }
} satisfies Contestant
