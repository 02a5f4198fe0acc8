import { expect, it } from "@effect/vitest"
import * as FastCheck from "effect/FastCheck"
import * as Frames from "../../../src/protocol/http3/Http3Frames.js"
import * as Http3Message from "../../../src/protocol/http3/Http3Message.js"
import * as Varint from "../../../src/protocol/quic/Varint.js"
import { arbitrarySizes, type Log, limits, makeEnd, makeLog } from "./http3Support.js"

/** Bytes on their way, a queue for each stream and direction, as QUIC carries them. */
const makeStreams = () => {
  const queues = new Map<number, { bytes: Buffer; fin: boolean }>()
  return {
    send: (id: number, bytes: Buffer, fin: boolean) => {
      queues.set(id, { bytes: Buffer.concat([queues.get(id)?.bytes ?? Buffer.alloc(0), bytes]), fin })
    },
    /** Hands on up to `size` bytes of one stream, the `turn`-th of those that have any. */
    carry: (turn: number, size: number, take: (id: number, chunk: Buffer, fin: boolean) => void): boolean => {
      const all = [...queues]
      const next = all[turn % Math.max(1, all.length)]
      if (next === undefined) {
        return false
      }
      const [id, { bytes, fin }] = next
      if (size >= bytes.length) {
        queues.delete(id)
      } else {
        queues.set(id, { bytes: bytes.subarray(size), fin })
      }
      take(id, bytes.subarray(0, size), fin && size >= bytes.length)
      return true
    }
  }
}

it("two ends and many requests, in whatever order the bytes of their streams come", () => {
  const requests = FastCheck.array(FastCheck.uint8Array({ maxLength: 60 }), { minLength: 1, maxLength: 8 })
  const turns = FastCheck.array(FastCheck.nat(1000), { minLength: 1, maxLength: 20 })
  FastCheck.assert(
    FastCheck.property(requests, turns, arbitrarySizes, (contents, turns, sizes) => {
      const ends = { client: makeEnd("client"), server: makeEnd("server") }
      const toServer = makeStreams()
      const toClient = makeStreams()
      const writer = Varint.makeWriter()
      for (const [i, bytes] of ends.client.connection.opening.entries()) {
        toServer.send(4 * i + 2, bytes, false)
      }
      for (const [i, bytes] of ends.server.connection.opening.entries()) {
        toClient.send(4 * i + 3, bytes, false)
      }

      const heard = contents.map(makeLog)
      const responses = Http3Message.responses<Log>(
        {
          onInformational: (_, log) => log.add("informational"),
          onHead: ({ status }, log) => log.add(String(status)),
          onData: (chunk, log) => log.addData(chunk),
          onTrailers: (trailers, log) => log.add(String(trailers)),
          onEnd: (log) => log.add("end")
        },
        { ...limits, method: "POST" }
      )
      const answers = heard.map((log) => Http3Message.make(responses, log))
      for (const [i, content] of contents.entries()) {
        const head = [[":method", "POST"] as const, [":scheme", "https"] as const, [":authority", "a"] as const]
        Frames.writeHeaders(writer, [...head, [":path", `/${i}`]])
        Frames.writeData(writer, content)
        toServer.send(4 * i, Varint.take(writer), true)
      }

      interface Asked {
        readonly id: number
        readonly content: Array<Buffer>
        path: string
      }
      /** Answers with what was asked. */
      const requests = Http3Message.requests<Asked>(
        {
          onHead: (head, asked) => {
            asked.path = head.path ?? ""
          },
          onData: (chunk, { content }) => content.push(Buffer.from(chunk)),
          onTrailers: () => undefined,
          onEnd: ({ content, id, path }) => {
            Frames.writeHeaders(writer, [[":status", "200"]])
            Frames.writeData(writer, Buffer.concat(content))
            Frames.writeHeaders(writer, [["x-path", path]])
            toClient.send(id, Varint.take(writer), true)
          }
        },
        limits
      )
      const asked = contents.map((_, i) => Http3Message.make(requests, { id: 4 * i, content: [], path: "" }))
      const receive = <Owner>(message: Http3Message.Message<Owner> | undefined, chunk: Buffer, fin: boolean) => {
        if (message !== undefined) {
          Http3Message.receive(chunk, fin, message)
        }
      }

      for (let i = 0, moved = true; moved; i++) {
        const turn = turns[i % turns.length] ?? 0
        const size = sizes[i % sizes.length] ?? 1
        const there = toServer.carry(turn, size, (id, chunk, fin) =>
          id % 4 === 2 ? ends.server.connection.receive(id, chunk, fin) : receive(asked[id / 4], chunk, fin)
        )
        const back = toClient.carry(turn, size, (id, chunk, fin) =>
          id % 4 === 3 ? ends.client.connection.receive(id, chunk, fin) : receive(answers[id / 4], chunk, fin)
        )
        moved = there || back
      }
      expect([ends.client.lines, ends.server.lines]).toEqual([["settings 16384 true"], ["settings 16384 true"]])
      expect(heard.map(({ lines }) => lines)).toEqual(
        contents.map((content, i) => [
          "200",
          ...(content.length === 0 ? [] : [`data ${Buffer.from(content).toString("hex")}`]),
          `x-path,/${i}`,
          "end"
        ])
      )
    }),
    { numRuns: 300 }
  )
})
