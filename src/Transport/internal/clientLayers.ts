/** What is done around the calls of a client, folded into one function for each shape when the client is made. */
import * as Context from "effect/Context"
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
import type { CallError } from "../TransportError.js"
import * as Ambient from "./ambient.js"
import * as CallDeadline from "./callDeadline.js"
import * as CallMetadata from "./callMetadata.js"
import * as Time from "./time.js"

/** How one method is called. */
export interface Caller {
  readonly unary: (request: unknown, call: OutgoingCall) => Effect.Effect<unknown, CallError>
  readonly stream: <E>(requests: Stream.Stream<unknown, E>, call: OutgoingCall) => Stream.Stream<unknown, CallError | E>
}

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
          onTrailers: call.onTrailers,
          key: call.key
        })
      : Effect.fail(CallDeadline.passed(call))
  })

/**
 * What was there when the client was made, but for what belongs to the call that was handled then. What is there when a call
 * is made goes before it.
 */
const providing = (made: Context.Context<never>) => {
  const context = Context.omit(
    CurrentCall,
    Ambient.CurrentAmbient,
    Scope.Scope,
    Tracer.ParentSpan
  )(made as Context.Context<unknown>)
  // Most calls of a client are made with the same context.
  const merged = new WeakMap<Context.Context<never>, Context.Context<unknown>>()
  return (now: Context.Context<never>): Context.Context<unknown> => {
    const before = merged.get(now)
    if (before !== undefined) {
      return before
    }
    const both = Context.merge(context, now)
    merged.set(now, both)
    return both
  }
}

interface Surroundings {
  readonly peer: string
  /** What the middleware require. */
  readonly context: Context.Context<never>
}

/** A method as it is called through a list of middleware, the first outermost. */
export const around = (
  caller: Caller,
  { idempotency = "unknown", path, shape }: Method.Any,
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
        idempotency,
        peer,
        metadata: call.metadata,
        deadline: Time.now(Fiber.clockOf(fiber)) + call.timeout,
        waitForReady: call.waitForReady,
        compression: call.compression,
        onHeaders: call.onHeaders,
        onTrailers: call.onTrailers,
        key: call.key
      })
    )
  const needs = middleware.map((each) => each.needs)
  const endsByItself = !needs.includes("deadline")
  const own: Caller = {
    unary: (request, call) =>
      Effect.flatMap(begin(call), (head) => {
        const answer = unary({ ...head, request })
        return endsByItself ? answer : CallDeadline.until(answer, head)
      }),
    stream: (requests, call) =>
      Stream.unwrap(
        Effect.map(begin(call), (head) => {
          const answers = stream({ ...head, requests })
          return endsByItself ? answers : CallDeadline.untilOf(answers, head)
        })
      )
  }
  if (needs.every((each) => each === "nothing")) {
    return own
  }
  const provide = providing(context)
  return {
    unary: (request, call) => Effect.mapInputContext(own.unary(request, call), provide),
    stream: (requests, call) => Stream.mapInputContext(own.stream(requests, call), provide)
  }
}
