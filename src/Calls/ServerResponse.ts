/** What the serving side sends for a call: its headers once, its messages, and one status with which the call is over. */
import * as Cause from "effect/Cause"
import type * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Exit from "effect/Exit"
import * as Option from "effect/Option"
import type * as Stream from "effect/Stream"
import * as Fiber from "../effect/Fiber.js"
import type { Boundary } from "../Transport/internal/boundary.js"
import * as CallMetrics from "../Transport/internal/callMetrics.js"
import * as Metadata from "../Transport/Metadata.js"
import type { StatusError } from "../Transport/TransportError.js"
import * as Admitted from "./Admitted.js"
import * as CallErrors from "./CallErrors.js"
import type { ServerStream, ServerWire } from "./CallStream.js"
import * as Codec from "./Codec.js"
import type { Deadlines } from "./Deadlines.js"
import * as MetadataLimit from "./MetadataLimit.js"
import * as Outbox from "./Outbox.js"
import * as Waiting from "./Waiting.js"

/** One for each connection. Those that end a call do nothing once it is over, and interrupt its handler where it still runs. */
export interface ServerResponse<S> {
  /** Sends the status of a call that was not accepted. */
  readonly reject: (stream: S, error: StatusError) => undefined
  /** The same where the call itself is not at fault. */
  readonly turnAway: (stream: S, error: StatusError) => undefined
  /** Ends a call before its handler has ended. */
  readonly fail: (call: ServerStream<S>, error: StatusError) => void
  /** Ends a call whose caller wants nothing more of it. */
  readonly abandon: (call: ServerStream<S>) => void
  /** Answers a unary call with how its handler ended, as soon as there is room. */
  readonly onUnaryExit: (call: ServerStream<S>, exit: Exit.Exit<unknown, StatusError>) => void
  /** Sends the messages of a handler, one after the other. */
  readonly sendAll: (
    call: ServerStream<S>,
    messages: Stream.Stream<unknown, StatusError>
  ) => Effect.Effect<void, StatusError>
  /** Sends the status of a call, behind the messages that its handler had sent. */
  readonly onStreamExit: (call: ServerStream<S>, exit: Exit.Exit<void, StatusError>) => void
  /** There may be room for what waits because too much was unsent. */
  readonly onRoom: () => void
}

export const make = <S>(
  wire: ServerWire<S>,
  deadlines: Deadlines,
  boundary: Boundary,
  /** The clock of `IncomingCall.began`. */
  now: () => number
): ServerResponse<S> => {
  const waiting = Waiting.make(wire.isFull)
  const outbox: Outbox.Outbox = { isFull: wire.isFull, waiting, flush: wire.flush, onThrown: wire.onThrown }

  /** The last that is done for a call, when its status is sent or nobody wants it any more. */
  const settle = (call: ServerStream<S>, code: number) => {
    if (!call.isOver) {
      CallMetrics.ended(call.metrics, code, now() - call.incoming.began)
      call.isOver = true
      deadlines.remove(call.deadline)
      waiting.remove(call.answer)
      deadlines.remove(call.wait)
      wire.ended(call.stream)
      if (call.handler === undefined) {
        Admitted.leave(call)
      }
    }
  }

  const trailersOf = (error: StatusError, trailers: Metadata.Metadata) =>
    MetadataLimit.ofError(trailers, error.metadata, wire.maxMetadataSize(error))

  const fitting = (metadata: Metadata.Metadata) =>
    MetadataLimit.fits(metadata, wire.maxMetadataSize()) ? metadata : Metadata.empty

  /** Whether all that the handler set can be sent. */
  const check = ({ incoming }: ServerStream<S>) =>
    MetadataLimit.checkResponse(incoming.response, wire.maxMetadataSize())

  const encode = ({ route, where }: ServerStream<S>, message: unknown) =>
    Codec.encode(route.method.output, message, wire.maxMessageSize(), where, boundary)

  const sendHeaders = ({ incoming: { response }, stream }: ServerStream<S>) => {
    if (!response.headersSent) {
      response.headersSent = true
      wire.headers(stream, fitting(response.headers))
    }
  }

  const finish = (call: ServerStream<S>, error: StatusError | undefined, trailers: Metadata.Metadata) => {
    wire.finish(call.stream, error, trailers)
    settle(call, error?.code ?? 0)
    wire.flush()
  }

  const finishError = (call: ServerStream<S>, error: StatusError) => {
    const { response } = call.incoming
    // Without headers the status goes alone.
    if (fitting(response.headers).entries.length > 0) {
      sendHeaders(call)
    }
    finish(call, error, trailersOf(error, response.trailers))
  }

  const finishCause = (call: ServerStream<S>, cause: Cause.Cause<StatusError>) =>
    finishError(
      call,
      Option.getOrElse(Cause.failureOption(cause), () =>
        call.inFlight.isDraining() ? CallErrors.shutDown() : CallErrors.interrupted()
      )
    )

  const finishOk = (call: ServerStream<S>) => {
    sendHeaders(call)
    // A fiber that the handler left behind may have set more since it was checked.
    finish(call, undefined, fitting(call.incoming.response.trailers))
  }

  const sendReply = (call: ServerStream<S>, message: unknown) => {
    const { response } = call.incoming
    const bytes = Either.flatMap(check(call), () => encode(call, message))
    if (Either.isLeft(bytes)) {
      return finishError(call, bytes.left)
    }
    if (wire.reply(call.stream, bytes.right, response.headers, response.trailers)) {
      response.headersSent = true
      CallMetrics.sent(call.metrics, bytes.right.length)
      call.pass?.sent(bytes.right.length)
      settle(call, 0)
    } else {
      sendHeaders(call)
      CallMetrics.sent(call.metrics, bytes.right.length)
      call.pass?.sent(bytes.right.length)
      // Its deadline stays until all of it is sent: the caller need not read it.
      wire.message(call.stream, bytes.right, () => {
        if (!call.isOver) {
          finishOk(call)
        }
      })
    }
    wire.flush()
  }

  const turnAway = (stream: S, error: StatusError): undefined => {
    wire.finish(stream, error, trailersOf(error, Metadata.empty))
    wire.flush()
  }

  return {
    reject: (stream, error) => {
      wire.useless()
      turnAway(stream, error)
    },
    turnAway,
    fail: (call, error) => {
      if (!call.isOver) {
        wire.abort(call.stream, error, trailersOf(error, Metadata.empty))
        settle(call, error.code)
        wire.flush()
        Fiber.interruptUnsafe(call.handler)
      }
    },
    abandon: (call) => {
      if (!call.isOver) {
        settle(call, CallMetrics.interruptedCode(now() - call.incoming.began, call.timeout))
        Fiber.interruptUnsafe(call.handler)
      }
    },
    onUnaryExit: (call, exit) => {
      if (Exit.isFailure(exit)) {
        return finishCause(call, exit.cause)
      }
      if (wire.isFull()) {
        call.answer = () => sendReply(call, exit.value)
        waiting.add(call.answer)
      } else {
        sendReply(call, exit.value)
      }
    },
    sendAll: (call, messages) =>
      Outbox.sendAll(
        outbox,
        messages,
        (message) =>
          call.incoming.response.headersSent
            ? encode(call, message)
            : Either.flatMap(check(call), () => encode(call, message)),
        (bytes, sent) => {
          if (!call.isOver) {
            sendHeaders(call)
            CallMetrics.sent(call.metrics, bytes.length)
            const delay = call.pass?.sent(bytes.length) ?? 0
            wire.message(call.stream, bytes, delay > 0 ? () => void deadlines.add(delay, sent) : sent)
          }
        }
      ),
    onStreamExit: (call, exit) => {
      if (Exit.isFailure(exit)) {
        return finishCause(call, exit.cause)
      }
      const checked = check(call)
      return Either.isLeft(checked) ? finishError(call, checked.left) : finishOk(call)
    },
    onRoom: waiting.onRoom
  }
}
