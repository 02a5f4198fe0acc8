/**
 * The ceiling of streams: a TLS socket that a stream of chunks is piped into. It has no messages and no calls; a command of
 * nine bytes says which way how many bytes go.
 */
import { once } from "node:events"
import { Readable } from "node:stream"
import * as Tls from "node:tls"
import type { Connection, Consumer, Contestant } from "./contestant.js"
import { bindHost, host } from "./echo.js"

const commandSize = 9

const command = (isUpload: boolean, repeat: number, size: number) => {
  const bytes = Buffer.alloc(commandSize)
  bytes.writeUInt8(isUpload ? 1 : 0, 0)
  bytes.writeUInt32BE(repeat, 1)
  bytes.writeUInt32BE(size, 5)
  return bytes
}

const send = (socket: Tls.TLSSocket, chunk: Uint8Array, repeat: number) => {
  let left = repeat
  const read = function (this: Readable) {
    this.push(left-- > 0 ? chunk : null)
  }
  new Readable({ read }).pipe(socket, { end: false })
}

/** Takes so many bytes off a socket. Nothing comes behind them before the peer knows that they are here. */
const receive = (socket: Tls.TLSSocket, first: Buffer, bytes: number, consumer: Consumer, done: () => void) => {
  let left = bytes
  const onData = (chunk: Buffer) => {
    left -= chunk.length
    const busy = consumer(chunk)
    if (busy !== undefined) {
      socket.pause()
      busy.then(() => socket.resume())
    }
    if (left === 0) {
      socket.off("data", onData)
      done()
    }
  }
  socket.on("data", onData)
  if (first.length > 0) {
    onData(first)
  }
}

const serve = (consumer: Consumer) => (socket: Tls.TLSSocket) => {
  const onCommand = (bytes: Buffer) => {
    const repeat = bytes.readUInt32BE(1)
    const size = bytes.readUInt32BE(5)
    if (bytes.readUInt8(0) === 0) {
      send(socket, Buffer.alloc(size), repeat)
      socket.once("data", onCommand)
    } else {
      receive(socket, bytes.subarray(commandSize), repeat * size, consumer, () => {
        socket.write("x")
        socket.once("data", onCommand)
      })
    }
  }
  socket.once("data", onCommand).on("error", () => {})
}

const connection = (socket: Tls.TLSSocket): Connection => ({
  work: async () => {},
  close: async () => {
    socket.destroy()
  },
  download: ({ payloadSize, repeat }, consumer) =>
    new Promise((resolve) => {
      receive(socket, Buffer.alloc(0), repeat * payloadSize, consumer, resolve)
      socket.write(command(false, repeat, payloadSize))
    }),
  upload: async (payload, repeat) => {
    socket.write(command(true, repeat, payload.length))
    send(socket, payload, repeat)
    await once(socket, "data")
    return repeat
  }
})

export default {
  serve: async (certificates, consumer) => {
    const options = { ...certificates, requestCert: true, rejectUnauthorized: true, minVersion: "TLSv1.3" } as const
    const server = Tls.createServer(options, serve(consumer))
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
        await once(socket, "secureConnect")
        return connection(socket)
      },
      close: async () => {}
    }
  }
} satisfies Contestant
