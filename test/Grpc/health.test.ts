/** What a watcher of health reads off the connection of a listener that closes. */
import { create, toBinary } from "@bufbuild/protobuf"
import { describe, expect, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import { Health, Transport } from "effect-transport"
import { HealthCheckRequestSchema } from "../../src/gen/grpc/health/v1/health_pb.js"
import { echoHandlers, insecure } from "../fixtures/grpc.js"
import { grpcEngines } from "../fixtures/grpcEngines.js"
import * as H2 from "../fixtures/http2.js"
import { connect } from "../fixtures/tls.js"
import { closable, eventually, leavesNothing } from "../suite/fixtures/expect.js"

const watch = (stream: number, service: string) =>
  Buffer.concat([
    H2.frame(
      H2.type.headers,
      H2.endHeaders,
      stream,
      H2.headerBlock(H2.grpcHeaders(`/${Health.Contract.typeName}/Watch`))
    ),
    H2.frame(
      H2.type.data,
      H2.endStream,
      stream,
      H2.message(toBinary(HealthCheckRequestSchema, create(HealthCheckRequestSchema, { service })))
    )
  ])

const status = (value: number) => H2.message(Uint8Array.of(8, value)).toString("hex")

describe.each(grpcEngines)("a listener on $name that closes", ({ on }) => {
  /** A listener with watchers, all of which have read the first status where they may. */
  const watched = (settings: Buffer) =>
    Effect.gen(function* () {
      const [{ address }, close] = yield* closable(
        on(insecure)(Effect.provide(Transport.listen([echoHandlers(), Health.handlers]), Health.layer))
      )
      const socket = yield* connect(address.port)
      const frames: Array<H2.Frame> = []
      H2.onFrames(socket, (frame) => frames.push(frame))
      socket.write(Buffer.concat([H2.preface, settings, H2.frame(H2.type.settings, H2.ack, 0)]))
      const texts = (stream: number) =>
        frames
          .filter((frame) => frame.type === H2.type.data && frame.stream === stream)
          .map(({ payload }) => payload.toString("hex"))
      return { close, frames, socket, texts }
    })

  it.live("tells watchers NOT_SERVING before it tells the connection to go away", () =>
    leavesNothing(
      Effect.gen(function* () {
        const { close, frames, socket, texts } = yield* watched(H2.settings())
        const streams = Array.from({ length: 5 }, (_, i) => 2 * i + 1)
        socket.write(Buffer.concat(streams.map((stream) => watch(stream, "echo.v1.EchoService"))))
        yield* eventually(Effect.sync(() => expect(streams.map(texts)).toEqual(streams.map(() => [status(1)]))))
        yield* Effect.fork(close)
        yield* eventually(Effect.sync(() => expect(frames.some(({ type }) => type === H2.type.goaway)).toBe(true)))
        const before = frames.slice(
          0,
          frames.findIndex(({ type }) => type === H2.type.goaway)
        )
        const told = before.filter(
          ({ payload, type }) => type === H2.type.data && payload.toString("hex") === status(2)
        )
        expect(told.map(({ stream }) => stream).sort((a, b) => a - b)).toEqual(streams)
        socket.destroy()
      })
    )
  )

  it.live("is not held up by watchers that read nothing", () =>
    leavesNothing(
      Effect.gen(function* () {
        // Their window is empty, so that not even the first status leaves.
        const { close, frames, socket } = yield* watched(H2.settings([4, 0]))
        socket.write(watch(1, ""))
        yield* eventually(
          Effect.sync(() =>
            expect(frames.some(({ type, stream }) => type === H2.type.headers && stream === 1)).toBe(true)
          )
        )
        yield* Effect.fork(close)
        yield* eventually(
          Effect.sync(() => expect(frames.some(({ type }) => type === H2.type.goaway)).toBe(true)),
          "8 seconds"
        )
        socket.destroy()
      })
    )
  )
})
