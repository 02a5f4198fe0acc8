/**
 * `npm run fuzz:http2`: a million inputs for HTTP/2, random, mutated and truncated, at both ends. Each gives events or a
 * `Http2Violation`; anything else that is thrown, credit that does not add up, and memory that grows, ends this with an error.
 */
import { constVoid } from "effect/Function"
import type { Fields } from "../../src/protocol/Fields.js"
import type { Limits } from "../../src/protocol/http2/Http2Connection.js"
import {
  bytes,
  carry,
  type End,
  frame,
  greeting,
  literal,
  makeEnd,
  open,
  readAll,
  receive,
  requestBlock,
  respond,
  settings,
  take,
  trailerFields,
  uint32,
  violationOf
} from "../protocol/http2/http2Support.js"

const runs = Number(process.argv[2] ?? 1_000_000)
let seed = Number(process.argv[3] ?? Date.now() % 1_000_000)
console.log(`${runs} inputs, seed ${seed}`)

/** Mulberry32: small, fast, and the same for the same seed. */
const random = (): number => {
  seed = (seed + 0x6d2b79f5) | 0
  let t = Math.imul(seed ^ (seed >>> 15), 1 | seed)
  t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t
  return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32
}
const below = (n: number) => Math.floor(random() * n)
const pick = <A>(all: ReadonlyArray<A>): A => all[below(all.length)] as A

const limits: Partial<Limits> = {
  maxConcurrentStreams: 8,
  maxHeaderListSize: 1000,
  streamWindow: 5000,
  maxStreamWindow: 40_000,
  connectionWindow: 100_000,
  maxCancelRate: 50,
  maxCallRate: 100,
  maxPingRate: 20,
  maxUselessRate: 100
}

const fields: ReadonlyArray<Fields> = [
  [],
  [["x-a", "b"]],
  [
    ["x-b-bin", "AQI"],
    ["authorization", "secret"]
  ]
]

/** What honest ends write in a short life: what the client does, and what the server does. */
const transcript = (): { readonly client: Buffer; readonly server: Buffer } => {
  const client = makeEnd("client", limits)
  const server = makeEnd("server", limits)
  const written: { client: Array<Buffer>; server: Array<Buffer> } = { client: [], server: [] }
  const exchange = () => {
    const forth = take(client)
    written.client.push(forth)
    receive(server, forth)
    readAll(server)
    const back = take(server)
    written.server.push(back)
    receive(client, back)
    readAll(client)
  }
  exchange()
  for (let i = 0; i < 3; i++) {
    const call = open(client, false, pick(fields))
    client.http2.sendData(call, bytes(below(3) === 0 ? 12_000 : below(60)), 0, below(2) === 0, constVoid)
    if (below(4) === 0) {
      client.http2.reset(call, "CANCEL")
    }
    client.http2.ping(1n)
    exchange()
    for (const stream of server.http2.streams()) {
      if (!stream.isLocalDone && below(3) > 0) {
        respond(server, stream)
        server.http2.sendData(stream, bytes(below(3) === 0 ? 9000 : below(60)), 0, false, constVoid)
        server.http2.sendHeaders(stream, undefined, trailerFields, true)
      }
    }
    exchange()
  }
  return { client: Buffer.concat(written.client), server: Buffer.concat(written.server) }
}

const honest = Array.from({ length: 50 }, transcript)

/** A frame that is right in its grammar, and often out of place. */
const oddFrame = (): Buffer => {
  const id = below(4) === 0 ? below(12) : 1 + 2 * below(4)
  const flags = below(3) === 0 ? below(256) : pick([0, 1, 4, 5, 8])
  switch (below(12)) {
    case 0:
      return frame(0, flags, id, bytes(below(3) === 0 ? below(16_384) : below(40)))
    case 1:
      return frame(1, flags, id, [
        ...requestBlock,
        ...literal(pick(["a", "content-length", "te"]), pick(["", "9", "trailers"]))
      ])
    case 2:
      return frame(1, flags, id, pick([[0x88], literal("grpc-status", "0"), [0xbe, 0xbf], [0x3f, 0xe1, 0x1f], [0x20]]))
    case 3:
      return frame(2, flags, id, bytes(5))
    case 4:
      return frame(3, 0, id, uint32(below(15)))
    case 5:
      return settings([1 + below(8), pick([0, 1, 100, 16_384, 65_535, 2 ** 31 - 1, 2 ** 32 - 1])])
    case 6:
      return frame(4, 1, 0)
    case 7:
      return frame(6, below(2), 0, below(2) === 0 ? bytes(8) : Buffer.from("http2bdp"))
    case 8:
      return frame(7, 0, 0, Buffer.concat([uint32(below(8)), uint32(below(20)), bytes(below(20))]))
    case 9:
      return frame(8, 0, below(2) === 0 ? 0 : id, uint32(pick([0, 1, 1000, 2 ** 31 - 1, 2 ** 31])))
    case 10:
      return frame(9, flags, id, requestBlock)
    default:
      return frame(below(256), below(256), below(2) * id, bytes(below(50)))
  }
}

const input = (role: End["role"]): Buffer => {
  const bytes = Buffer.from(pick(honest)[role === "server" ? "client" : "server"])
  const begin = role === "server" ? greeting : settings()
  switch (below(4)) {
    case 0:
      return Buffer.concat([begin, Buffer.from(Array.from({ length: below(120) }, () => below(256)))])
    case 1:
      for (let i = 0; i <= below(6); i++) {
        bytes[below(bytes.length)] = below(256)
      }
      return bytes
    case 2:
      return bytes.subarray(0, below(bytes.length))
    default:
      return Buffer.concat([begin, ...Array.from({ length: 1 + below(20) }, oddFrame)])
  }
}

/** What the owner of an end may do between two chunks. */
const act = (end: End) => {
  const { http2 } = end
  const stream = pick(http2.streams())
  switch (below(6)) {
    case 0:
      readAll(end)
      return
    case 1:
      if (stream !== undefined) {
        http2.reset(stream, "CANCEL")
      }
      return
    case 2:
      if (stream !== undefined && !stream.isLocalDone && !http2.isSending(stream) && stream.trailers === undefined) {
        http2.sendData(stream, bytes(pick([0, 10, 9000])), pick([-1, 0, 1]), below(2) === 0, constVoid)
      }
      return
    case 3:
      take(end, pick([0, 1000, 100_000]))
      return
    case 4:
      end.isFull = !end.isFull
      http2.replenish()
      return
  }
}

/** What must hold whatever came. */
const check = ({ http2 }: End) => {
  const streams = http2.streams()
  const count = http2.openCount() + http2.theirs()
  if (count !== streams.length || http2.theirs() > 8 || http2.unsent() < 0 || http2.buffered() < 0) {
    throw new Error(`${count} streams are counted where there are ${streams.length}`)
  }
  for (const { grown, owner, pendingUpdate, receiveCredit, window } of streams) {
    if (
      window > 65_535 + 40_000 ||
      grown > 40_000 ||
      receiveCredit + pendingUpdate > window ||
      (owner?.unread ?? 0) < 0
    ) {
      throw new Error("credit that does not add up")
    }
  }
}

const outcomes = new Map<string, number>()
const started = performance.now()
let heap = 0
for (let run = 1; run <= runs; run++) {
  const role = pick(["server", "client"] as const)
  const end = makeEnd(role, limits)
  if (role === "client") {
    carry(makeEnd("server", limits), end)
    for (let i = 0; i < 3; i++) {
      open(end, below(2) === 0)
    }
  }
  const bytes = input(role)
  const code = violationOf(() => {
    for (let at = 0; at < bytes.length; ) {
      const size = 1 + below(bytes.length)
      end.http2.receive(bytes.subarray(at, at + size), run)
      at += size
      act(end)
      check(end)
    }
  })
  outcomes.set(code ?? "accepted", (outcomes.get(code ?? "accepted") ?? 0) + 1)
  end.http2.output(1024)
  if (run === Math.floor(runs / 10)) {
    heap = process.memoryUsage().heapUsed
  }
}
const grown = (process.memoryUsage().heapUsed - heap) / 1024 / 1024
console.log(Object.fromEntries(outcomes))
console.log(
  `${Math.round((performance.now() - started) / 1000)} s, heap ${grown.toFixed(1)} MiB more than after a tenth`
)
if (grown > 100) {
  throw new Error("memory grows with the inputs")
}
