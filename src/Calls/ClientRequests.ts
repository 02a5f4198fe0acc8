/** The calls of a connection as their callers see them: a unary call as an Effect, any other as a Stream. */
import type * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Exit from "effect/Exit"
import { constFalse, constVoid } from "effect/Function"
import * as Stream from "effect/Stream"
import type { Connection, OutgoingCall } from "../Transport/Connection.js"
import type { Boundary } from "../Transport/internal/boundary.js"
import type { Where } from "../Transport/internal/where.js"
import type * as Metadata from "../Transport/Metadata.js"
import type * as Method from "../Transport/Method.js"
import type { CallError, InvalidArgument, ResourceExhausted } from "../Transport/TransportError.js"
import * as CallErrors from "./CallErrors.js"
import type { ClientCall, ClientWire, Received } from "./CallStream.js"
import type { ClientLifecycle } from "./ClientLifecycle.js"
import * as Codec from "./Codec.js"
import * as Inbox from "./Inbox.js"
import * as MetadataLimit from "./MetadataLimit.js"
import * as Outbox from "./Outbox.js"
import * as Waiting from "./Waiting.js"

export interface Options<S> {
  readonly wire: ClientWire<S>
  readonly lifecycle: ClientLifecycle<S>
  readonly peer: string
  readonly settings: {
    readonly maxReceiveMessageSize: number
    readonly maxMessageElements: number
  }
  readonly boundary: Boundary
}

/** Where nobody waits: requests have no limit beside the flow control of the wire. */
const waiting = Waiting.make(constFalse)

const makeCall = <S>(
  where: Where,
  options: OutgoingCall,
  request: Uint8Array | undefined,
  push: ClientCall<S>["push"]
): ClientCall<S> => ({
  where,
  options,
  isUnary: push === undefined,
  stream: undefined,
  isOver: false,
  headersReceived: false,
  headersFit: true,
  deadline: undefined,
  leave: constVoid,
  request,
  reply: undefined,
  cost: 0,
  costOnConnection: 0,
  push,
  onEnd: constVoid
})

export const make = <S>({ boundary, lifecycle, peer, settings, wire }: Options<S>): Connection => {
  const { abandon, cancel, open } = lifecycle

  /** Why a call can't be made. */
  const check = (
    metadata: Metadata.Metadata,
    where: Where
  ): Either.Either<void, InvalidArgument | ResourceExhausted> =>
    where.method.length > wire.maxPathLength
      ? Either.left(CallErrors.pathTooLong(wire.maxPathLength, where))
      : MetadataLimit.check(metadata, wire.maxMetadataSize(), where)

  const encode = <II>(method: Method.Method<unknown, unknown, Method.Shape, II>, request: II, where: Where) =>
    Codec.encode(method.input, request, wire.maxMessageSize(), where, boundary)

  /** What follows where a unary call fails, or its caller is interrupted. Sees nothing but the record, which is empty then. */
  const giveUp = (call: ClientCall<S>) => (cause: Cause.Cause<CallError>) => {
    abandon(call)
    return Effect.failCause(cause)
  }

  const unary = <I, O, II, OO>(
    method: Method.Method<I, O, Method.Shape, II, OO>,
    request: II,
    options: OutgoingCall
  ): Effect.Effect<O, CallError> =>
    // `Effect.async` with a canceller, and `Effect.onInterrupt`, cost more than twice of this.
    Effect.uninterruptibleMask((restore) => {
      const where = { method: method.path, peer }
      if (wire.isClosed()) {
        return Effect.fail(CallErrors.closedBefore(where))
      }
      const checked = check(options.metadata, where)
      if (Either.isLeft(checked)) {
        return Effect.fail(checked.left)
      }
      const bytes = encode(method, request, where)
      if (Either.isLeft(bytes)) {
        return Effect.fail(bytes.left)
      }
      const call: ClientCall<S> = makeCall(where, options, bytes.right, undefined)
      const answer = Effect.async<O, CallError>((resume) => {
        call.onEnd = (error, reply) =>
          resume(
            error === undefined
              ? Codec.decodeReply(method.output, reply, settings, where, boundary)
              : Effect.fail(error)
          )
        open(call, constVoid)
      })
      return Effect.catchAllCause(restore(answer), giveUp(call))
    })

  const stream = <I, O, II, OO, E>(
    method: Method.Method<I, O, Method.Shape, II, OO>,
    requests: Stream.Stream<II, E>,
    options: OutgoingCall
  ): Stream.Stream<O, CallError | E> =>
    Stream.unwrapScoped(
      Effect.gen(function* () {
        const where = { method: method.path, peer }
        if (wire.isClosed()) {
          return yield* CallErrors.closedBefore(where)
        }
        yield* check(options.metadata, where)
        const inbox = Inbox.make<Received, O, CallError | E>({
          decode: ({ bytes }) => Codec.decode(method.output, bytes, settings, where, boundary),
          schedule: wire.schedule,
          onWaiting: () => {
            if (call.stream !== undefined) {
              wire.onWaiting?.(call.stream)
            }
          },
          onTaken: Inbox.releasing((cost, costOnConnection) => {
            if (call.stream !== undefined) {
              wire.release(call.stream, cost, costOnConnection)
              wire.flush()
            }
          })
        })
        const call: ClientCall<S> = makeCall(where, options, undefined, inbox.push)
        yield* Effect.addFinalizer(() =>
          Effect.sync(() => {
            abandon(call)
            inbox.discard()
          })
        )
        yield* Effect.async<void>((resume) => {
          const go = () => resume(Effect.void)
          call.onEnd = (error) => {
            inbox.end(error === undefined ? Exit.void : Exit.fail(error))
            go()
          }
          open(call, go)
          return Effect.sync(() => abandon(call))
        })
        if (!call.isOver) {
          yield* Effect.forkScoped(sendRequests(call, method, requests, inbox))
        }
        return inbox.stream
      })
    )

  const sendRequests = <II, E>(
    call: ClientCall<S>,
    method: Method.Method<unknown, unknown, Method.Shape, II>,
    requests: Stream.Stream<II, E>,
    inbox: Pick<Inbox.Inbox<never, unknown, CallError | E>, "end">
  ): Effect.Effect<void> =>
    Outbox.sendAll(
      {
        isFull: constFalse,
        waiting,
        flush: wire.flush,
        onThrown: (cause) => {
          wire.onThrown(cause)
          cancel(call, CallErrors.notSent(cause, call.where))
        }
      },
      requests,
      (request) => encode(method, request, call.where),
      (message, sent) => {
        if (!call.isOver && call.stream !== undefined) {
          wire.message(call.stream, message, sent)
        }
      }
    ).pipe(
      Effect.matchCauseEffect({
        onFailure: (cause) =>
          Effect.sync(() => {
            inbox.end(Exit.failCause(cause))
            abandon(call)
          }),
        onSuccess: () =>
          Effect.sync(() => {
            if (!call.isOver && call.stream !== undefined) {
              wire.halfClose(call.stream)
              wire.flush()
            }
          })
      })
    )

  return { unary, stream }
}
