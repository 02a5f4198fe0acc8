/** A bad network between a client and a node: what passes comes late, and some of it does not come. */
import { createSocket, type Socket as UdpSocket } from "node:dgram"
import { connect, createServer, type Server, type Socket } from "node:net"
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"

export interface Faults {
  /** Each way. */
  readonly latencyMillis: number
  readonly lossPercent: number
}

/** TCP sends what was lost again, after this long at least (RFC 6298 says a second, Linux does so after 200 ms). */
const retransmitMillis = 200

const host = "127.0.0.1"

/** Passes on what comes, in order. A loss holds up all that follows it, because TCP delivers in order. */
const pass = (from: Socket, to: Socket, { latencyMillis, lossPercent }: Faults) => {
  let due = 0
  const later = (what: () => void) => {
    const lost = Math.random() * 100 < lossPercent ? retransmitMillis : 0
    due = Math.max(due, performance.now() + latencyMillis + lost)
    setTimeout(what, due - performance.now())
  }
  from.on("data", (chunk) => later(() => to.write(chunk)))
  from.on("end", () => later(() => to.end()))
  from.on("error", () => to.destroy())
  from.on("close", () => later(() => to.destroy()))
}

const tcp = (port: number, faults: Faults): Effect.Effect<number, never, Scope.Scope> => {
  const open = new Set<Socket>()
  const server = createServer({ allowHalfOpen: true, noDelay: true }, (near) => {
    const far = connect({ host, port, allowHalfOpen: true, noDelay: true })
    for (const socket of [near, far]) {
      open.add(socket)
      socket.once("close", () => open.delete(socket))
    }
    pass(near, far, faults)
    pass(far, near, faults)
  })
  const listen = Effect.async<Server>((resume) => {
    server.once("error", (error) => resume(Effect.die(error)))
    server.listen(0, host, () => resume(Effect.succeed(server)))
  })
  const close = Effect.async<void>((resume) => {
    server.close(() => resume(Effect.void))
    for (const socket of open) {
      socket.destroy()
    }
  })
  return Effect.map(
    Effect.acquireRelease(listen, () => close),
    portOf
  )
}

const udp = (port: number, { latencyMillis, lossPercent }: Faults): Effect.Effect<number, never, Scope.Scope> => {
  const sides = new Map<number, UdpSocket>()
  const near = createSocket("udp4")
  const later = (what: () => void) => {
    if (Math.random() * 100 >= lossPercent) {
      setTimeout(what, latencyMillis)
    }
  }
  let isClosed = false
  const send = (socket: UdpSocket, packet: Buffer, to: number) => {
    if (!isClosed) {
      // What can't be sent is lost, as on any network.
      socket.send(packet, to, host, () => {})
    }
  }
  near.on("message", (packet, client) => {
    const side = sides.get(client.port) ?? createSocket("udp4")
    if (!sides.has(client.port)) {
      sides.set(client.port, side)
      side.on("error", () => {})
      side.on("message", (answer) => later(() => send(near, answer, client.port)))
    }
    later(() => send(side, packet, port))
  })
  const bind = Effect.async<UdpSocket>((resume) => {
    near.once("error", (error) => resume(Effect.die(error)))
    near.bind(0, host, () => resume(Effect.succeed(near)))
  })
  const close = Effect.sync(() => {
    isClosed = true
    for (const socket of [near, ...sides.values()]) {
      socket.close()
    }
  })
  return Effect.map(
    Effect.acquireRelease(bind, () => close),
    portOf
  )
}

const portOf = (listening: Server | UdpSocket): number => {
  const address = listening.address()
  return typeof address === "object" && address !== null ? address.port : 0
}

/** Where a client has to call so that what it says passes through. Ends with the scope. */
export const make = (
  protocol: "tcp" | "udp",
  target: string,
  faults: Faults
): Effect.Effect<string, never, Scope.Scope> => {
  const port = Number(target.slice(target.lastIndexOf(":") + 1))
  return Effect.map((protocol === "udp" ? udp : tcp)(port, faults), (own) => `${host}:${own}`)
}
