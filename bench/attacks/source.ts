/** Makes the sockets of this process begin at an address. The library's clients leave that to the system. */
import * as Dgram from "node:dgram"
import * as Net from "node:net"

/** `next` gives the address of each socket that connects to another one of its family. */
export const connectFrom = (next: () => string): void => {
  const connectTcp = Net.Socket.prototype.connect
  Net.Socket.prototype.connect = function (this: Net.Socket, ...args: Array<unknown>) {
    const [first] = args
    const options: unknown = Array.isArray(first) ? first[0] : first
    if (typeof options === "object" && options !== null && "port" in options) {
      Object.assign(options, { localAddress: next() })
    }
    return Reflect.apply(connectTcp, this, args)
  }
  const connectUdp = Dgram.Socket.prototype.connect
  Dgram.Socket.prototype.connect = function (this: Dgram.Socket, ...args: Array<unknown>) {
    this.bind({ port: 0, address: next(), exclusive: true })
    return Reflect.apply(connectUdp, this, args)
  }
}

/** The addresses of a /64, one after the other; an address that does not end in `:` stays itself. */
export const eachOf = (prefix: string): (() => string) => {
  let count = 0
  return () => {
    count += 1
    return prefix.endsWith(":") ? `${prefix}${(count >> 16).toString(16)}:${(count & 0xffff).toString(16)}` : prefix
  }
}
