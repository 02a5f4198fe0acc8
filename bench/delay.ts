/**
 * A long path, as a process of its own: passes on what comes after a delay each way. Arguments: the port to pass on to, and
 * the milliseconds of a round trip. Tells its parent its own port.
 */
import * as Net from "node:net"
import { bindHost, host } from "./echo.js"

const [target, roundTrip] = process.argv.slice(2).map(Number)
const delay = (roundTrip ?? 0) / 2

/** What is under way in one direction; with more it takes no more. At 40 ms that is 1.6 GiB/s: the path is long, not narrow. */
const maxUnderWay = 64 * 1024 * 1024

interface Late {
  readonly due: number
  readonly chunk: Buffer | undefined
}

/** Passes on one direction. An end comes after what was sent before it, as all else does. */
const pass = (from: Net.Socket, to: Net.Socket) => {
  const late: Array<Late> = []
  let first = 0
  let underWay = 0
  let isWaiting = false
  const send = () => {
    isWaiting = false
    const now = performance.now()
    to.cork()
    for (let next = late[first]; next !== undefined && next.due <= now; next = late[first]) {
      first += 1
      if (next.chunk === undefined) {
        to.end()
      } else {
        const { length } = next.chunk
        to.write(next.chunk, () => {
          underWay -= length
          if (underWay < maxUnderWay) {
            from.resume()
          }
        })
      }
    }
    to.uncork()
    late.splice(0, first)
    first = 0
    wait()
  }
  const wait = () => {
    const [next] = late
    if (next !== undefined && !isWaiting) {
      isWaiting = true
      setTimeout(send, Math.max(0, next.due - performance.now()))
    }
  }
  const add = (chunk: Buffer | undefined) => {
    late.push({ due: performance.now() + delay, chunk })
    wait()
  }
  from.on("data", (chunk) => {
    underWay += chunk.length
    if (underWay >= maxUnderWay) {
      from.pause()
    }
    add(chunk)
  })
  from.on("end", () => add(undefined))
  from.on("error", () => to.destroy())
}

const server = Net.createServer({ allowHalfOpen: true, noDelay: true }, (near) => {
  const far = Net.connect({ host, port: target ?? 0, allowHalfOpen: true, noDelay: true })
  pass(near, far)
  pass(far, near)
})

server.listen(0, bindHost, () => {
  const address = server.address()
  process.send?.(typeof address === "object" && address !== null ? address.port : 0)
})
process.on("disconnect", () => process.exit())
