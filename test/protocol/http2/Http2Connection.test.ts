import { describe, expect, it } from "@effect/vitest"
import * as FastCheck from "effect/FastCheck"
import type { Fields } from "../../../src/protocol/Fields.js"
import { noPrefix } from "../../../src/protocol/http2/Http2Connection.js"
import {
  bytes,
  carry,
  digest,
  type End,
  frame,
  frames,
  greeting,
  literal,
  makeEnd,
  makeOwner,
  open,
  pair,
  read,
  readAll,
  receive,
  requestBlock,
  requestFields,
  respond,
  responseFields,
  settings,
  settle,
  streamOf,
  take,
  trailerFields,
  uint32,
  violationOf
} from "./http2Support.js"

const noop = () => {}

/** Header blocks of requests, responses and trailers, and such as are none. */
const blocks: ReadonlyArray<Uint8Array> = [
  [...requestBlock],
  [...requestBlock, ...literal("content-length", "9")],
  [0x88],
  [0x88, ...literal("content-length", "0")],
  [...literal("grpc-status", "0")],
  [...literal("Upper", "0")],
  [0xbe],
  []
].map((block) => Uint8Array.from(block))

describe("the beginning", () => {
  it("a client sends the preface, and of its settings what differs from the defaults", () => {
    const written = take(makeEnd("client"))
    expect(written.subarray(0, 24).toString()).toBe("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
    expect(frames(written)).toEqual(
      frames(Buffer.concat([settings([2, 0], [6, 8192]), frame(8, 0, 0, uint32((1 << 20) - 65_535))]))
    )
  })

  it("a server says how many streams it takes, and what their windows are", () => {
    const written = take(
      makeEnd("server", { streamWindow: 1000, connectionWindow: 10, maxConcurrentStreams: Infinity })
    )
    expect(frames(written)).toEqual(frames(settings([3, 0xffff_ffff], [6, 8192], [4, 1000])))
  })

  it("streams may be opened once the peer's settings have come, as many as they say", () => {
    const client = makeEnd("client")
    const server = makeEnd("server", { maxConcurrentStreams: 2 })
    expect(client.http2.canOpen()).toBe(false)
    carry(server, client)
    expect(client.http2.canOpen()).toBe(true)
    expect(client.http2.peerSettings()).toMatchObject({ maxConcurrentStreams: 2, initialWindowSize: 65_535 })
    open(client)
    open(client)
    expect(client.http2.canOpen()).toBe(false)
    settle(client, server)
    server.http2.reset(streamOf(server, 1), "CANCEL")
    settle(client, server)
    expect(client.http2.canOpen()).toBe(true)
    expect(client.http2.openCount()).toBe(1)
    expect(server.http2.theirs()).toBe(1)
  })
})

describe("a call", () => {
  it("unary: request and response in few frames, and nothing is left of it", () => {
    const { client, server } = pair()
    const call = open(client)
    let sent = 0
    client.http2.sendData(call, bytes(100), 0, true, () => {
      sent += 1
    })
    expect(sent).toBe(1)
    const request = take(client)
    expect(frames(request).map(({ flags, id, type }) => ({ flags, id, type }))).toEqual([
      { type: 1, flags: 4, id: 1 },
      { type: 0, flags: 1, id: 1 }
    ])
    receive(server, request)
    const answer = streamOf(server, 1)
    respond(server, answer)
    server.http2.sendData(answer, bytes(50), 0, false, noop)
    server.http2.sendHeaders(answer, undefined, trailerFields, true)
    settle(client, server)
    const withPrefix = (size: number) => digest(Buffer.from([0, 0, 0, 0, size]), bytes(size))
    expect(server.log).toEqual([
      "request 1 POST /a.B/C content-type=application/grpc&te=trailers",
      `end 1 ${withPrefix(100)}`
    ])
    expect(client.log).toEqual([
      "response 1 200 content-type=application/grpc",
      "trailers 1 grpc-status=0",
      `end 1 ${withPrefix(50)}`
    ])
    for (const end of [client, server]) {
      expect(end.http2.openCount() + end.http2.theirs()).toBe(0)
      expect(end.http2.streams()).toEqual([])
      expect(end.http2.unsent() + end.http2.buffered()).toBe(0)
    }
  })

  it("an empty body, a body without prefix, and an end without data", () => {
    const { client, server } = pair()
    const call = open(client, true)
    settle(client, server)
    const answer = streamOf(server, call.id)
    respond(server, answer)
    server.http2.sendData(answer, bytes(10), noPrefix, false, noop)
    server.http2.sendData(answer, new Uint8Array(0), noPrefix, true, noop)
    settle(client, server)
    expect(client.log.slice(-1)).toEqual([`end 1 ${digest(bytes(10))}`])
    expect(server.log).toContain("end 1 0:7")
    const second = open(client, true)
    settle(client, server)
    respond(server, streamOf(server, second.id), true)
    settle(client, server)
    expect(client.log.slice(-2)).toEqual(["response 3 200 content-type=application/grpc end", "end 3 0:7"])
  })

  it("trailers wait for the data before them, for which there is no credit yet", () => {
    const { client, server } = pair({ streamWindow: 1000 })
    const call = open(client, true)
    settle(client, server)
    const answer = streamOf(server, call.id)
    respond(server, answer)
    server.http2.sendData(answer, bytes(5000), 0, false, noop)
    server.http2.sendHeaders(answer, undefined, trailerFields, true)
    expect(server.http2.isSending(answer)).toBe(true)
    for (let i = 0; i < 20; i++) {
      settle(client, server)
      read(client, call)
    }
    expect(client.log.slice(-2)).toEqual([
      "trailers 1 grpc-status=0",
      `end 1 ${digest(Buffer.from([0, 0, 0, 0x13, 0x88]), bytes(5000))}`
    ])
    expect(server.http2.theirs()).toBe(0)
  })

  it("small calls overtake a large message; its own trailers and reset do not", () => {
    const { client, server } = pair({ streamWindow: 1 << 20 })
    const [large, reset] = [open(client, true), open(client, true)]
    settle(client, server)
    const answers = [streamOf(server, large.id), streamOf(server, reset.id)]
    for (const answer of answers) {
      respond(server, answer)
      server.http2.sendData(answer, bytes(50_000), 0, false, noop)
    }
    server.http2.sendHeaders(streamOf(server, large.id), undefined, [["x-last", "1"]], true)
    server.http2.reset(streamOf(server, reset.id), "CANCEL")
    const small = open(client, true)
    carry(client, server)
    respond(server, streamOf(server, small.id))
    server.http2.sendHeaders(streamOf(server, small.id), undefined, [["x-last", "1"]], true)
    settle(client, server)
    const at = (line: string) => client.log.findIndex((each) => each.startsWith(line))
    expect(at(`end ${small.id}`)).toBeLessThan(at(`end ${large.id}`))
    expect(client.log).toContain(`end ${large.id} ${digest(Buffer.from([0, 0, 0, 0xc3, 0x50]), bytes(50_000))}`)
    expect(client.log).toContain(`reset ${reset.id} CANCEL remote`)
  })

  it("a reset drops what is unsent, and its callback", () => {
    const { client, server } = pair({ streamWindow: 1000 })
    const call = open(client)
    client.http2.sendData(call, bytes(5000), 0, true, () => {
      throw new Error("sent")
    })
    expect(client.http2.unsent()).toBe(4005)
    settle(client, server)
    client.http2.reset(call, "CANCEL")
    expect(client.http2.unsent()).toBe(0)
    settle(client, server)
    expect(server.log.slice(-1)).toEqual(["reset 1 CANCEL remote"])
    read(server, streamOf(server, 1))
    settle(client, server)
    expect(client.http2.openCount() + server.http2.theirs()).toBe(0)
  })
})

describe("lists of fields that are too large", () => {
  const large: Fields = [["x-a", "b".repeat(9000)]]

  it("a request with one can be answered, and the rest of it is dropped", () => {
    const { client, server } = pair()
    const call = open(client, false, large)
    client.http2.sendData(call, bytes(10), 0, false, noop)
    settle(client, server)
    expect(server.log).toEqual(["too large 1"])
    server.http2.sendHeaders(streamOf(server, 1), server.http2.makeHead([[":status", "431"]]), [], true)
    server.http2.reset(streamOf(server, 1), "NO_ERROR")
    settle(client, server)
    expect(client.log).toEqual(["response 1 431  end", "end 1 0:7", "reset 1 NO_ERROR remote"])
    expect(client.http2.openCount() + server.http2.theirs()).toBe(0)
    open(client, true)
    settle(client, server)
    expect(server.log.slice(1)).toEqual([
      "request 3 POST /a.B/C content-type=application/grpc&te=trailers end",
      "end 3 0:7"
    ])
  })

  it("a response, or trailers, with one end their stream alone", () => {
    const { client, server } = pair()
    const calls = [open(client, true), open(client, true)]
    settle(client, server)
    const [first, second] = calls.map(({ id }) => streamOf(server, id))
    if (first !== undefined && second !== undefined) {
      server.http2.sendHeaders(first, server.http2.makeHead(responseFields), large, false)
      respond(server, second)
      server.http2.sendHeaders(second, undefined, large, true)
    }
    settle(client, server)
    expect(client.log).toEqual([
      "too large 1",
      "response 3 200 content-type=application/grpc",
      "too large 3 trailers",
      "end 3 0:7"
    ])
  })

  it("blocks larger than a frame go into several", () => {
    const { client, server } = pair({ maxHeaderListSize: 200_000 })
    const rest: Fields = [["x-a", "~".repeat(100_000)]]
    open(client, true, rest)
    const written = take(client)
    expect(frames(written).map(({ flags, type }) => [type, flags])).toEqual([
      [1, 1],
      ...new Array(5).fill([9, 0]),
      [9, 4]
    ])
    receive(server, written.subarray(0, 50_000))
    expect(server.http2.isMidFrame()).toBe(true)
    receive(server, written.subarray(50_000))
    expect(server.http2.isMidFrame()).toBe(false)
    expect(server.log[0]).toContain("~".repeat(100_000))
  })
})

describe("content", () => {
  it("of a response to HEAD there is none, whatever its content-length says", () => {
    const { client, server } = pair()
    const head = client.http2.makeHead([[":method", "HEAD"], ...requestFields.slice(1)])
    client.http2.open(head, [], true, makeOwner())
    settle(client, server)
    server.http2.sendHeaders(
      streamOf(server, 1),
      undefined,
      [
        [":status", "200"],
        ["content-length", "100"]
      ],
      true
    )
    settle(client, server)
    expect(client.log).toEqual(["response 1 200 content-length=100 end", "end 1 0:7"])
  })

  it("a frame in the middle of which its stream is reset is dropped to its end", () => {
    const { client, server } = pair()
    const call = open(client)
    client.http2.sendData(call, bytes(1000), 0, true, noop)
    const written = take(client)
    receive(server, written.subarray(0, written.length - 500))
    server.http2.reset(streamOf(server, 1), "CANCEL")
    receive(server, written.subarray(written.length - 500))
    open(client, true)
    settle(client, server)
    expect(server.log.slice(1)).toEqual([
      "request 3 POST /a.B/C content-type=application/grpc&te=trailers end",
      "end 3 0:7"
    ])
  })
})

describe("the connection", () => {
  it("pings are answered, and told", () => {
    const { client, server } = pair()
    client.http2.ping(0xfedc_ba98_7654_3210n)
    settle(client, server)
    expect(client.log).toEqual(["pong 18364758544493064720"])
    expect(server.log).toEqual([])
  })

  it("a server that retires takes what comes, and after GOAWAY ignores it", () => {
    const { client, server } = pair()
    open(client)
    settle(client, server)
    server.http2.retire()
    open(client)
    settle(client, server)
    expect(client.log).toEqual([`goaway ${0x7fff_ffff} NO_ERROR `])
    expect(client.http2.canOpen()).toBe(false)
    expect(server.http2.theirs()).toBe(2)
    server.http2.goaway("NO_ERROR", "bye")
    const ignored = open(client)
    client.http2.sendData(ignored, bytes(10), 0, false, noop)
    carry(client, server)
    expect(server.http2.theirs()).toBe(2)
    settle(client, server)
    expect(client.log.slice(1)).toEqual(["goaway 3 NO_ERROR bye", `reset ${ignored.id} REFUSED_STREAM remote`])
    expect(client.http2.openCount()).toBe(2)
  })

  it("streams beyond the limit are refused", () => {
    const { client, server } = pair({ maxConcurrentStreams: 1 })
    open(client)
    open(client)
    settle(client, server)
    expect(client.log).toEqual(["reset 3 REFUSED_STREAM remote"])
    expect(server.http2.theirs()).toBe(1)
  })

  it("receive stops behind the frame that begins the last stream it may take", () => {
    const { client, server } = pair()
    for (let i = 0; i < 5; i++) {
      client.http2.sendData(open(client), bytes(10), 0, true, noop)
    }
    let rest = take(client)
    for (const count of [2, 2, 1]) {
      const before = server.http2.theirs()
      rest = rest.subarray(server.http2.receive(rest, 0, 2))
      expect(server.http2.theirs() - before).toBe(count)
    }
    expect(rest.length).toBe(0)
  })
})

describe("any bytes", () => {
  const id = FastCheck.constantFrom(0, 1, 1, 1, 2, 3, 3, 5)
  const oddFrame = FastCheck.oneof(
    FastCheck.tuple(FastCheck.constant(0), id, FastCheck.uint8Array({ maxLength: 300 })),
    FastCheck.tuple(FastCheck.constant(1), id, FastCheck.constantFrom(...blocks)),
    FastCheck.tuple(FastCheck.constantFrom(3, 8), id, FastCheck.nat(1e9).map(uint32)),
    FastCheck.tuple(FastCheck.constant(6), FastCheck.constant(0), FastCheck.uint8Array({ minLength: 8, maxLength: 8 })),
    FastCheck.tuple(FastCheck.nat(12), id, FastCheck.uint8Array({ maxLength: 20 }))
  ).chain(([type, id, payload]) =>
    FastCheck.constantFrom(0, 1, 4, 4, 5, 5, 8, 0x2c).map((flags) => frame(type, flags, id, payload))
  )

  it("however they are cut, the same is heard, answered and thrown", () => {
    const hear = (role: End["role"], input: Buffer, sizes: ReadonlyArray<number>) => {
      const end = makeEnd(role)
      receive(end, role === "server" ? greeting : settings())
      if (role === "client") {
        open(end, true)
        open(end)
      }
      const code = violationOf(() => receive(end, input, sizes))
      return [code, end.log, frames(take(end)), end.http2.isMidFrame()]
    }
    const codes = new Set<unknown>()
    FastCheck.assert(
      FastCheck.property(
        FastCheck.constantFrom("client" as const, "server" as const),
        FastCheck.array(oddFrame, { maxLength: 12 }),
        FastCheck.array(FastCheck.integer({ min: 1, max: 40 }), { minLength: 1, maxLength: 5 }),
        (role, input, sizes) => {
          const bytes = Buffer.concat(input)
          const whole = hear(role, bytes, [Number.POSITIVE_INFINITY])
          expect(hear(role, bytes, sizes)).toEqual(whole)
          codes.add(whole[0])
        }
      ),
      { numRuns: 1000 }
    )
    expect(codes.size).toBeGreaterThan(3)
  })
})

describe("two ends", () => {
  it("deliver all that is sent, whatever the windows and however the bytes are cut", () => {
    const call = FastCheck.record({
      request: FastCheck.array(FastCheck.nat(40_000), { maxLength: 3 }),
      response: FastCheck.array(FastCheck.nat(40_000), { maxLength: 3 }),
      rest: FastCheck.array(FastCheck.tuple(FastCheck.constantFrom("x-a", "x-b"), FastCheck.hexaString()), {
        maxLength: 2
      })
    })
    FastCheck.assert(
      FastCheck.property(
        FastCheck.array(call, { minLength: 1, maxLength: 8 }),
        FastCheck.array(FastCheck.integer({ min: 1, max: 30_000 }), { minLength: 1, maxLength: 4 }),
        FastCheck.integer({ min: 20, max: 100_000 }),
        FastCheck.integer({ min: 1, max: 200_000 }),
        (calls, sizes, streamWindow, connectionWindow) => {
          const options = { streamWindow, connectionWindow, maxStreamWindow: 4 * streamWindow }
          const client = makeEnd("client", options)
          const server = makeEnd("server", options)
          carry(server, client, sizes)
          const sendAll = (
            end: typeof client,
            stream: ReturnType<typeof open>,
            all: ReadonlyArray<number>,
            done: () => void
          ) => {
            const [size, ...rest] = all
            if (size === undefined) {
              done()
            } else {
              end.http2.sendData(stream, bytes(size), 0, false, () => sendAll(end, stream, rest, done))
            }
          }
          for (const { request, rest } of calls) {
            const stream = open(client, false, rest)
            sendAll(client, stream, request, () => client.http2.sendData(stream, bytes(0), noPrefix, true, noop))
          }
          carry(client, server, sizes)
          for (const [i, { response }] of calls.entries()) {
            const stream = streamOf(server, 2 * i + 1)
            respond(server, stream)
            sendAll(server, stream, response, () => server.http2.sendHeaders(stream, undefined, trailerFields, true))
          }
          for (let i = 0; i < 20_000 && client.http2.openCount() + server.http2.theirs() > 0; i++) {
            carry(client, server, sizes, i)
            readAll(server)
            carry(server, client, sizes, i)
            readAll(client)
          }
          const prefixed = (sizes: ReadonlyArray<number>) =>
            digest(...sizes.flatMap((size) => [Buffer.from([0]), uint32(size), bytes(size)]))
          for (const [i, { request, response }] of calls.entries()) {
            expect(server.log).toContain(`end ${2 * i + 1} ${prefixed(request)}`)
            expect(client.log).toContain(`end ${2 * i + 1} ${prefixed(response)}`)
          }
          for (const end of [client, server]) {
            expect(end.http2.unsent()).toBe(0)
            expect(end.http2.streams()).toEqual([])
          }
        }
      ),
      { numRuns: 60 }
    )
  })
})
