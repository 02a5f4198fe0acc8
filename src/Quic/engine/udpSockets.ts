/**
 * The UDP sockets of a listener: one for each of its addresses, for a wildcard address that is each address of this machine. A
 * socket that is bound to a wildcard answers from an address of the system's choice, which whoever asked another one drops.
 */
import * as Net from "node:net"
import * as Os from "node:os"
import type { HostPort } from "./QuicEngine.js"
import * as UdpSocket from "./udpSocket.js"

export interface Options {
  readonly onPacket: (packet: Buffer, from: HostPort, socket: UdpSocket.UdpSocket) => void
  /** The address of a socket is no more; the socket is closed. */
  readonly onGone: (socket: UdpSocket.UdpSocket) => void
  readonly onError: (error: Error) => void
}

/** Where addresses come from, and how many milliseconds pass until they are looked at again. */
export interface Interfaces {
  readonly addresses: () => ReadonlyArray<string>
  readonly pollMillis: number
}

export interface UdpSockets {
  readonly local: HostPort
  readonly close: () => Promise<void>
}

/** Ports that are tried where the system chooses one on the first address that is taken on another. */
const maxPorts = 20

/** The addresses of this machine, link-local ones with their zone. */
const addresses = (): ReadonlyArray<string> =>
  Object.entries(Os.networkInterfaces()).flatMap(([name, infos = []]) =>
    infos.map(({ address, family, scopeid }) => (family === "IPv6" && scopeid !== 0 ? `${address}%${name}` : address))
  )

export const system: Interfaces = { addresses, pollMillis: 5000 }

/** Whether a wildcard is for an address; undefined for what is no wildcard. As everywhere, `::` is for IPv4 too. */
const coverage = (host: string): ((address: string) => boolean) | undefined => {
  const family = Net.isIP(host)
  const canonical = family === 6 ? new Net.SocketAddress({ address: host, family: "ipv6" }).address : host
  switch (canonical) {
    case "::":
      return () => true
    case "0.0.0.0":
    case "::ffff:0.0.0.0":
      return Net.isIPv4
    default:
      return undefined
  }
}

const codeOf = (error: unknown): unknown => (error instanceof Error && "code" in error ? error.code : undefined)

/** Binds `local`, and the `others` to the same port. Rejects with the error of the system. */
export const bind = async (
  local: HostPort,
  { onError, onGone, onPacket }: Options,
  interfaces: Interfaces = system,
  others: ReadonlyArray<string> = []
): Promise<UdpSockets> => {
  const bindOne = async (host: string, port: number): Promise<UdpSocket.UdpSocket> => {
    const socket = await UdpSocket.bind({ host, port }, (packet, from) => onPacket(packet, from, socket), onError)
    return socket
  }
  const covers = coverage(local.host)
  if (covers === undefined && others.length === 0) {
    const socket = await bindOne(local.host, local.port)
    return { local: socket.local(), close: socket.close }
  }

  const wanted = () => new Set(covers === undefined ? [local.host, ...others] : interfaces.addresses().filter(covers))
  const sockets = new Map<string, UdpSocket.UdpSocket>()
  const closeAll = () => Promise.all([...sockets.values()].map((socket) => socket.close()))

  /** Binds what is not bound yet; the first chooses the port where that is 0. */
  const bindAll = async (port: number): Promise<number> => {
    let chosen = port
    let unavailable: unknown
    for (const host of wanted()) {
      try {
        const socket = await bindOne(host, chosen)
        sockets.set(host, socket)
        chosen = socket.local().port
      } catch (error) {
        // An IPv6 address that is still being checked, or one that has just gone or never was of this machine.
        if (codeOf(error) !== "EADDRNOTAVAIL" && codeOf(error) !== "EAFNOSUPPORT") {
          await closeAll()
          sockets.clear()
          throw error
        }
        unavailable = error
      }
    }
    if (sockets.size === 0) {
      throw unavailable ?? Object.assign(new Error("this machine has no address"), { code: "EADDRNOTAVAIL" })
    }
    return chosen
  }

  const bindAny = async (left: number): Promise<number> => {
    try {
      return await bindAll(local.port)
    } catch (error) {
      if (local.port === 0 && left > 1 && codeOf(error) === "EADDRINUSE") {
        return bindAny(left - 1)
      }
      throw error
    }
  }

  const port = await bindAny(maxPorts)
  let isClosed = false
  /** Addresses that could not be bound, so that each is told once. */
  const failed = new Set<string>()

  const add = async (host: string) => {
    try {
      const socket = await bindOne(host, port)
      failed.delete(host)
      if (isClosed || sockets.has(host)) {
        await socket.close()
      } else {
        sockets.set(host, socket)
      }
    } catch (error) {
      if (!failed.has(host) && codeOf(error) !== "EADDRNOTAVAIL") {
        failed.add(host)
        onError(error instanceof Error ? error : new Error("an address can't be bound", { cause: error }))
      }
    }
  }

  const follow = () => {
    const now = wanted()
    for (const [host, socket] of [...sockets]) {
      if (!now.has(host)) {
        sockets.delete(host)
        onGone(socket)
        void socket.close()
      }
    }
    for (const host of failed) {
      if (!now.has(host)) {
        failed.delete(host)
      }
    }
    for (const host of now) {
      if (!sockets.has(host)) {
        void add(host)
      }
    }
  }

  const poll = () => {
    try {
      follow()
    } catch (error) {
      onError(error instanceof Error ? error : new Error("the addresses can't be followed", { cause: error }))
    }
  }

  const timer = covers === undefined ? undefined : setInterval(poll, interfaces.pollMillis)
  timer?.unref()

  return {
    local: { host: local.host, port },
    close: async () => {
      isClosed = true
      clearInterval(timer)
      await closeAll()
    }
  }
}
