/** Windows that grow with what the path carries: a path of its own clock, on which two ends are as far apart as it says. */
import { describe, expect, it } from "@effect/vitest"
import * as Bdp from "../../../src/protocol/http2/Http2Bdp.js"
import type { Limits } from "../../../src/protocol/http2/Http2Connection.js"
import {
  bytes,
  type End,
  frames,
  makeEnd,
  open,
  pair,
  read,
  readAll,
  receive,
  respond,
  settle,
  streamOf,
  take
} from "./http2Support.js"

const MiB = 1024 * 1024

describe("an estimate", () => {
  const roundTrip = (bdp: Bdp.Bdp, size: number, now: number) => {
    Bdp.onUpdateDue(bdp)
    const isSent = Bdp.onData(bdp, 1, now)
    Bdp.onData(bdp, size - 1, now)
    if (isSent) {
      Bdp.onAck(bdp, now)
    }
    return bdp.target
  }

  it("doubles what came in a round trip, where that is most of the target, up to the limit", () => {
    const bdp = Bdp.make(60, 300)
    expect(roundTrip(bdp, 40, 0)).toBe(80)
    for (const now of [1, 2, 3]) {
      expect(roundTrip(bdp, 53, now)).toBe(80)
    }
    // Three without growth are enough for a while.
    expect(roundTrip(bdp, 80, 202)).toBe(80)
    expect(roundTrip(bdp, 80, 203)).toBe(160)
    expect(roundTrip(bdp, 160, 204)).toBe(300)
    Bdp.onUpdateDue(bdp)
    expect(Bdp.onData(bdp, 1, 1e9)).toBe(false)
  })

  it("asks once, when DATA comes to a reader who keeps up", () => {
    const bdp = Bdp.make(60, 300)
    expect(Bdp.onData(bdp, 40, 0)).toBe(false)
    Bdp.onUpdateDue(bdp)
    expect([1, 2].map((now) => Bdp.onData(bdp, 10, now))).toEqual([true, false])
    Bdp.onAck(bdp, 3)
    expect(bdp.target).toBe(60)
    for (const now of [4, 5]) {
      expect(Bdp.onData(bdp, 10, now)).toBe(true)
      Bdp.onAck(bdp, now)
    }
    expect(Bdp.onData(bdp, 10, 1000)).toBe(false)
    Bdp.onUpdateDue(bdp)
    expect(Bdp.onData(bdp, 10, 1000)).toBe(true)
  })
})

/** Moves a stream of a server to a client for some simulated seconds; returns bytes a second of the last of them. */
const download = (options: Partial<Limits>, roundTrip: number, bytesPerMilli: number, seconds: number, streams = 1) => {
  const client = makeEnd("client", { ...options, maxPingRate: 10, maxUselessRate: 100 })
  const server = makeEnd("server", { ...options, maxPingRate: 10, maxUselessRate: 100 })
  settle(client, server)
  const message = bytes(256 * 1024)
  const send = (stream: ReturnType<typeof open>) => {
    const next = () => server.http2.sendData(stream, message, 0, false, () => queue.push(next))
    next()
  }
  let queue: Array<() => void> = []
  const calls = Array.from({ length: streams }, () => open(client, true))
  settle(client, server)
  for (const call of calls) {
    respond(server, streamOf(server, call.id))
    send(streamOf(server, call.id))
  }
  const way: Array<{ readonly to: End; readonly at: number; readonly bytes: Buffer }> = []
  let before = 0
  const total = () => calls.reduce((sum, { owner }) => sum + (owner?.received ?? 0), 0)
  for (let now = 0; now < seconds * 1000; now++) {
    if (now === (seconds - 1) * 1000) {
      before = total()
    }
    while (way[0] !== undefined && way[0].at <= now) {
      const { bytes, to } = way.shift() ?? { bytes: Buffer.alloc(0), to: client }
      receive(to, bytes, undefined, now)
    }
    readAll(client)
    const ready = queue
    queue = []
    for (const next of ready) {
      next()
    }
    way.push({ to: server, at: now + roundTrip / 2, bytes: take(client) })
    way.push({ to: client, at: now + roundTrip / 2, bytes: take(server, bytesPerMilli) })
  }
  const rate = total() - before
  for (const { bytes, to } of way) {
    receive(to, bytes)
  }
  return { rate, client, server, calls }
}

describe("a long path", () => {
  it("of 80 ms carries over 50 MiB a second, where a fixed window carries 0.8", () => {
    const fixed = download({}, 80, 100_000, 2)
    expect(fixed.rate).toBeLessThan(1 * MiB)
    const grown = download({ maxStreamWindow: 16 * MiB, connectionWindow: 32 * MiB }, 80, 100_000, 4)
    expect(grown.rate).toBeGreaterThan(50 * MiB)
  })

  it("that is short needs no window but the first", () => {
    const { calls, rate } = download({ maxStreamWindow: 16 * MiB, connectionWindow: 32 * MiB }, 2, 10_000, 2)
    expect(rate).toBeGreaterThan(9_000_000)
    expect(calls[0]?.window).toBeLessThan(256 * 1024)
  })

  it("all streams together grow by no more than the budget, which is returned when they end", () => {
    const budget = 2 * MiB
    const options = { maxStreamWindow: 16 * MiB, connectionWindow: budget }
    const { calls, client, server } = download(options, 80, 100_000, 3, 4)
    const grown = () => client.http2.streams().reduce((sum, { window }) => sum + window - 65_535, 0)
    expect(grown()).toBeGreaterThan(budget / 2)
    expect(grown()).toBeLessThanOrEqual(budget)
    for (const call of calls) {
      client.http2.reset(call, "CANCEL")
    }
    settle(client, server)
    const next = open(client, true)
    settle(client, server)
    const answer = streamOf(server, next.id)
    respond(server, answer)
    server.http2.sendData(answer, bytes(60_000), 0, false, () => {})
    settle(client, server)
    read(client, next)
    expect(next.window).toBe(65_535 + budget)
  })

  it("a stream whose reader does not read keeps its window, and holds up nobody", () => {
    const { client, server } = pair({ maxStreamWindow: 16 * MiB, connectionWindow: MiB })
    const [slow, fast] = [open(client, true), open(client, true)]
    settle(client, server)
    for (const call of [slow, fast]) {
      respond(server, streamOf(server, call.id))
      server.http2.sendData(streamOf(server, call.id), bytes(4 * MiB), 0, true, () => {})
    }
    for (let i = 0; i < 500; i++) {
      settle(client, server)
      read(client, fast)
    }
    expect(fast.owner?.received).toBe(4 * MiB + 5)
    expect(slow.owner?.received).toBe(65_535)
    expect(slow.window).toBe(65_535)
  })
})

describe("the connection's window", () => {
  it("is given back as bytes come, but not while too much is unread", () => {
    const { client, server } = pair({ connectionWindow: 65_535, streamWindow: 1 << 20 })
    const [first, second] = [open(client), open(client)]
    settle(client, server)
    client.http2.sendData(first, bytes(200_000), 0, true, () => {})
    for (let i = 0; i < 10; i++) {
      settle(client, server)
    }
    expect(streamOf(server, first.id).owner?.received).toBe(200_005)
    server.isFull = true
    client.http2.sendData(second, bytes(200_000), 0, true, () => {})
    for (let i = 0; i < 10; i++) {
      settle(client, server)
    }
    expect(streamOf(server, second.id).owner?.received).toBeLessThanOrEqual(65_535)
    expect(client.http2.unsent()).toBeGreaterThan(130_000)
    server.isFull = false
    server.http2.replenish()
    for (let i = 0; i < 10; i++) {
      settle(client, server)
    }
    expect(streamOf(server, second.id).owner?.received).toBe(200_005)
  })

  it("of a mebibyte and more is given back in eighths, a smaller one in quarters", () => {
    const updates = (connectionWindow: number) => {
      const { client, server } = pair({ connectionWindow, streamWindow: 1 << 24 })
      const call = open(client)
      settle(client, server)
      client.http2.sendData(call, bytes(8 * MiB), 0, false, () => {})
      const sizes: Array<number> = []
      for (let i = 0; i < 200; i++) {
        receive(server, take(client))
        const written = take(server)
        sizes.push(
          ...frames(written).flatMap(({ id, payload, type }) =>
            type === 8 && id === 0 ? [payload.readUInt32BE(0)] : []
          )
        )
        receive(client, written)
      }
      return Math.min(...sizes)
    }
    expect(updates(8 * MiB)).toBeGreaterThanOrEqual(MiB)
    expect(updates(8 * MiB)).toBeLessThan(1.1 * MiB)
    expect(updates(512 * 1024)).toBeGreaterThanOrEqual(128 * 1024)
  })
})

describe("bytes that are retained", () => {
  it("count as unread again, so that a message may be larger than its window", () => {
    const { client, server } = pair({ streamWindow: 1000 })
    const call = open(client)
    settle(client, server)
    client.http2.sendData(call, bytes(3000), 0, false, () => {})
    const stream = streamOf(server, call.id)
    for (let i = 0; i < 10; i++) {
      settle(client, server)
      read(server, stream)
    }
    expect(stream.owner?.received).toBe(3005)
    server.http2.consume(stream, -3005)
    client.http2.sendData(call, bytes(3000), 0, false, () => {})
    for (let i = 0; i < 10; i++) {
      settle(client, server)
      read(server, stream)
    }
    expect(stream.owner?.received).toBeLessThan(3005 + 3005)
    server.http2.consume(stream, 3005)
    settle(client, server)
    expect(stream.owner?.received).toBeGreaterThan(3005 + 1000)
  })
})
