import * as Chunk from "effect/Chunk"
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Stream from "effect/Stream"
import { InvalidArgument, Metadata, type Peer, Transport, Unavailable } from "effect-transport"
import { type EchoRequest, EchoService } from "../gen/echo/v1/echo_pb.js"

/** The trailer in which a node tells how long its handler took, in microseconds. */
export const handlerMicros = "handler-micros"

/** What a caller sends along to be failed: which attempt this is, and up to which one shall fail. */
export const attemptKey = "attempt"
export const failuresKey = "fail-attempts"

const maxPayload = 1024 * 1024

const number = (call: Transport.Call, key: string) =>
  Option.match(Metadata.get(call.metadata, key), { onNone: () => 0, onSome: Number })

const answer = (request: EchoRequest, index: number) => {
  const { delayMillis, message, payload, payloadSize } = request
  if (payloadSize > maxPayload) {
    return Effect.fail(new InvalidArgument({ message: `payload_size is at most ${maxPayload}` }))
  }
  const response = { message, payload: payloadSize > 0 ? new Uint8Array(payloadSize) : payload, index }
  return delayMillis > 0 ? Effect.delay(Effect.succeed(response), delayMillis) : Effect.succeed(response)
}

const answers = (request: EchoRequest) =>
  Stream.mapEffect(Stream.range(0, Math.max(request.repeat, 1) - 1), (index) => answer(request, index))

/** An echo that tells how long it took, and fails for those who ask for it. */
const timed = (request: EchoRequest, call: Transport.Call) =>
  Effect.gen(function* () {
    const start = yield* Clock.currentTimeNanos
    const [attempt, failures] = [number(call, attemptKey), number(call, failuresKey)]
    if (attempt <= failures && failures > 0) {
      return yield* new Unavailable({ message: `attempt ${attempt} of ${failures} that shall fail`, processed: "no" })
    }
    const response = yield* answer(request, 0)
    const micros = ((yield* Clock.currentTimeNanos) - start) / 1000n
    yield* call.setTrailers({ [handlerMicros]: String(micros) })
    return response
  })

/** What `echo.proto` says. Each caller is shown to `onCaller` as it has proved itself. */
export const handlers = (onCaller: (caller: Option.Option<Peer.Identity>) => Effect.Effect<void>) =>
  Transport.handlers(EchoService, {
    echo: (request, call) => Effect.zipRight(onCaller(call.peer.identity), timed(request, call)),
    echoServerStream: answers,
    echoClientStream: (requests) =>
      Effect.map(Stream.runCollect(requests), (all) => ({
        message: Chunk.toReadonlyArray(all)
          .map((request) => request.message)
          .join(""),
        payload: Buffer.concat(Chunk.toReadonlyArray(all).map((request) => request.payload)),
        index: all.length
      })),
    echoBidi: (requests) => Stream.flatMap(requests, answers)
  })
