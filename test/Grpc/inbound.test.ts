/** Data of streams on its way to messages, from one end of HTTP/2 to another: what is sent, held up, read and dropped. */
import * as Zlib from "node:zlib"
import { afterEach, describe, expect, it, vi } from "@effect/vitest"
import * as Duration from "effect/Duration"
import { constFalse, constVoid } from "effect/Function"
import * as FastCheck from "fast-check"
import * as Deadlines from "../../src/Calls/Deadlines.js"
import * as GrpcReceiving from "../../src/Calls/GrpcReceiving.js"
import * as GrpcInbound from "../../src/Grpc/internal/grpcInbound.js"
import * as GrpcMessage from "../../src/protocol/grpc/GrpcMessage.js"
import * as Http2Connection from "../../src/protocol/http2/Http2Connection.js"
import type { StatusError } from "../../src/Transport/TransportError.js"

const limits: Http2Connection.Limits = {
  maxConcurrentStreams: 1000,
  maxHeaderListSize: 8192,
  streamWindow: 65_535,
  maxStreamWindow: 65_535,
  connectionWindow: 65_535,
  maxCallRate: 1_000_000,
  maxCancelRate: 1_000_000,
  maxPingRate: 1_000_000,
  maxUselessRate: 1_000_000
}

const requestFields = [
  [":method", "POST"],
  [":scheme", "https"],
  [":path", "/a.B/C"],
  [":authority", "a:1"]
] as const

interface Owner extends GrpcReceiving.GrpcStream {
  readonly stream: Http2Connection.Stream<Owner>
  readonly backlog: GrpcInbound.Backlog
  readonly isReadable: boolean
  /** Sizes of messages that were reported and not read, with what they cost, and how many were read. */
  readonly unread: Array<readonly [size: number, cost: number]>
  readonly sizes: Array<number>
  error: string | undefined
  hasEnded: boolean
}

const open: Array<Deadlines.Deadlines> = []

afterEach(() => {
  for (const deadlines of open.splice(0)) {
    deadlines.stop()
  }
})

/** A client whose streams send messages, and a server that decodes them. Odd streams are read as they come. */
const make = (connectionWindow: number, messageTimeout: Duration.DurationInput = "60 seconds") => {
  const deadlines = Deadlines.make()
  open.push(deadlines)
  const kept = GrpcReceiving.makeKept()
  const backlog = { size: 0 }
  const owners: Array<Owner> = []
  let most = 0
  const ignored: Http2Connection.Events<Owner> = {
    onSettings: constVoid,
    onRequest: constVoid,
    onResponse: constVoid,
    onTooLarge: constVoid,
    onData: constVoid,
    onTrailers: constVoid,
    onEnd: constVoid,
    onReset: constVoid,
    onGoaway: constVoid,
    onPing: constVoid,
    onPong: constVoid,
    isFull: constFalse
  }
  const client = Http2Connection.make<Owner>("client", limits, ignored)
  const server: Http2Connection.Http2Connection<Owner> = Http2Connection.make<Owner>("server", limits, {
    ...ignored,
    onRequest: (stream) => {
      const owner: Owner = {
        id: stream.id,
        stream,
        messages: GrpcReceiving.makeInbound(1 << 22),
        backlog: GrpcInbound.makeBacklog(),
        isReadable: stream.id % 4 === 1,
        unread: [],
        sizes: [],
        error: undefined,
        hasEnded: false
      }
      stream.owner = owner
      owners.push(owner)
    },
    onData: (stream, bytes) => {
      const { owner } = stream
      if (owner === undefined || owner.error !== undefined) {
        server.consume(stream, bytes.length)
      } else {
        inbound.receive(owner, bytes)
      }
    },
    onEnd: ({ owner }) => owner !== undefined && inbound.end(owner),
    onReset: ({ owner }) => owner !== undefined && inbound.forgetAll(owner),
    isFull: (): boolean => kept.unread + backlog.size > 2 * connectionWindow + limits.streamWindow * server.theirs()
  })
  const inbound = GrpcInbound.make<Owner, Owner>(
    {
      http2: server,
      kept,
      backlog,
      deadlines,
      account: () => {
        most = Math.max(most, kept.unread + kept.unfinished + backlog.size)
        server.replenish()
      },
      flush: constVoid,
      onThrown: (cause) => {
        throw cause
      },
      settings: {
        connectionWindow,
        messageTimeout: Duration.decode(messageTimeout),
        maxReceiveMessageSize: 1 << 22
      } as never
    },
    {
      isReadable: ({ isReadable }) => isReadable,
      onMessage: (owner, message, cost) => {
        owner.sizes.push(message.length)
        if (owner.isReadable) {
          owner.unread.push([message.length, cost])
        }
      },
      onEnd: (owner) => {
        owner.hasEnded = true
      },
      fail: (owner, error: StatusError) => {
        owner.error ??= error._tag
        inbound.forgetAll(owner)
      },
      compressedText: "compressed"
    }
  )
  const carry = (from: typeof client, to: typeof client) => {
    let moved = 0
    for (const chunk of from.output(16 * 1024)) {
      to.receive(chunk, performance.now())
      moved += chunk.length
    }
    from.reclaim()
    return moved
  }
  /** Carries what both ends have to send, until there is nothing. Returns how many bytes that was. */
  const settle = () => {
    let total = 0
    for (let moved = 1; moved > 0; ) {
      moved = carry(client, server)
      most = Math.max(most, kept.unread + kept.unfinished + backlog.size)
      server.replenish()
      moved += carry(server, client)
      total += moved
    }
    return total
  }
  settle()
  return {
    kept,
    backlog,
    client,
    inbound,
    owners,
    settle,
    most: () => most,
    /** Opens a stream that sends messages of these sizes, one after the other, and its end behind them. */
    send: (sizes: ReadonlyArray<number>) => {
      const stream = client.open(client.makeHead(requestFields), [], false, undefined as never)
      const advance = (at: number) => {
        const size = sizes[at]
        if (size === undefined) {
          return client.sendData(stream, new Uint8Array(0), Http2Connection.noPrefix, true, constVoid)
        }
        client.sendData(stream, new Uint8Array(size), 0, false, () => advance(at + 1))
      }
      advance(0)
      return stream
    },
    /** Reads messages, and waits for more where there are none. Returns how many it has read, and how many came for that. */
    read: (owner: Owner, count = Number.POSITIVE_INFINITY) => {
      const read = owner.unread.splice(0, count)
      if (read.length > 0) {
        inbound.release(
          owner,
          read.reduce((sum, [, cost]) => sum + cost, 0)
        )
      }
      if (owner.unread.length === 0) {
        inbound.onWaiting(owner)
      }
      return read.length + owner.unread.length
    }
  }
}

const nothing = { unread: 0, unfinished: 0, begun: 0 }

const broken = () => {
  const prefix = Buffer.alloc(GrpcMessage.prefixSize)
  prefix[0] = 7
  return prefix
}

describe("inbound data", () => {
  it("arrives, whatever its sizes, however slowly it is read, and whoever gives up", () => {
    const size = FastCheck.oneof(
      FastCheck.constant(0),
      FastCheck.nat(200),
      FastCheck.nat(20_000),
      FastCheck.nat(200_000)
    )
    FastCheck.assert(
      FastCheck.property(
        FastCheck.array(FastCheck.array(size, { maxLength: 6 }), { minLength: 1, maxLength: 12 }),
        FastCheck.array(FastCheck.tuple(FastCheck.nat(11), FastCheck.nat(3), FastCheck.nat(20)), { maxLength: 60 }),
        FastCheck.constantFrom(1000, 50_000, 1_000_000),
        (streams, steps, connectionWindow) => {
          const connection = make(connectionWindow)
          const { backlog, client, inbound, kept, owners, read, send, settle } = connection
          const sent = streams.map(send)
          settle()
          const gone = new Set<number>()
          for (const [at, count, chance] of steps) {
            const stream = sent[at]
            const owner = owners.find(({ id }) => id === stream?.id)
            if (stream === undefined || owner === undefined) {
              continue
            }
            if (chance === 20) {
              gone.add(stream.id)
              client.reset(stream, "CANCEL")
            } else {
              read(owner, count + 1)
            }
            settle()
          }
          for (let moved = 1; moved > 0; ) {
            moved = owners.reduce((sum, owner) => sum + read(owner), 0) + settle()
          }
          expect(owners).toHaveLength(streams.length)
          for (const [at, owner] of owners.entries()) {
            if (!gone.has(owner.id)) {
              expect(owner.sizes).toEqual(streams[at])
              expect(owner.hasEnded).toBe(true)
            }
            inbound.forgetAll(owner)
          }
          expect({ ...kept, backlog: backlog.size }).toEqual({ ...nothing, backlog: 0 })
        }
      ),
      // What was read last lets more come: a round in which nothing was read is not the last one.
      {
        numRuns: 300,
        examples: [
          [
            [[76], [7289, 0, 14283, 19386, 130], [89_864], [], [669]],
            [
              [0, 0, 0],
              [4, 0, 0]
            ],
            1000
          ]
        ]
      }
    )
  })

  it("keeps nothing of a stream that breaks while its reader is full", () => {
    const { backlog, client, kept, owners, settle } = make(1_000_000)
    for (let i = 0; i < 20; i++) {
      const stream = client.open(client.makeHead(requestFields), [], false, undefined as never)
      const empty = Buffer.alloc(600 * GrpcMessage.prefixSize)
      const content = Buffer.concat([empty, broken(), Buffer.alloc(30_000)])
      client.sendData(stream, content, Http2Connection.noPrefix, true, constVoid)
      settle()
    }
    expect(owners.filter(({ error }) => error === "Internal").length).toBeGreaterThan(0)
    for (const owner of owners) {
      expect(owner.backlog.bytes?.size ?? 0).toBe(owner.error === undefined ? (owner.backlog.bytes?.size ?? 0) : 0)
    }
    expect(backlog.size).toBe(owners.reduce((sum, owner) => sum + (owner.backlog.bytes?.size ?? 0), 0))
    expect(kept.begun).toBe(0)
  })

  it("is not held up by an unfinished message whose reader does not read, nor by a call whose handler runs", () => {
    const { owners, read, send, settle } = make(50_000)
    // Readable: many small messages that nobody reads, and a large one that has begun.
    send([...Array.from({ length: 700 }, () => 100), 200_000])
    // Whole, and of a call that goes on.
    send([60_000])
    send([300_000])
    settle()
    for (let i = 0; i < 3; i++) {
      send([300_000])
      settle()
    }
    const [slow, ...others] = owners
    for (let moved = 1; moved > 0; ) {
      moved = others.reduce((sum, owner) => sum + read(owner), 0)
      settle()
      moved += others.reduce((sum, { unread }) => sum + unread.length, 0)
    }
    expect(others.map(({ hasEnded }) => hasEnded)).toEqual(others.map(() => true))
    expect(slow?.hasEnded).toBe(false)
  })

  it("of a stream that is read in the moment it comes is reported once and before its end", () => {
    const { client, inbound, owners, read, settle } = make(1_000_000)
    const sizes = Array.from({ length: 4000 }, (_, i) => i % 7)
    const content = Buffer.concat(
      sizes.map((size) => {
        const message = Buffer.alloc(GrpcMessage.prefixSize + size)
        GrpcMessage.writePrefix(message, 0, size)
        return message
      })
    )
    const stream = client.open(client.makeHead(requestFields), [], false, undefined as never)
    client.sendData(stream, content, Http2Connection.noPrefix, true, constVoid)
    settle()
    const [owner] = owners
    if (owner === undefined) {
      throw new Error("no stream")
    }
    // From now on each message is released when it is reported, as those are whose reader has failed.
    const ends: Array<number> = []
    owner.unread.push = (...read) => {
      for (const [, cost] of read) {
        inbound.release(owner, cost)
      }
      ends.push(owner.hasEnded ? 1 : 0)
      return 0
    }
    read(owner)
    settle()
    expect(owner.sizes).toEqual(sizes)
    expect(ends.every((end) => end === 0)).toBe(true)
    expect(owner.hasEnded).toBe(true)
  })

  it("of a large compressed request is unfinished no longer when its handler runs", async () => {
    const { client, kept, owners, settle } = make(1_000_000, "50 millis")
    const content = Zlib.gzipSync(Buffer.alloc(300_000))
    const stream = client.open(client.makeHead(requestFields), [], false, undefined as never)
    client.sendData(stream, new Uint8Array(0), Http2Connection.noPrefix, true, constVoid)
    const unary = client.open(client.makeHead(requestFields), [], false, undefined as never)
    settle()
    const [, owner] = owners
    if (owner === undefined) {
      throw new Error("no stream")
    }
    GrpcReceiving.takeCompressed(owner.messages)
    client.sendData(unary, content, 1, true, constVoid)
    settle()
    await vi.waitFor(() => expect(owner.hasEnded).toBe(true), { timeout: 10_000 })
    expect(kept).toEqual(nothing)
    const later = Deadlines.make()
    open.push(later)
    await new Promise<void>((resolve) => later.add(200, resolve))
    expect(owner.error).toBeUndefined()
  })
})
