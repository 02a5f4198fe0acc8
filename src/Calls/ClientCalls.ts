/** The calls that this end opens on one connection: what a call is on its calling side, whatever wire carries it. */
import type * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Exit from "effect/Exit"
import { constFalse, constVoid } from "effect/Function"
import * as Stream from "effect/Stream"
import type { Connection, OutgoingCall } from "../Transport/Connection.js"
import type { Boundary } from "../Transport/internal/boundary.js"
import type { Where } from "../Transport/internal/where.js"
import * as Metadata from "../Transport/Metadata.js"
import type * as Method from "../Transport/Method.js"
import type { CallError, InvalidArgument, ResourceExhausted, StatusError } from "../Transport/TransportError.js"
import * as CallErrors from "./CallErrors.js"
import type { ClientCall, ClientWire, Received } from "./CallStream.js"
import * as Codec from "./Codec.js"
import type { Deadlines } from "./Deadlines.js"
import * as Inbox from "./Inbox.js"
import * as MetadataLimit from "./MetadataLimit.js"
import * as Outbox from "./Outbox.js"
import type { StreamQuota } from "./StreamQuota.js"
import * as Waiting from "./Waiting.js"

/** What a wire reports, each with the call that it opened the stream for. Nothing has an effect on a call that is over. */
export interface ClientCalls<S> {
  readonly connection: Connection
  /** The response headers have come. */
  readonly onHeaders: (call: ClientCall<S>, headers: Metadata.Metadata) => void
  /** A message has come; `release` is due for what it costs of the two windows. */
  readonly onMessage: (call: ClientCall<S>, message: Uint8Array, cost: number, costOnConnection: number) => void
  /** The peer has ended the call; `error` is the status, where that is not OK. */
  readonly onTrailers: (call: ClientCall<S>, trailers: Metadata.Metadata, error: StatusError | undefined) => void
  /** The stream has ended without a status. */
  readonly onReset: (call: ClientCall<S>, error: StatusError) => void
  /** The peer goes away and says that it has not taken the call. */
  readonly onUnprocessed: (call: ClientCall<S>, reason?: string) => void
  /** Ends a call that the peer has not ended, such as for a message that is too large. */
  readonly fail: (call: ClientCall<S>, error: StatusError) => void
  /** Ends a call whose deadline the wire has seen pass. */
  readonly timeOut: (call: ClientCall<S>) => void
  /** Ends a call because the client is closed. */
  readonly close: (call: ClientCall<S>) => void
  /** The metadata, if it is within the limit, and none otherwise: for the error of a status. */
  readonly withinLimit: (metadata: Metadata.Metadata) => Metadata.Metadata
}

export interface Options<S> {
  readonly wire: ClientWire<S>
  /** The target or address of the other end, for errors. */
  readonly peer: string
  readonly settings: {
    /** The largest metadata to take. */
    readonly maxMetadataSize: number
    readonly maxReceiveMessageSize: number
    readonly maxMessageElements: number
  }
  readonly quota: StreamQuota
  readonly deadlines: Deadlines
  readonly progress: {
    /** Something of an answer has come. */
    readonly answered: () => void
    /** A call has ended by its deadline, so many milliseconds after it began. */
    readonly timedOut: (timeout: number) => void
  }
  readonly boundary: Boundary
}

/** The options of a call that is over. */
const settled: OutgoingCall = {
  metadata: Metadata.empty,
  timeout: 0,
  waitForReady: false,
  onHeaders: undefined,
  onTrailers: undefined
}

export const make = <S>({ boundary, deadlines, peer, progress, quota, settings, wire }: Options<S>): ClientCalls<S> => {
  const { maxMetadataSize } = settings
  /** Where nobody waits: requests have no limit beside the flow control of the wire. */
  const waiting = Waiting.make(constFalse)

  const makeCall = (
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

  const release = (stream: S, cost: number, costOnConnection: number) => {
    wire.release(stream, cost, costOnConnection)
    wire.flush()
  }

  /** Ends a call, once. The record is emptied: what may live longer than the call, in V8's old heap, holds nothing of it. */
  const end = (call: ClientCall<S>, error: StatusError | undefined) => {
    const { cost, costOnConnection, onEnd, reply, stream } = call
    call.isOver = true
    deadlines.remove(call.deadline)
    call.deadline = undefined
    call.options = settled
    call.request = undefined
    call.reply = undefined
    call.onEnd = constVoid
    call.leave = constVoid
    if (call.isUnary) {
      call.stream = undefined
    }
    if (stream !== undefined) {
      wire.ended(stream)
      if (cost > 0) {
        release(stream, cost, costOnConnection)
      }
    }
    onEnd(error, reply)
    quota.advance()
  }

  /** Ends a call that the peer has not ended. */
  const cancel = (call: ClientCall<S>, error: StatusError | undefined) => {
    if (!call.isOver) {
      if (call.stream !== undefined) {
        wire.cancel(call.stream)
        wire.flush()
      }
      end(call, error)
    }
  }

  const timeOut = (call: ClientCall<S>, timeout: number) => {
    if (!call.isOver && call.stream !== undefined) {
      progress.timedOut(timeout)
      wire.onTimeout(call.stream, timeout)
      cancel(call, CallErrors.deadlinePassed(call.where))
    }
  }

  /** Nobody waits for a call any more. */
  const abandon = (call: ClientCall<S>) => {
    call.leave()
    call.onEnd = constVoid
    cancel(call, undefined)
  }

  const open = (call: ClientCall<S>, timeout: number) => {
    const stream = wire.open(call, timeout, call.request)
    call.stream = stream
    call.request = undefined
    call.leave = constVoid
    call.deadline = deadlines.add(timeout, () => timeOut(call, timeout))
    wire.flush()
  }

  /** Opens a call as soon as the peer takes it. */
  const acquire = (call: ClientCall<S>, onOpen: () => void) => {
    const { timeout } = call.options
    if (quota.isFree()) {
      // Most calls: no closures are made for them.
      try {
        open(call, timeout)
      } catch (cause) {
        boundary.caught("engine", peer, cause)
        return end(call, CallErrors.notSent(cause, call.where))
      }
      return onOpen()
    }
    const start = (left: number) => {
      open(call, left)
      onOpen()
    }
    const leave = quota.acquire(call.where, timeout, start, (error) => end(call, error))
    if (call.stream === undefined && !call.isOver) {
      call.leave = leave
    }
  }

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
      const call = makeCall(where, options, bytes.right, undefined)
      const answer = Effect.async<O, CallError>((resume) => {
        call.onEnd = (error, reply) =>
          resume(
            error === undefined
              ? Codec.decodeReply(method.output, reply, settings, where, boundary)
              : Effect.fail(error)
          )
        acquire(call, constVoid)
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
          onTaken: (taken) => {
            let cost = 0
            let costOnConnection = 0
            for (const each of taken) {
              cost += each.cost
              costOnConnection += each.costOnConnection
            }
            if (call.stream !== undefined) {
              release(call.stream, cost, costOnConnection)
            }
          }
        })
        const call = makeCall(where, options, undefined, inbox.push)
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
          acquire(call, go)
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

  const headers = (call: ClientCall<S>, headers: Metadata.Metadata) => {
    if (!call.headersReceived) {
      call.headersReceived = true
      call.headersFit = MetadataLimit.fits(headers, maxMetadataSize)
      call.options.onHeaders?.(call.headersFit ? headers : Metadata.empty)
    }
  }

  const tooLarge = ({ where }: ClientCall<S>) => MetadataLimit.tooLarge(maxMetadataSize, where)

  return {
    connection: { unary, stream },
    onHeaders: (call, metadata) => {
      if (!call.isOver) {
        progress.answered()
        headers(call, metadata)
      }
    },
    onMessage: (call, bytes, cost, costOnConnection) => {
      const { push, stream } = call
      if (call.isOver || stream === undefined) {
        return
      }
      progress.answered()
      headers(call, Metadata.empty)
      if (call.isOver) {
        return release(stream, cost, costOnConnection)
      }
      if (push !== undefined && call.headersFit) {
        return push({ bytes, cost, costOnConnection })
      }
      call.cost += cost
      call.costOnConnection += costOnConnection
      if (!call.headersFit) {
        cancel(call, tooLarge(call))
      } else if (call.reply !== undefined) {
        cancel(call, CallErrors.moreReplies(call.where))
      } else {
        call.reply = bytes
      }
    },
    onTrailers: (call, trailers, error) => {
      if (!call.isOver) {
        progress.answered()
        headers(call, Metadata.empty)
        const fits = MetadataLimit.fits(trailers, maxMetadataSize)
        call.options.onTrailers?.(fits ? trailers : Metadata.empty)
        if (!call.isOver) {
          end(call, error ?? (fits && call.headersFit ? undefined : tooLarge(call)))
        }
      }
    },
    onReset: (call, error) => {
      if (!call.isOver) {
        end(call, error)
      }
    },
    onUnprocessed: (call, reason) => {
      if (!call.isOver) {
        // A peer that has answered a call has seen it, whatever it says.
        end(call, CallErrors.goingAway(call.headersReceived ? "unknown" : "no", call.where, reason))
      }
    },
    fail: cancel,
    timeOut: (call) => timeOut(call, call.options.timeout),
    close: (call) => cancel(call, CallErrors.clientClosed(call.where)),
    withinLimit: (metadata) => (MetadataLimit.fits(metadata, maxMetadataSize) ? metadata : Metadata.empty)
  }
}
