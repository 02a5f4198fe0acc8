/** Transports of this library that take many connections and calls, and whose handlers wait if they are asked to. */
import * as Effect from "effect/Effect"
import * as Stream from "effect/Stream"
import * as Transport from "effect-transport/Transport"
import { EchoService } from "../../examples/gen/echo/v1/echo_pb.js"
import type { Consumer } from "../contestant.js"

/** Requests of this size are never answered. */
export const unanswered = 128

export const options = {
  serverName: "localhost",
  maxConcurrentStreams: 100_000,
  maxConnections: 100_000,
  // All come from one address, as fast as they can.
  maxHandshakeRate: 100_000,
  maxTotalHandshakeRate: 100_000,
  defaultTimeout: "1 hour",
  maxCallDuration: "1 hour"
} as const

export const handlers = (consumer: Consumer) =>
  Transport.handlers(EchoService, {
    echo: ({ payload }) => {
      if (payload.length < unanswered - 2) {
        return Effect.succeed({ payload })
      }
      consumer(payload)
      return Effect.never
    },
    echoServerStream: () => Stream.never,
    echoClientStream: () => Effect.never,
    echoBidi: () => Stream.never
  })
