/** UDP sockets whose failures are callbacks and never exceptions. */
import * as Dgram from "node:dgram"
import { isIPv6 } from "node:net"
import type { HostPort } from "./QuicEngine.js"

/** A UDP socket for packets to many peers, or to one. */
export interface UdpSocket {
  readonly local: () => HostPort
  /** Never throws: what can't be sent is lost, like any packet. The bytes must not be changed after the call. */
  readonly send: (slab: Buffer, offset: number, length: number, to: HostPort) => void
  readonly close: () => Promise<void>
}

/** What the system is asked to keep of what came while this process was busy; it gives what it allows. */
const bufferSize = 4 * 1024 * 1024

const enlarge = (socket: Dgram.Socket) => {
  try {
    socket.setRecvBufferSize(bufferSize)
    socket.setSendBufferSize(bufferSize)
  } catch {
    // Some systems refuse what is above their limit. Theirs is then what counts.
  }
}

const create = (host: string): Dgram.Socket =>
  Dgram.createSocket({
    type: isIPv6(host) ? "udp6" : "udp4",
    // All hosts here are addresses, which need not be looked up in a later turn of the event loop.
    lookup: (address, _, callback) => callback(null, address, isIPv6(address) ? 6 : 4)
  })

const wrap = (socket: Dgram.Socket, send: UdpSocket["send"], onError: (error: Error) => void): UdpSocket => {
  let local: HostPort | undefined
  let isClosed = false
  return {
    local: () => {
      local ??= hostPort(socket.address())
      return local
    },
    send: (slab, offset, length, to) => {
      // A packet may come from port 0, to which Node refuses to send.
      if (isClosed || to.port === 0) {
        return
      }
      try {
        send(slab, offset, length, to)
      } catch (error) {
        onError(asError(error))
      }
    },
    close: () => {
      isClosed = true
      return new Promise((resolve) => socket.close(() => resolve()))
    }
  }
}

const asError = (cause: unknown): Error =>
  cause instanceof Error ? cause : new Error("the socket has failed", { cause })

const hostPort = ({ address, port }: { readonly address: string; readonly port: number }): HostPort => ({
  host: address,
  port
})

/** Rejects with the error of the system. */
export const bind = (
  local: HostPort,
  onPacket: (packet: Buffer, from: HostPort) => void,
  onError: (error: Error) => void
): Promise<UdpSocket> =>
  new Promise((resolve, reject) => {
    const socket = create(local.host)
    const fail = (error: Error) => {
      socket.close()
      reject(error)
    }
    socket.once("error", fail)
    socket.on("message", (packet, { address, port }) => onPacket(packet, { host: address, port }))
    socket.bind({ address: local.host, port: local.port, exclusive: true }, () => {
      socket.off("error", fail)
      socket.on("error", onError)
      enlarge(socket)
      // Without a callback Node drops what the system says of one packet.
      resolve(wrap(socket, (slab, offset, length, to) => socket.send(slab, offset, length, to.port, to.host), onError))
    })
  })

/**
 * A socket that talks to one peer alone. The system tells by `onError` when nobody listens there, and drops what others
 * send. Packets that are sent before `onReady` are lost.
 */
export const connect = (
  remote: HostPort,
  onReady: (socket: UdpSocket) => void,
  onPacket: (packet: Buffer) => void,
  onError: (error: Error) => void
): { readonly close: () => void } => {
  const socket = create(remote.host)
  let isClosed = false
  const onSent = (error: Error | null | undefined) => {
    if (error && !isClosed) {
      onError(error)
    }
  }
  const onConnected = (error?: Error) => {
    if (error !== undefined || isClosed) {
      return onSent(error)
    }
    enlarge(socket)
    onReady(wrap(socket, (slab, offset, length) => socket.send(slab, offset, length, onSent), onSent))
  }
  socket.on("error", onSent)
  socket.on("message", onPacket)
  try {
    socket.connect(remote.port, remote.host, onConnected)
  } catch (error) {
    process.nextTick(onSent, asError(error))
  }
  return {
    close: () => {
      if (!isClosed) {
        isClosed = true
        socket.close()
      }
    }
  }
}
