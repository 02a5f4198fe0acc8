/** The echo service that `serve` offers, as `echo.proto` says. */
import * as Effect from "effect/Effect"
import * as Stream from "effect/Stream"
import { ResourceExhausted, Transport } from "effect-transport"
import { type EchoRequest, EchoService } from "../../gen/echo/v1/echo_pb.js"

/** What one answer may carry, and a stream of requests add up to: as much as a message by default. */
const maxBytes = 4 * 1024 * 1024 - 1024

const tooMuch = (what: string) => new ResourceExhausted({ message: `${what} is more than ${maxBytes} bytes` })

const answer = (request: EchoRequest, index: number) =>
  request.payloadSize > maxBytes
    ? Effect.fail(tooMuch("payload_size"))
    : Effect.succeed({
        message: request.message,
        payload: request.payloadSize > 0 ? new Uint8Array(request.payloadSize) : request.payload,
        index
      }).pipe(request.delayMillis > 0 ? Effect.delay(request.delayMillis) : (effect) => effect)

const answers = (request: EchoRequest) =>
  Stream.mapEffect(Stream.range(0, Math.max(request.repeat, 1) - 1), (index) => answer(request, index))

/** Joins a stream of requests, up to the limit. */
const join = <E>(requests: Stream.Stream<EchoRequest, E>) =>
  Effect.gen(function* () {
    const messages: Array<string> = []
    const payloads: Array<Uint8Array> = []
    let bytes = 0
    yield* Stream.runForEach(requests, ({ message, payload }) => {
      // What an object costs counts too: requests may be empty, and many.
      bytes += message.length + payload.length + 64
      messages.push(message)
      payloads.push(payload)
      return bytes > maxBytes ? Effect.fail(tooMuch("all of it")) : Effect.void
    })
    return { message: messages.join(""), payload: Buffer.concat(payloads), index: messages.length }
  })

export const echo = Transport.handlers(EchoService, {
  echo: (request) => answer(request, 0),
  echoServerStream: answers,
  echoClientStream: (requests) => join(requests),
  echoBidi: (requests) => Stream.flatMap(requests, answers)
})
