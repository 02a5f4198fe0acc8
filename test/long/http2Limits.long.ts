/** What peers of a gRPC listener do with HTTP/2 alone, which grpc-js or node:http2 takes in below one of the engines. */
import type * as Net from "node:net"
import { setFlagsFromString } from "node:v8"
import { runInNewContext } from "node:vm"
import { describe, expect, it } from "@effect/vitest"
import * as Deferred from "effect/Deferred"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import { constVoid } from "effect/Function"
import * as Stream from "effect/Stream"
import { Transport } from "effect-transport"
import { describeEngines, itUnless } from "../fixtures/describeEngines.js"
import { echoHandlers, insecure } from "../fixtures/grpc.js"
import type { Options } from "../fixtures/grpcEngines.js"
import * as H2 from "../fixtures/http2.js"
import { connect } from "../fixtures/tls.js"
import { EchoService } from "../suite/fixtures/echo.js"
import { eventually, leavesNothing, soon, within } from "../suite/fixtures/expect.js"
import { heldDuring } from "../suite/fixtures/observe.js"

const initialWindow = 65_535

const repeated = (frame: Buffer, count: number) => Buffer.alloc(count * frame.length, frame)

const headers = (stream: number) =>
  H2.frame(
    H2.type.headers,
    H2.endHeaders,
    stream,
    H2.headerBlock(H2.grpcHeaders("/echo.v1.EchoService/EchoClientStream"))
  )

/** Calls that are cancelled in the bytes in which they begin. */
const cancelled = (count: number) =>
  Buffer.concat(
    Array.from({ length: count }, (_, i) => 2 * i + 1).flatMap((id) => [
      headers(id),
      H2.frame(H2.type.rstStream, 0, id, Buffer.of(0, 0, 0, 8))
    ])
  )

const ping = H2.frame(H2.type.ping, 0, 0, Buffer.alloc(8))

describeEngines((engine) => {
  const { on } = engine

  /** A listener that does not read streams, how long a call of a good client takes, and peers that write frames. */
  const listenerOf = Effect.fnUntraced(function* (options: Options) {
    const handlers = echoHandlers({ echoClientStream: () => Effect.never })
    const { address, target } = yield* on(insecure, options)(Transport.listen([handlers]))
    const client = yield* on(insecure)(Transport.client(EchoService, target))
    const goodCall = Effect.map(Effect.timed(client.echo({})), ([elapsed]) => Duration.toMillis(elapsed))
    yield* goodCall
    const peer = Effect.gen(function* () {
      const socket = yield* connect(address.port)
      let onLooked = constVoid
      socket.once("close", () => onLooked())
      H2.onFrames(socket, ({ flags, type }) => type === H2.type.ping && flags === H2.ack && onLooked())
      /** Writes, and waits until the listener has looked at all of it, or hung up. */
      const write = (bytes: Buffer) =>
        within(
          Effect.async<void>((resume) => {
            onLooked = () => resume(Effect.void)
            socket.write(Buffer.concat([bytes, ping]))
          }),
          "3 seconds"
        )
      yield* write(Buffer.concat([H2.preface, H2.settings()]))
      return { socket, write }
    })
    return { goodCall, peer }
  })
  const listener = listenerOf({})

  const hungUpOn = (socket: Net.Socket) =>
    eventually(
      Effect.sync(() => expect(socket.closed).toBe(true)),
      "400 millis"
    )

  setFlagsFromString("--expose-gc")
  const collect: () => void = runInNewContext("gc")

  const mebibytes = () => {
    collect()
    const { arrayBuffers, heapUsed } = process.memoryUsage()
    return (arrayBuffers + heapUsed) / 2 ** 20
  }

  const median = (values: ReadonlyArray<number>) =>
    [...values].sort((a, b) => a - b)[Math.floor(values.length / 2)] ?? Number.NaN

  const paddedFlag = 8

  const emptyData = H2.frame(H2.type.data, 0, 1)
  const onlyPadding = H2.frame(H2.type.data, paddedFlag, 1, Buffer.of(0))
  const settings = H2.settings([3, 100])
  const priority = H2.frame(H2.type.priority, 0, 1, Buffer.of(0, 0, 0, 0, 1))

  describe("a peer that", () => {
    // 72 MiB on Node 20, for 0.6 MiB.
    itUnless(engine, "byteFrames", "sends DATA frames of a byte costs what they carry", () =>
      leavesNothing(
        Effect.gen(function* () {
          const { peer } = yield* listener
          const size = initialWindow - 5
          const begun = H2.frame(H2.type.data, 0, 1, H2.message(Buffer.of(), { length: size + 1 }))
          const flood = Buffer.concat([headers(1), begun, repeated(H2.frame(H2.type.data, 0, 1, Buffer.of(7)), size)])
          const before = mebibytes()
          for (let i = 0; i < 10; i++) {
            const { write } = yield* peer
            yield* write(flood)
          }
          expect(mebibytes() - before).toBeLessThan(15)
        })
      )
    )

    // Begun in one turn, they took 0.3 to 2.3 s, most of it for handlers that were interrupted as soon as they ran.
    it.live("cancels calls as it begins them holds up nobody", () =>
      leavesNothing(
        Effect.gen(function* () {
          const { peer } = yield* listener
          const { write } = yield* peer
          // As many as node:http2 lets through.
          const [, held] = yield* heldDuring(write(cancelled(1000)))
          expect(held).toBeLessThan(250)
        })
      )
    )

    itUnless(engine, "cancelFlood", "cancels 3,000 calls at once is hung up on", () =>
      leavesNothing(
        Effect.gen(function* () {
          // A busy machine takes longer than a second for as many as may come in one by default; with fewer allowed,
          // an engine that ends the connection before they are counted is not seen.
          const { peer } = yield* listenerOf(engine.limits.cancelFlood === undefined ? { maxUselessRate: 200 } : {})
          const { socket } = yield* peer
          const told = Effect.async<void>((resume) => {
            socket.once("close", () => resume(Effect.void))
            H2.onFrames(socket, ({ type }) => type === H2.type.goaway && resume(Effect.void))
            socket.write(cancelled(3000))
          })
          yield* within(told, "3 seconds")
          yield* hungUpOn(socket)
        })
      )
    )

    itUnless(engine, "cancelRate", "cancels as many calls as it may keeps the others", () =>
      leavesNothing(
        Effect.gen(function* () {
          const answer = yield* Deferred.make<void>()
          const handlers = echoHandlers({
            echo: () => Effect.never,
            echoServerStream: () => Stream.as(Stream.fromEffect(Deferred.await(answer)), {})
          })
          const { target } = yield* on(insecure)(Transport.listen([handlers]))
          const client = yield* on(insecure)(Transport.client(EchoService, target))
          const other = yield* Effect.fork(Effect.either(Stream.runCount(client.echoServerStream({}))))
          const call = Effect.ignore(Effect.timeout(client.echo({}), "10 millis"))
          // No more than 1,000 a second; `maxUselessRate` is 2,000.
          yield* Effect.replicateEffect(call, 1500, { concurrency: 10, discard: true })
          yield* Deferred.succeed(answer, undefined)
          expect(yield* soon(Fiber.join(other))).toMatchObject({ right: 1 })
        })
      )
    )

    itUnless(engine, "padding", "sends DATA frames of padding alone is hung up on", () =>
      leavesNothing(
        Effect.gen(function* () {
          const { peer } = yield* listener
          const { socket } = yield* peer
          socket.write(Buffer.concat([headers(1), repeated(onlyPadding, initialWindow)]))
          yield* hungUpOn(socket)
        })
      )
    )

    const floods: ReadonlyArray<readonly [title: string, frame: Buffer, isHungUpOn?: true]> = [
      ["empty DATA frames", emptyData, true],
      ["DATA frames of padding alone", onlyPadding],
      ["SETTINGS frames", settings, true],
      ["PRIORITY frames", priority]
    ]

    it.live.each(floods)("floods a listener with %s is not felt by others", ([, frame, isHungUpOn]) =>
      leavesNothing(
        Effect.gen(function* () {
          const { goodCall, peer } = yield* listener
          const { socket } = yield* peer
          const bytes = repeated(frame, Math.floor(initialWindow / frame.length))
          const before = mebibytes()
          const write = () => socket.destroyed || socket.write(bytes, () => setImmediate(write))
          socket.write(headers(1), write)
          const waits: Array<number> = []
          const until = performance.now() + 500
          while (performance.now() < until) {
            waits.push(yield* goodCall)
          }
          expect(median(waits)).toBeLessThan(50)
          expect(mebibytes() - before).toBeLessThan(20)
          if (isHungUpOn) {
            expect(socket.closed).toBe(true)
          }
        })
      )
    )
  })
})
