/** What a peer of a GrpcLive listener can make it keep. */
import type * as Net from "node:net"
import { setFlagsFromString } from "node:v8"
import { runInNewContext } from "node:vm"
import { describe, expect, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Stream from "effect/Stream"
import { Credentials, Transport } from "effect-transport"
import { EchoService } from "../../examples/gen/echo/v1/echo_pb.js"
import { describeEngines } from "../fixtures/describeEngines.js"
import type { Options } from "../fixtures/grpcEngines.js"
import * as H2 from "../fixtures/http2.js"
import { connect } from "../fixtures/tls.js"
import { echo } from "../suite/fixtures/echo.js"
import { eventually, leavesNothing, within } from "../suite/fixtures/expect.js"
import { captureLog } from "../suite/fixtures/observe.js"

describeEngines(({ layer: transport }) => {
  const serve = (
    options: Options = {},
    implementation: Partial<Transport.Implementation<typeof EchoService>> = {},
    authorize?: Transport.HandlersOptions<typeof EchoService>["authorize"]
  ) =>
    Effect.gen(function* () {
      const { layer, lines } = yield* captureLog
      const context = yield* Layer.build(Layer.provide(transport(options), Credentials.insecure))
      const run = <A, E, R>(effect: Effect.Effect<A, E, R>) =>
        effect.pipe(Effect.provide(context), Effect.provide(layer))
      const { address, target } = yield* run(
        Transport.listen([
          Transport.handlers(EchoService, { ...echo, ...implementation }, { authorize }) as Transport.Handlers<never>
        ])
      )
      return { port: address.port, client: yield* run(Transport.client(EchoService, target)), lines }
    })

  const most = 2 ** 31 - 1

  const window = (stream: number, size: number) => {
    const payload = Buffer.alloc(4)
    payload.writeUInt32BE(size)
    return H2.frame(H2.type.windowUpdate, 0, stream, payload)
  }

  /** A peer that allows this end everything, or no content, and of which the test says whether it reads. */
  const peer = (port: number, streamWindow = most) =>
    Effect.tap(connect(port), (socket) =>
      Effect.sync(() => {
        socket.on("error", () => {})
        socket.setNoDelay(true)
        socket.write(Buffer.concat([H2.preface, H2.settings([4, streamWindow]), window(0, most - 65_535)]))
      })
    )

  const open = (stream: number, method: string, ...more: ReadonlyArray<readonly [string, string]>) =>
    H2.frame(
      H2.type.headers,
      H2.endHeaders,
      stream,
      H2.headerBlock([...H2.grpcHeaders(`/echo.v1.EchoService/${method}`), ...more])
    )

  const data = (stream: number, payload: Uint8Array, flags = 0) => H2.frame(H2.type.data, flags, stream, payload)

  const ids = (count: number) => Array.from({ length: count }, (_, i) => 2 * i + 1)

  const size = 4 * 2 ** 20 - 100
  /** What stands before a message of that size. */
  const prefix = H2.message(Buffer.of(), { length: size })

  /** Writes and waits for the socket, so that this end of the test keeps nothing itself. */
  const write = (socket: Net.Socket, chunk: Buffer) =>
    Effect.async<void>((resume) => {
      socket.write(chunk, () => resume(Effect.void))
    })

  /**
   * Sends content behind such prefixes as fast as the listener's windows let it, until it has sent all or the listener takes no more: node:http2 gives
   * back the window of a stream that is read, and that of the connection always.
   */
  const upload = (socket: Net.Socket, count: number, size: number) => {
    const windows = new Map(ids(count).map((id) => [id, 65_535 - prefix.length]))
    const left = new Map(ids(count).map((id) => [id, size]))
    let connection = 65_535 - count * prefix.length
    let sent = 0
    const piece = Buffer.alloc(16_000, 7)
    const send = () => {
      for (let any = true; any; ) {
        any = false
        for (const [id, rest] of left) {
          const size = Math.min(rest, piece.length, windows.get(id) ?? 0, connection)
          if (size > 0) {
            any = true
            socket.write(data(id, piece.subarray(0, size)))
            left.set(id, rest - size)
            windows.set(id, (windows.get(id) ?? 0) - size)
            connection -= size
            sent += size
          }
        }
      }
    }
    H2.onFrames(socket, ({ payload, stream, type }) => {
      if (type === H2.type.windowUpdate) {
        const size = payload.readUInt32BE(0)
        if (stream === 0) {
          connection += size
        } else {
          windows.set(stream, (windows.get(stream) ?? 0) + size)
        }
        send()
      } else if (type === H2.type.settings && payload.length > 0) {
        socket.write(H2.frame(H2.type.settings, H2.ack, 0))
      }
    })
    send()
    return () => sent
  }

  setFlagsFromString("--expose-gc")
  const collect: () => void = runInNewContext("gc")

  const mebibytes = () => {
    collect()
    const { arrayBuffers, heapUsed } = process.memoryUsage()
    return (arrayBuffers + heapUsed) / 2 ** 20
  }

  /** Waits until a number grows, and grows no more. */
  const settled = (value: () => number) =>
    Effect.gen(function* () {
      const before = value()
      yield* Effect.sleep("300 millis")
      return { before, now: value() }
    }).pipe(
      Effect.repeat({ until: ({ before, now }) => now > 65_535 && now === before }),
      Effect.map(({ now }) => now),
      (all) => within(all, "15 seconds")
    )

  describe("a peer that", () => {
    it.live.each(["Echo", "EchoClientStream"])(
      "begins 100 messages of %s and ends none keeps no more than the budget",
      (method) =>
        leavesNothing(
          Effect.gen(function* () {
            const { client, port } = yield* serve()
            const socket = yield* peer(port)
            const before = mebibytes()
            yield* write(
              socket,
              Buffer.concat(ids(100).map((id) => Buffer.concat([open(id, method), data(id, prefix)])))
            )
            const sent = upload(socket, 100, size - 1)
            expect(yield* settled(sent)).toBeLessThan(40 * 2 ** 20)
            expect((yield* client.echo({ message: "good" })).message).toBe("good")
            yield* eventually(Effect.sync(() => expect(mebibytes() - before).toBeLessThan(40)))
          })
        )
    )

    it.live("sends 100 requests whole and does not end them keeps no more than the budget", () =>
      leavesNothing(
        Effect.gen(function* () {
          const { client, port } = yield* serve()
          const socket = yield* peer(port)
          const before = mebibytes()
          yield* write(socket, Buffer.concat(ids(100).map((id) => Buffer.concat([open(id, "Echo"), data(id, prefix)]))))
          const sent = upload(socket, 100, size)
          expect(yield* settled(sent)).toBeLessThan(40 * 2 ** 20)
          expect((yield* client.echo({ message: "good" })).message).toBe("good")
          yield* eventually(Effect.sync(() => expect(mebibytes() - before).toBeLessThan(40)))
        })
      )
    )

    it.live("asks for 100 answers of 4 MiB and reads none leaves most of them with their handlers", () => {
      const payload = new Uint8Array(size - 100)
      return leavesNothing(
        Effect.gen(function* () {
          let handled = 0
          const { client, port } = yield* serve(
            {},
            {
              echo: ({ message }) =>
                Effect.sync(() => {
                  handled += 1
                  return { message, payload: message === "" ? payload : new Uint8Array(0) }
                })
            }
          )
          const socket = yield* peer(port)
          socket.pause()
          const before = mebibytes()
          for (const id of ids(100)) {
            yield* write(socket, Buffer.concat([open(id, "Echo"), data(id, H2.message(Buffer.of()), H2.endStream)]))
          }
          yield* eventually(
            Effect.sync(() => expect(handled).toBe(100)),
            "5 seconds"
          )
          expect((yield* client.echo({ message: "good" })).message).toBe("good")
          yield* eventually(Effect.sync(() => expect(mebibytes() - before).toBeLessThan(60)))
        })
      )
    })

    it.live("asks for streams and reads none leaves them with their handlers", () => {
      const payload = new Uint8Array(2 ** 20)
      return leavesNothing(
        Effect.gen(function* () {
          let pulled = 0
          const next = Effect.sync(() => {
            pulled += 1
            return { payload }
          })
          const { client, port } = yield* serve({}, { echoServerStream: () => Stream.repeatEffect(next) })
          const socket = yield* peer(port)
          socket.pause()
          const before = mebibytes()
          for (const id of ids(100)) {
            yield* write(
              socket,
              Buffer.concat([open(id, "EchoServerStream"), data(id, H2.message(Buffer.of()), H2.endStream)])
            )
          }
          yield* eventually(
            Effect.sync(() => expect(pulled).toBeGreaterThanOrEqual(100)),
            "5 seconds"
          )
          expect((yield* client.echo({ message: "good" })).message).toBe("good")
          yield* eventually(Effect.sync(() => expect(mebibytes() - before).toBeLessThan(60)))
        })
      )
    })

    it.live("asks for answers and cancels, over and over, reading none, leaves nothing of them behind", () => {
      const payload = new Uint8Array(2 ** 20)
      return leavesNothing(
        Effect.gen(function* () {
          let handled = 0
          const { client, port } = yield* serve(
            {},
            {
              echo: ({ message }) =>
                Effect.sync(() => {
                  handled += 1
                  return { message, payload: message === "" ? payload.slice() : new Uint8Array(0) }
                })
            }
          )
          const socket = yield* peer(port, 0)
          socket.resume()
          const before = mebibytes()
          for (const id of ids(120)) {
            yield* write(socket, Buffer.concat([open(id, "Echo"), data(id, H2.message(Buffer.of()), H2.endStream)]))
            if (id > 40) {
              yield* eventually(Effect.sync(() => expect(handled).toBe((id + 1) / 2)))
              yield* write(socket, H2.frame(H2.type.rstStream, 0, id, Buffer.of(0, 0, 0, 8)))
            }
          }
          expect((yield* client.echo({ message: "good" })).message).toBe("good")
          yield* eventually(Effect.sync(() => expect(mebibytes() - before).toBeLessThan(80)))
        })
      )
    })
  })

  it.live("answers that wait for room arrive when the peer reads, in any order and whole", () =>
    leavesNothing(
      Effect.gen(function* () {
        const payload = new Uint8Array(300_000).map((_, i) => i)
        const { client } = yield* serve(
          { maxUnsentBytes: 1 },
          { echo: ({ message }) => Effect.succeed({ message, payload }) }
        )
        const answers = yield* Effect.forEach(
          Array.from({ length: 50 }, (_, i) => String(i)),
          (message) => client.echo({ message }),
          { concurrency: "unbounded" }
        )
        expect(answers.map(({ message }) => message)).toEqual(answers.map((_, i) => String(i)))
        expect(answers.every((answer) => Buffer.compare(answer.payload, payload) === 0)).toBe(true)
      })
    )
  )

  it.live("requests that wait for room arrive, in any order and whole", () =>
    leavesNothing(
      Effect.gen(function* () {
        const payload = new Uint8Array(300_000).map((_, i) => i)
        const { client } = yield* serve({ connectionWindow: 1 })
        const unary = Effect.forEach(
          Array.from({ length: 8 }, (_, i) => String(i)),
          (message) => client.echo({ message, payload }),
          { concurrency: "unbounded" }
        )
        const streams = Effect.forEach(
          Array.from({ length: 8 }, (_, i) => i),
          () => Stream.runCount(client.echoBidi(Stream.map(Stream.range(1, 5), () => ({ payload })))),
          { concurrency: "unbounded" }
        )
        const [answers, counts] = yield* within(Effect.all([unary, streams], { concurrency: 2 }), "15 seconds")
        expect(answers.map(({ message }) => message)).toEqual(answers.map((_, i) => String(i)))
        expect(answers.every((answer) => Buffer.compare(answer.payload, payload) === 0)).toBe(true)
        expect(counts).toEqual(counts.map(() => 5))
      })
    )
  )

  const cases: ReadonlyArray<readonly [title: string, method: string, content: Buffer]> = [
    ["a message that is begun and not finished", "EchoClientStream", prefix],
    ["a request that is whole and not ended", "Echo", H2.message(Buffer.of())]
  ]

  it.live.each(cases)("%s ends its call in time", ([, method, content]) =>
    leavesNothing(
      Effect.gen(function* () {
        const { client, port } = yield* serve({ messageTimeout: "200 millis" })
        const session = yield* H2.session(`http://127.0.0.1:${port}`)
        const answer = yield* H2.request(session, { ":path": `/echo.v1.EchoService/${method}` }, (stream) => {
          stream.write(content)
        })
        expect(H2.grpcStatus(answer)).toBe(4)
        expect(decodeURIComponent(`${answer.headers["grpc-message"]}`)).toContain("not finished within 200ms")
        expect((yield* client.echo({ message: "good" })).message).toBe("good")
      })
    )
  )

  it.live("an unread answer keeps its call no longer than its deadline", () => {
    const payload = new Uint8Array(2 ** 20)
    return leavesNothing(
      Effect.gen(function* () {
        const { port } = yield* serve({ maxConcurrentStreams: 1 }, { echo: () => Effect.succeed({ payload }) })
        const socket = yield* connect(port)
        const reset = new Set<number>()
        socket.write(Buffer.concat([H2.preface, H2.settings()]))
        H2.onFrames(socket, ({ stream, type }) => type === H2.type.rstStream && reset.add(stream))
        const request = data(1, H2.message(Buffer.of()), H2.endStream)
        yield* write(socket, Buffer.concat([open(1, "Echo", ["grpc-timeout", "100m"]), request]))
        // The window of the stream is never given back.
        yield* eventually(
          Effect.sync(() => expect([...reset]).toEqual([1])),
          "5 seconds"
        )
      })
    )
  })

  it.live("of all connections of a listener the one that holds most is closed when they hold too much", () =>
    leavesNothing(
      Effect.gen(function* () {
        const { client, lines, port } = yield* serve({ maxBufferedBytes: 3 * 2 ** 20 })
        const small = yield* peer(port)
        yield* write(small, Buffer.concat([open(1, "EchoClientStream"), data(1, prefix)]))
        upload(small, 1, 500_000)
        const large = yield* peer(port)
        const opened = ids(6).map((id) => Buffer.concat([open(id, "EchoClientStream"), data(id, prefix)]))
        yield* write(large, Buffer.concat(opened))
        upload(large, 6, 700_000)
        yield* eventually(
          Effect.sync(() => expect(large.closed).toBe(true)),
          "5 seconds"
        )
        expect(small.closed).toBe(false)
        yield* eventually(Effect.sync(() => expect(lines.map(({ text }) => text).join("\n")).toContain("Overloaded")))
        expect((yield* client.echo({ message: "good" })).message).toBe("good")
      })
    )
  )
})
