import * as Dgram from "node:dgram"
import { isIPv6 } from "node:net"
import type { HostPort } from "../QuicEngine.js"

/** A UDP socket for packets to many peers, or to one. */
export interface UdpSocket {
  readonly local: () => HostPort
  /** The bytes must not be changed after the call. */
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

const wrap = (socket: Dgram.Socket, send: UdpSocket["send"]): UdpSocket => {
  let local: HostPort | undefined
  return {
    local: () => {
      local ??= hostPort(socket.address())
      return local
    },
    send,
    close: () => new Promise((resolve) => socket.close(() => resolve()))
  }
}

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
      resolve(wrap(socket, (slab, offset, length, to) => socket.send(slab, offset, length, to.port, to.host)))
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
  const onSent = (error: Error | null) => {
    if (error !== null && !isClosed) {
      onError(error)
    }
  }
  socket.on("error", onSent)
  socket.on("message", onPacket)
  socket.connect(remote.port, remote.host, (error?: Error) => {
    if (isClosed) {
      return
    }
    if (error !== undefined) {
      return onError(error)
    }
    enlarge(socket)
    onReady(wrap(socket, (slab, offset, length) => socket.send(slab, offset, length, onSent)))
  })
  return {
    close: () => {
      if (!isClosed) {
        isClosed = true
        socket.close()
      }
    }
  }
}
