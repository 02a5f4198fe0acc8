/** The calls of a connection as their callers see them: a unary call as an Effect, any other as a Stream. */
import type * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Exit from "effect/Exit"
import { constFalse, constVoid } from "effect/Function"
import * as Stream from "effect/Stream"
import type { Connection, OutgoingCall } from "../Transport/Connection.js"
import type { Boundary } from "../Transport/internal/boundary.js"
import * as CallMetrics from "../Transport/internal/callMetrics.js"
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
  /** Undefined where metrics are off. */
  readonly methods: CallMetrics.Methods | undefined
  /** The clock of the deadlines. */
  readonly now: () => number
  readonly peer: string
  readonly settings: {
    readonly maxReceiveMessageSize: number
    readonly maxMessageElements: number
  }
  readonly boundary: Boundary
}

/** Where nobody waits: requests have no limit beside the flow control of the wire. */
const waiting = Waiting.make(constFalse)

const goesElsewhere = (options: OutgoingCall, error: CallError | undefined): boolean =>
  error !== undefined && options.goesElsewhere?.(error) === true

const makeCall = <S>(
  where: Where,
  metrics: CallMetrics.Method | undefined,
  began: number,
  options: OutgoingCall,
  request: Uint8Array | undefined,
  push: ClientCall<S>["push"]
): ClientCall<S> => ({
  where,
  metrics,
  began,
  status: undefined,
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

export const make = <S>({ boundary, lifecycle, methods, now, peer, settings, wire }: Options<S>): Connection => {
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

  const measure = ({ began, metrics }: ClientCall<S>, code: number) =>
    CallMetrics.endedInFlight(metrics, code, now() - began)

  /** The end of a call that has not begun. */
  const refuse = <E extends CallError>(
    metrics: CallMetrics.Method | undefined,
    options: OutgoingCall,
    error: E
  ): Effect.Effect<never, E> => {
    if (!goesElsewhere(options, error)) {
      CallMetrics.ended(metrics, CallMetrics.codeOf(error), 0)
    }
    return Effect.fail(error)
  }

  /** What follows where a unary call fails, or its caller is interrupted. Sees nothing but the record, which is empty then. */
  const giveUp = (call: ClientCall<S>) => (cause: Cause.Cause<CallError>) => {
    if (!call.isOver) {
      abandon(call)
      measure(call, CallMetrics.cancelled)
    }
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
      const metrics = methods?.(method.path)
      if (wire.isClosed()) {
        return refuse(metrics, options, CallErrors.closedBefore(where))
      }
      const checked = check(options.metadata, where)
      if (Either.isLeft(checked)) {
        return refuse(metrics, options, checked.left)
      }
      const bytes = encode(method, request, where)
      if (Either.isLeft(bytes)) {
        return refuse(metrics, options, bytes.left)
      }
      const call: ClientCall<S> = makeCall(where, metrics, now(), options, bytes.right, undefined)
      CallMetrics.began(metrics)
      const answer = Effect.async<O, CallError>((resume) => {
        call.onEnd = (error, reply) => {
          const exit =
            error === undefined ? Codec.decodeReply(method.output, reply, settings, where, boundary) : Exit.fail(error)
          if (goesElsewhere(options, error)) {
            CallMetrics.endedElsewhere(metrics)
          } else {
            measure(call, Exit.isSuccess(exit) ? 0 : CallMetrics.codeOfCause(exit.cause))
          }
          resume(exit)
        }
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
        const metrics = methods?.(method.path)
        if (wire.isClosed()) {
          return yield* refuse(metrics, options, CallErrors.closedBefore(where))
        }
        const checked = check(options.metadata, where)
        if (Either.isLeft(checked)) {
          return yield* refuse(metrics, options, checked.left)
        }
        const inbox = Inbox.make<Received, O, CallError | E>({
          decode: ({ bytes }) => {
            const decoded = Codec.decode(method.output, bytes, settings, where, boundary)
            if (Either.isLeft(decoded)) {
              call.status = CallMetrics.codeOf(decoded.left)
            }
            return decoded
          },
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
        const call: ClientCall<S> = makeCall(where, metrics, now(), options, undefined, inbox.push)
        let isElsewhere = false
        yield* Effect.acquireRelease(
          Effect.sync(() => CallMetrics.began(metrics)),
          () =>
            Effect.sync(() => {
              abandon(call)
              inbox.discard()
              if (isElsewhere) {
                CallMetrics.endedElsewhere(metrics)
              } else {
                measure(call, call.status ?? CallMetrics.cancelled)
              }
            })
        )
        yield* Effect.async<void>((resume) => {
          const go = () => resume(Effect.void)
          call.onEnd = (error) => {
            isElsewhere = goesElsewhere(options, error)
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
          CallMetrics.sent(call.metrics, message.length)
          wire.message(call.stream, message, sent)
        }
      }
    ).pipe(
      Effect.matchCauseEffect({
        onFailure: (cause) =>
          Effect.sync(() => {
            inbox.end(Exit.failCause(cause))
            call.status ??= CallMetrics.codeOfCause(cause)
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
