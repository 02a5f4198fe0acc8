/**
 * The ceiling of QUIC: what the driver leaves to a transport, without Effect and without HTTP/3. A call is a stream with
 * one message each way.
 */
import * as Duration from "effect/Duration"
import { constVoid } from "effect/Function"
import * as HandshakeAdmission from "../../src/Handshake/HandshakeAdmission.js"
import type * as QuicEngine from "../../src/Quic/engine/QuicEngine.js"
import * as Quiche from "../../src/Quic/engine/quiche.js"
import * as QuicheEngine from "../../src/Quic/engine/quicheEngine.js"
import type { Certificates, Connection, Consumer, Contestant, Work } from "../contestant.js"
import { bindHost, host, request, response } from "../echo.js"

const settings: QuicEngine.ConnectionSettings = {
  alpnProtocol: "bare",
  maxUdpPayload: 1350,
  connectionWindow: 16 * 1024 * 1024,
  streamWindow: 1024 * 1024,
  maxBidiStreams: 1000,
  maxUniStreams: 0,
  maxDatagrams: 0,
  keepaliveTime: 30_000,
  keepaliveTimeout: 10_000,
  maxHandshakeBytes: 128 * 1024,
  handshakeTimeout: 5_000,
  maxPacketRate: 1_000_000,
  maxIdlePacketRate: 10_000,
  maxIdleBytes: 4 * 1024 * 1024
}

const tls = ({ ca, cert, key }: Certificates): QuicEngine.TlsSettings => ({
  ca: [ca],
  certificate: { chain: cert, key },
  verifyChain: true,
  asksCertificate: true
})

/** Lets in whoever comes. */
const admission: QuicEngine.ListenOptions["admission"] = HandshakeAdmission.make(
  {
    maxHandshakes: Number.POSITIVE_INFINITY,
    maxHandshakeRate: Number.POSITIVE_INFINITY,
    maxTotalHandshakeRate: Number.POSITIVE_INFINITY,
    maxRefusals: Number.POSITIVE_INFINITY,
    refusalPenalty: Duration.zero
  },
  { caught: constVoid, log: constVoid, guard: (_door, _peer, f) => f() }
)

const engine = async () => QuicheEngine.make(await Quiche.load())

/** Collects what comes on a stream until it ends. */
const collect = (connection: QuicEngine.Connection, id: number, onEnd: (message: Buffer) => void) => {
  const chunks: Array<Buffer> = []
  return () => {
    for (let read = connection.read(id); read?._tag === "Bytes"; read = connection.read(id)) {
      chunks.push(Buffer.from(read.bytes))
      if (read.fin) {
        return onEnd(Buffer.concat(chunks))
      }
    }
  }
}

/** Sends the same message time and again, a length before each. */
const stream = (connection: QuicEngine.Connection, id: number, repeat: number, payload: Uint8Array) => {
  let left = repeat
  return () => {
    while (left > 0) {
      left -= 1
      const message = response.serialize({ payload })
      const head = Buffer.alloc(4)
      head.writeUInt32BE(message.length)
      connection.write(id, head, false)
      if (!connection.write(id, message, left === 0) && left > 0) {
        return
      }
    }
  }
}

const serve = (connection: QuicEngine.Connection): QuicEngine.Events => ({
  onEstablished: connection.accept,
  onConfirmed: constVoid,
  onStream: (id) => {
    let onDrain: () => void = constVoid
    const onMessage = (bytes: Buffer) => {
      const { payload, payloadSize, repeat } = request.deserialize(bytes)
      if (repeat > 0) {
        onDrain = stream(connection, id, repeat, new Uint8Array(payloadSize))
        return onDrain()
      }
      connection.write(id, response.serialize({ payload }), true)
      connection.release(id)
    }
    return { onReadable: collect(connection, id, onMessage), onDrain: () => onDrain(), onStopped: constVoid }
  },
  onDatagram: constVoid,
  onOverflow: constVoid,
  onStreamsAvailable: constVoid,
  onClosed: constVoid
})

const call = (connection: QuicEngine.Connection, message: Buffer, onReply: (reply: Buffer) => void) => {
  const onEnd = (reply: Buffer) => {
    connection.release(id)
    onReply(reply)
  }
  const id: number = connection.openBidi({ onReadable: () => onReadable(), onDrain: constVoid, onStopped: constVoid })
  const onReadable = collect(connection, id, onEnd)
  connection.write(id, message, true)
}

const download = (connection: QuicEngine.Connection, message: Buffer, repeat: number, consumer: Consumer) =>
  new Promise<void>((resolve) => {
    let chunks: Array<Buffer> = []
    let size = 0
    let left = repeat
    const onReadable = () => {
      for (let read = connection.read(id); read?._tag === "Bytes"; read = connection.read(id)) {
        chunks.push(Buffer.from(read.bytes))
        size += read.bytes.length
        if (size < 4 || size < 4 + (chunks[0]?.length ?? 0)) {
          continue
        }
        const bytes = Buffer.concat(chunks)
        let at = 0
        while (bytes.length - at >= 4 && bytes.length - at >= 4 + bytes.readUInt32BE(at)) {
          const end = at + 4 + bytes.readUInt32BE(at)
          consumer(response.deserialize(bytes.subarray(at + 4, end)).payload)
          at = end
          left -= 1
        }
        chunks = [bytes.subarray(at)]
        size = bytes.length - at
      }
      if (left === 0) {
        connection.release(id)
        resolve()
      }
    }
    const id: number = connection.openBidi({ onReadable, onDrain: constVoid, onStopped: constVoid })
    connection.write(id, message, true)
  })

const wrap = (connection: QuicEngine.Connection): Connection => ({
  work: ({ done, next }: Work) =>
    new Promise((resolve) => {
      const more = () => {
        const message = next()
        if (message === undefined) {
          return resolve()
        }
        call(connection, request.serialize(message), (reply) => {
          done(response.deserialize(reply))
          more()
        })
      }
      more()
    }),
  close: async () => connection.close(true, 0, ""),
  download: ({ payloadSize, repeat }, consumer) =>
    download(connection, request.serialize({ payloadSize, repeat }), repeat, consumer)
})

export default {
  serve: async (certificates) => {
    const listener = await (await engine()).listen({
      local: { host: bindHost, port: 0 },
      tls: () => tls(certificates),
      settings,
      maxConnections: 10_000,
      admission,
      maxTotalHandshakeBytes: 64 * 1024 * 1024,
      onConnection: serve,
      onError: constVoid
    })
    return listener.local.port
  },
  client: async (certificates) => {
    const { connect } = await engine()
    return {
      connect: (port) =>
        new Promise((resolve, reject) => {
          connect(
            { remote: { host, port }, serverName: "localhost", tls: tls(certificates), settings },
            (connection) => ({
              onConfirmed: constVoid,
              onEstablished: () => {
                connection.accept()
                resolve(wrap(connection))
              },
              onStream: () => ({ onReadable: constVoid, onDrain: constVoid, onStopped: constVoid }),
              onDatagram: constVoid,
              onOverflow: constVoid,
              onStreamsAvailable: constVoid,
              onClosed: (close) => reject(new Error(JSON.stringify(close)))
            })
          )
        }),
      close: async () => {}
    }
  }
} satisfies Contestant
