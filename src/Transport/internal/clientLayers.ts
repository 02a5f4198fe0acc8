/** What is done around the calls of a client, folded into one function for each shape when the client is made. */
import * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import * as Tracer from "effect/Tracer"
import * as Fiber from "../../effect/Fiber.js"
import { CurrentCall } from "../Call.js"
import type { OutgoingCall } from "../Connection.js"
import type * as Method from "../Method.js"
import type { ClientCall, ClientList, StreamCall, UnaryCall } from "../Middleware/ClientMiddleware.js"
import { type CallError, DeadlineExceeded } from "../TransportError.js"
import * as CallMetadata from "./callMetadata.js"
import * as Time from "./time.js"
import type { Where } from "./where.js"

/** How one method is called. */
export interface Caller {
  readonly unary: (request: unknown, call: OutgoingCall) => Effect.Effect<unknown, CallError>
  readonly stream: <E>(requests: Stream.Stream<unknown, E>, call: OutgoingCall) => Stream.Stream<unknown, CallError | E>
}

const deadlinePassed = ({ method, peer }: Where) =>
  new DeadlineExceeded({ message: "the deadline passed", method, peer })

/** The call as the connection takes it, with the time that is left. */
const outgoing = (call: ClientCall): Effect.Effect<OutgoingCall, CallError> =>
  Effect.withFiberRuntime((fiber) => {
    const metadata = CallMetadata.check(call.metadata)
    if (Either.isLeft(metadata)) {
      return Effect.fail(CallMetadata.failure(metadata.left, call))
    }
    const timeout = call.deadline - Time.now(Fiber.clockOf(fiber))
    return timeout > 0
      ? Effect.succeed({
          metadata: metadata.right,
          timeout,
          waitForReady: call.waitForReady,
          compression: call.compression,
          onHeaders: call.onHeaders,
          onTrailers: call.onTrailers
        })
      : Effect.fail(deadlinePassed(call))
  })

/**
 * What was there when the client was made, but for what belongs to the call that was handled then. What is there when a call
 * is made goes before it.
 */
const providing = (made: Context.Context<never>) => {
  const context = Context.omit(CurrentCall, Scope.Scope, Tracer.ParentSpan)(made as Context.Context<unknown>)
  return (now: Context.Context<never>): Context.Context<unknown> => Context.merge(context, now)
}

interface Surroundings {
  readonly peer: string
  /** What the middleware require. */
  readonly context: Context.Context<never>
}

/** A method as it is called through a list of middleware, the first outermost. */
export const around = (
  caller: Caller,
  { path, shape }: Method.Any,
  middleware: ClientList,
  { context, peer }: Surroundings
): Caller => {
  const unary = middleware.reduceRight<(call: UnaryCall) => Effect.Effect<unknown, CallError>>(
    (next, each) => (call) =>
      // What it requires is provided below, for all of them at once.
      Effect.suspend(() => each.unary(call, next) as Effect.Effect<unknown, CallError>),
    (call) => Effect.flatMap(outgoing(call), (settled) => caller.unary(call.request, settled))
  )
  const stream = middleware.reduceRight<<E>(call: StreamCall<E>) => Stream.Stream<unknown, CallError | E>>(
    (next, each) =>
      <E>(call: StreamCall<E>) =>
        Stream.suspend(() => each.stream(call, next) as Stream.Stream<unknown, CallError | E>),
    (call) => Stream.unwrap(Effect.map(outgoing(call), (settled) => caller.stream(call.requests, settled)))
  )

  const begin = (call: OutgoingCall): Effect.Effect<ClientCall> =>
    Effect.withFiberRuntime((fiber) =>
      Effect.succeed({
        method: path,
        shape,
        peer,
        metadata: call.metadata,
        deadline: Time.now(Fiber.clockOf(fiber)) + call.timeout,
        waitForReady: call.waitForReady,
        compression: call.compression,
        onHeaders: call.onHeaders,
        onTrailers: call.onTrailers
      })
    )
  const own: Caller = {
    unary: (request, call) => Effect.flatMap(begin(call), (head) => unary({ ...head, request })),
    stream: (requests, call) => Stream.unwrap(Effect.map(begin(call), (head) => stream({ ...head, requests })))
  }
  return middleware.every(({ isSelfContained }) => isSelfContained)
    ? own
    : surrounded(own, { method: path, peer }, providing(context))
}

/** Calls through middleware that may require something, and may wait for ever. */
const surrounded = (
  caller: Caller,
  where: Where,
  provide: (now: Context.Context<never>) => Context.Context<unknown>
): Caller => ({
  unary: (request, call) => {
    const provided = Effect.mapInputContext(caller.unary(request, call), provide)
    return Number.isFinite(call.timeout)
      ? Effect.timeoutFail(provided, { duration: call.timeout, onTimeout: () => deadlinePassed(where) })
      : provided
  },
  stream: (requests, call) => {
    const provided = Stream.mapInputContext(caller.stream(requests, call), provide)
    const end = Effect.delay(
      Effect.suspend(() => deadlinePassed(where)),
      Duration.millis(call.timeout)
    )
    return Number.isFinite(call.timeout) ? Stream.interruptWhen(provided, end) : provided
  }
})
