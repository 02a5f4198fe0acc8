/** PINGs between GrpcLive and peers that count them, gRFC A8. */
import { once } from "node:events"
import * as NodeHttp2 from "node:http2"
import type * as Net from "node:net"
import { describe, expect, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import { Transport } from "effect-transport"
import { describeEngines } from "../fixtures/describeEngines.js"
import { echoHandlers, insecure } from "../fixtures/grpc.js"
import { ack, frame, message, onFrames, preface, request, session, settings, type } from "../fixtures/http2.js"
import { listen } from "../fixtures/tls.js"
import { EchoService } from "../suite/fixtures/echo.js"
import { eventually, leavesNothing, within } from "../suite/fixtures/expect.js"

const tooManyPings = Buffer.concat([Buffer.from([0, 0, 0, 0, 0, 0, 0, 11]), Buffer.from("too_many_pings")])

const path = { ":path": "/echo.v1.EchoService/Echo" }

describeEngines(({ on }) => {
  describe("a listener", () => {
    const connected = Effect.gen(function* () {
      const { target } = yield* on(insecure)(Transport.listen([echoHandlers()]))
      const client = yield* session(`http://${target}`)
      yield* Effect.promise(() => once(client, "remoteSettings"))
      const ping = Effect.async<boolean>((resume) => {
        client.ping((error) => resume(Effect.succeed(error === null)))
      })
      return { client, ping }
    })

    it.live("ends a connection whose client pings all the time, and says why", () =>
      leavesNothing(
        Effect.gen(function* () {
          const { client, ping } = yield* connected
          const goaway = once(client, "goaway")
          expect(yield* Effect.forEach([1, 2, 3], () => ping)).toEqual([true, true, true])
          yield* Effect.fork(ping)
          const [code, , data] = yield* within(
            Effect.promise(() => goaway),
            "2 seconds"
          )
          expect([code, String(data)]).toEqual([NodeHttp2.constants.NGHTTP2_ENHANCE_YOUR_CALM, "too_many_pings"])
          yield* eventually(Effect.sync(() => expect(client.destroyed).toBe(true)))
        })
      )
    )

    it.live.each([
      ["messages", path],
      ["a status alone", { ":path": "/echo.v1.EchoService/Nothing" }]
    ] as const)("lets a client ping after whatever it is sent: %s", ([, called]) =>
      leavesNothing(
        Effect.gen(function* () {
          const { client, ping } = yield* connected
          for (let i = 0; i < 10; i++) {
            yield* request(client, called, (stream) => stream.end(message(Buffer.of())))
            expect(yield* ping).toBe(true)
          }
          expect(client.destroyed).toBe(false)
        })
      )
    )
  })

  /** A server that answers PINGs, or nothing, and never a call. */
  const deaf = (answersPings: boolean) =>
    Effect.gen(function* () {
      let pings = 0
      const server = yield* listen((socket: Net.Socket) => {
        socket.write(settings())
        onFrames(
          socket,
          ({ flags, payload, type: frameType }) => {
            if (frameType === type.settings && (flags & ack) === 0) {
              socket.write(frame(type.settings, ack, 0))
            } else if (frameType === type.ping && (flags & ack) === 0) {
              pings += 1
              if (answersPings) {
                socket.write(frame(type.ping, ack, 0, payload))
              }
            }
          },
          preface.length
        )
      })
      const client = yield* on(insecure, { keepaliveTimeout: "300 millis" })(
        Transport.client(EchoService, `127.0.0.1:${server.port}`)
      )
      return { client, pings: () => pings, server }
    })

  describe("a client whose call runs into its deadline", () => {
    it.live("asks its peer once, and ends the connection of one that does not answer", () =>
      leavesNothing(
        Effect.gen(function* () {
          const { client, pings } = yield* deaf(false)
          const long = yield* Effect.fork(Effect.flip(client.echo({})))
          expect(yield* Effect.flip(client.echo({}, { timeout: "100 millis" }))).toMatchObject({
            _tag: "DeadlineExceeded"
          })
          expect(yield* within(Fiber.join(long), "2 seconds")).toMatchObject({
            _tag: "Unavailable",
            processed: "unknown"
          })
          expect(pings()).toBe(1)
        })
      )
    )

    it.live("asks no second time before it has an answer, and keeps the connection of a peer that lives", () =>
      leavesNothing(
        Effect.gen(function* () {
          const { client, pings, server } = yield* deaf(true)
          const long = yield* Effect.fork(Effect.flip(client.echo({}, { timeout: "1 second" })))
          const short = Effect.flip(client.echo({}, { timeout: "100 millis" }))
          expect(yield* Effect.all([short, short, short], { concurrency: 3 })).toMatchObject(
            Array(3).fill({ _tag: "DeadlineExceeded" })
          )
          yield* short
          expect(yield* Fiber.join(long)).toMatchObject({ _tag: "DeadlineExceeded" })
          expect([pings(), server.live()]).toEqual([1, 1])
        })
      )
    )
  })

  describe("a client", () => {
    it.live("that pinged too often loses its calls as Unavailable, and pings half as often from then on", () =>
      leavesNothing(
        Effect.gen(function* () {
          /** When each connection was pinged. */
          const pings: Array<Array<number>> = []
          const server = yield* listen((socket: Net.Socket) => {
            const own: Array<number> = []
            pings.push(own)
            const isFirst = pings.length === 1
            socket.write(settings())
            onFrames(
              socket,
              ({ flags, payload, type: frameType }) => {
                if (frameType === type.settings && (flags & ack) === 0) {
                  socket.write(frame(type.settings, ack, 0))
                } else if (frameType === type.ping && (flags & ack) === 0) {
                  own.push(performance.now())
                  socket.write(
                    isFirst && own.length === 2
                      ? frame(type.goaway, 0, 0, tooManyPings)
                      : frame(type.ping, ack, 0, payload)
                  )
                }
              },
              preface.length
            )
          })
          const client = yield* on(insecure, { keepaliveTime: "200 millis" })(
            Transport.client(EchoService, `127.0.0.1:${server.port}`)
          )
          const error = yield* within(Effect.flip(client.echo({}, { timeout: "4 seconds" })), "3 seconds")
          expect(error).toMatchObject({ _tag: "Unavailable" })
          expect(error.message).toContain("too_many_pings")
          yield* Effect.flip(client.echo({}, { timeout: "1500 millis", waitForReady: true }))
          const [first = 0, second = 0] = pings[1] ?? []
          expect(pings.length).toBe(2)
          expect(second - first).toBeGreaterThan(390)
        })
      )
    )
  })
})
