import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Exit from "effect/Exit"
import { constFalse, constVoid } from "effect/Function"
import * as Stream from "effect/Stream"
import * as Codec from "../../Calls/Codec.js"
import type { Deadline } from "../../Calls/Deadlines.js"
import * as MetadataLimit from "../../Calls/MetadataLimit.js"
import * as Outbox from "../../Calls/Outbox.js"
import * as Turnstile from "../../Calls/StreamQuota.js"
import * as Waiting from "../../Calls/Waiting.js"
import * as Entries from "../../protocol/Entries.js"
import * as IdTable from "../../protocol/IdTable.js"
import * as Wire from "../../protocol/wire/Wire.js"
import type { Goaway, Reply, Trailers } from "../../protocol/wire/WireFrames.js"
import type { Dropped } from "../../protocol/wire/WireState.js"
import type { Connection, OutgoingCall } from "../../Transport/Connection.js"
import * as ErrorDetails from "../../Transport/ErrorDetails.js"
import * as Metadata from "../../Transport/Metadata.js"
import type * as Method from "../../Transport/Method.js"
import {
  type CallError,
  Cancelled,
  DeadlineExceeded,
  fromCode,
  type Internal,
  InvalidArgument,
  type ResourceExhausted,
  type StatusError,
  Unavailable,
  Unimplemented
} from "../../Transport/TransportError.js"
import type { Link } from "./tlsLink.js"
import * as TlsStream from "./tlsStream.js"

type End = Exit.Exit<void, StatusError>

interface Where {
  readonly method: string
  readonly peer: string
}

/** What hears of one call's answer. */
interface Listener {
  readonly onMessage: (message: Uint8Array, cost: number, costOnConnection: number) => void
  readonly onEnd: (end: End) => void
}

interface Call extends Listener {
  readonly where: Where
  readonly call: OutgoingCall
  readonly deadline: Deadline
  hasHeaders: boolean
}

/** The calls that this end opened on one connection. */
export interface Outgoing {
  readonly connection: Connection
  readonly onHeaders: (id: number, headers: Entries.Entries) => void
  readonly onMessage: (id: number, message: Uint8Array, cost: number, costOnConnection: number) => void
  readonly onReply: (id: number, reply: Reply) => void
  readonly onTrailers: (id: number, trailers: Trailers) => void
  readonly onDropped: (id: number, reason: Dropped) => void
  readonly onGoaway: (goaway: Goaway) => void
  /** Ends all calls when the connection has ended. */
  readonly fail: (why: string) => void
  /** Cancels all calls. */
  readonly cancelAll: () => void
  readonly size: () => number
}

export const make = (link: Link): Outgoing => {
  const { deadlines, settings, wire } = link
  const calls = IdTable.make<Call>()
  const turnstile = Turnstile.make(wire.canOpen, link.isClosed, deadlines, (cause) =>
    link.boundary.caught("engine", link.name, cause)
  )

  const outbox: Outbox.Outbox = {
    isFull: constFalse,
    waiting: Waiting.make(constFalse),
    flush: link.flush,
    onThrown: link.onThrown
  }

  const end = (id: number, exit: End) => {
    const call = calls.remove(id)
    if (call !== undefined) {
      deadlines.remove(call.deadline)
      call.onEnd(exit)
      turnstile.turn()
    }
  }

  /** Ends a call that the other end has not ended. */
  const breakOff = (id: number, exit: End) => {
    if (calls.get(id) !== undefined) {
      wire.cancel(id)
      link.flush()
      end(id, exit)
    }
  }

  const headersOf = (call: Call, headers: Entries.Entries) => {
    link.progress.answered()
    if (!call.hasHeaders) {
      call.hasHeaders = true
      call.call.onHeaders?.(Metadata.unsafeFromEntries(headers))
    }
  }

  const open = (
    where: Where,
    call: OutgoingCall,
    timeout: number,
    message: Uint8Array | undefined,
    isLast: boolean,
    listener: Listener
  ): number => {
    const id = wire.open({ path: where.method, timeout, metadata: call.metadata.entries }, message, isLast)
    const onDeadline = () => {
      link.progress.timedOut(timeout)
      link.probe(timeout)
      breakOff(id, Exit.fail(new DeadlineExceeded({ message: "the deadline passed", ...where })))
    }
    calls.add(id, {
      where,
      call,
      deadline: deadlines.add(timeout, onDeadline),
      hasHeaders: false,
      onMessage: listener.onMessage,
      onEnd: listener.onEnd
    })
    link.flush()
    return id
  }

  const checkOpen = (
    metadata: Metadata.Metadata,
    where: Where
  ): Either.Either<void, InvalidArgument | ResourceExhausted> =>
    where.method.length > Wire.maxPath
      ? Either.left(new InvalidArgument({ message: `a method's path has at most ${Wire.maxPath} bytes`, ...where }))
      : MetadataLimit.check(
          metadata,
          Math.min(settings.maxMetadataSize, wire.peerSettings()?.maxMetadataSize ?? 0),
          where
        )

  const encode = <II>(method: Method.Method<unknown, unknown, Method.Shape, II>, request: II, where: Where) =>
    Codec.encode(
      method.input,
      request,
      Math.min(settings.maxSendMessageSize, wire.peerSettings()?.maxMessageSize ?? 0),
      where,
      link.boundary
    )

  const unary = <I, O, II, OO>(
    method: Method.Method<I, O, Method.Shape, II, OO>,
    request: II,
    call: OutgoingCall
  ): Effect.Effect<O, CallError> => {
    const where = { method: method.path, peer: link.name }
    // `Effect.async` with a canceller, and `Effect.onInterrupt`, cost more than twice of this.
    return Effect.uninterruptibleMask((restore) => {
      if (link.isClosed()) {
        return Effect.fail(Turnstile.closedBefore(where))
      }
      const bytes = Either.flatMap(checkOpen(call.metadata, where), () => encode(method, request, where))
      if (Either.isLeft(bytes)) {
        return Effect.fail(bytes.left)
      }
      const isSmall = bytes.right.length <= Wire.maxPiece
      let id = 0
      let leave = constVoid
      const answer = Effect.async<O, CallError>((resume) => {
        let reply: Uint8Array | undefined
        const start = (timeout: number) => {
          id = open(where, call, timeout, isSmall ? bytes.right : undefined, isSmall, {
            onMessage: (message) => {
              if (reply !== undefined) {
                const text = `${method.path} answered with more than one message`
                return breakOff(id, Exit.fail(new Unimplemented({ message: text, ...where })))
              }
              reply = message
            },
            onEnd: (end) =>
              resume(
                Exit.isFailure(end)
                  ? Exit.failCause(end.cause)
                  : Codec.decodeReply(method.output, reply, settings, where, link.boundary)
              )
          })
          if (!isSmall) {
            wire.sendMessage(id, bytes.right, true, constVoid)
          }
        }
        leave = turnstile.enter(where, call.timeout, start, (error) => resume(Effect.fail(error)))
      })
      return Effect.catchAllCause(restore(answer), (cause) => {
        leave()
        breakOff(id, Exit.void)
        return Effect.failCause(cause)
      })
    })
  }

  const stream = <I, O, II, OO, E>(
    method: Method.Method<I, O, Method.Shape, II, OO>,
    requests: Stream.Stream<II, E>,
    call: OutgoingCall
  ): Stream.Stream<O, CallError | E> =>
    Stream.unwrapScoped(
      Effect.gen(function* () {
        const where = { method: method.path, peer: link.name }
        yield* checkOpen(call.metadata, where)
        if (link.isClosed()) {
          return yield* Turnstile.closedBefore(where)
        }
        const inbox = TlsStream.makeInbox<O, CallError | E>(
          link,
          () => id,
          (message) => Codec.decode(method.output, message, settings, where, link.boundary)
        )
        const listener = {
          onMessage: (message: Uint8Array, cost: number, costOnConnection: number) =>
            inbox.push([message, cost, costOnConnection]),
          onEnd: inbox.end
        }
        let id = 0
        let leave = constVoid
        yield* Effect.addFinalizer(() =>
          Effect.sync(() => {
            leave()
            breakOff(id, Exit.void)
          })
        )
        yield* Effect.async<void, Unavailable | DeadlineExceeded | Internal>((resume) => {
          const start = (timeout: number) => {
            id = open(where, call, timeout, undefined, false, listener)
            resume(Effect.void)
          }
          leave = turnstile.enter(where, call.timeout, start, (error) => resume(Effect.fail(error)))
        })
        const send = (request: II) => encode(method, request, where)
        yield* Outbox.sendAll(outbox, requests, send, (bytes, sent) => wire.sendMessage(id, bytes, false, sent)).pipe(
          Effect.matchCauseEffect({
            onFailure: (cause) =>
              Effect.sync(() => {
                inbox.end(Exit.failCause(cause))
                breakOff(id, Exit.void)
              }),
            onSuccess: () =>
              Effect.sync(() => {
                wire.halfClose(id)
                link.flush()
              })
          }),
          Effect.forkScoped
        )
        return inbox.stream
      })
    )

  return {
    connection: { unary, stream },
    onHeaders: (id, headers) => {
      const call = calls.get(id)
      if (call !== undefined) {
        headersOf(call, headers)
      }
    },
    onMessage: (id, message, cost, costOnConnection) => {
      const call = calls.get(id)
      if (call !== undefined) {
        headersOf(call, Entries.none)
        call.onMessage(message, cost, costOnConnection)
      }
    },
    onReply: (id, { headers, message, trailers }) => {
      const call = calls.get(id)
      if (call !== undefined) {
        headersOf(call, headers)
        call.onMessage(message, 0, 0)
        call.call.onTrailers?.(Metadata.unsafeFromEntries(trailers))
        end(id, Exit.void)
      }
    },
    onTrailers: (id, { code, details, message, metadata: entries }) => {
      const call = calls.get(id)
      if (call !== undefined) {
        const metadata = Metadata.unsafeFromEntries(entries)
        link.progress.answered()
        call.call.onTrailers?.(metadata)
        end(
          id,
          code === 0
            ? Exit.void
            : Exit.fail(
                fromCode(code, {
                  message,
                  metadata,
                  details: details.length === 0 ? [] : ErrorDetails.decodeStatus(details),
                  ...call.where
                })
              )
        )
      }
    },
    onDropped: (id, reason) => {
      const call = calls.get(id)
      if (call !== undefined) {
        breakOff(id, Exit.fail(TlsStream.droppedError(reason, settings, call.where)))
      }
    },
    onGoaway: ({ lastCall, reason }) => {
      for (const [id, { hasHeaders, where }] of calls.entries()) {
        if (((id - lastCall) | 0) > 0) {
          // A peer that has answered a call has seen it, whatever it says.
          const processed = hasHeaders ? "unknown" : "no"
          end(id, Exit.fail(new Unavailable({ message: `the peer goes away: ${reason}`, processed, ...where })))
        }
      }
    },
    fail: (why) => {
      for (const [id, { where }] of calls.entries()) {
        end(id, Exit.fail(new Unavailable({ message: why, ...where })))
      }
      turnstile.turn()
    },
    cancelAll: () => {
      for (const [id, { where }] of calls.entries()) {
        breakOff(id, Exit.fail(new Cancelled({ message: "the client was closed", ...where })))
      }
    },
    size: calls.size
  }
}
