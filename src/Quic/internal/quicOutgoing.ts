import type * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Exit from "effect/Exit"
import { constVoid } from "effect/Function"
import * as Stream from "effect/Stream"
import * as CallErrors from "../../Calls/CallErrors.js"
import * as Codec from "../../Calls/Codec.js"
import type { Deadline } from "../../Calls/Deadlines.js"
import * as MetadataLimit from "../../Calls/MetadataLimit.js"
import * as Addresses from "../../Connections/Addresses.js"
import * as GrpcEncoding from "../../protocol/grpc/GrpcEncoding.js"
import * as GrpcFields from "../../protocol/grpc/GrpcFields.js"
import * as GrpcMessage from "../../protocol/grpc/GrpcMessage.js"
import * as GrpcTimeout from "../../protocol/grpc/GrpcTimeout.js"
import { codes, nameOf } from "../../protocol/http3/Http3Error.js"
import * as Frames from "../../protocol/http3/Http3Frames.js"
import * as Http3Message from "../../protocol/http3/Http3Message.js"
import * as Http3Sections from "../../protocol/http3/Http3Sections.js"
import * as Qpack from "../../protocol/http3/Qpack.js"
import * as IdTable from "../../protocol/IdTable.js"
import * as Varint from "../../protocol/quic/Varint.js"
import type { Connection, OutgoingCall } from "../../Transport/Connection.js"
import * as Turns from "../../Transport/internal/eventLoop.js"
import * as StatusFields from "../../Transport/internal/statusFields.js"
import * as Metadata from "../../Transport/Metadata.js"
import type * as Method from "../../Transport/Method.js"
import {
  type CallError,
  Cancelled,
  DeadlineExceeded,
  Internal,
  ResourceExhausted,
  type StatusError,
  Unavailable,
  Unimplemented
} from "../../Transport/TransportError.js"
import type { RequestEvents } from "./http3Requests.js"
import { type Link, maxFieldSectionSize, maxSentMetadata } from "./quicLink.js"
import * as QuicMessages from "./quicMessages.js"
import * as QuicReceiving from "./quicReceiving.js"

type End = Exit.Exit<void, StatusError>

interface Where {
  readonly method: string
  readonly peer: string
}

/** A call that has begun. */
interface Call {
  readonly where: Where
  readonly options: OutgoingCall
  readonly messages: QuicReceiving.Inbound
  readonly onMessage: (message: Uint8Array) => void
  readonly onEnd: (end: End) => void
  /** Of its stream. */
  id: number
  deadline: Deadline | undefined
  isOver: boolean
  hasHeaders: boolean
  /** An error arrives even with headers that are too large; messages do not. */
  headersFit: boolean
  hasContent: boolean
  trailers: GrpcFields.Fields | undefined
}

/** A unary call that is under way. */
interface Pending {
  opened: Call | undefined
  /** Lets go of its turn. */
  leave: () => void
}

/** The calls that this end opened on one connection. */
export interface Outgoing {
  readonly connection: Connection
  /** The peer did not process the calls on streams from `id` on. */
  readonly onGoaway: (id: number) => void
  /** Cancels all calls. */
  readonly cancelAll: () => void
}

/** Whether the peer may have run a call that it says it has not: one that it has answered, it has seen. */
const processed = ({ hasContent, hasHeaders, trailers }: Call): "no" | "unknown" =>
  hasHeaders || hasContent || trailers !== undefined ? "unknown" : "no"

/** What the peer means by breaking a call off. Source: gRFC G2, "HTTP/3 to gRPC status". */
const ofReset = (code: number, call: Call): StatusError => {
  const { where } = call
  const name = nameOf(code)
  const message = `the peer broke the call off: ${name}`
  switch (name) {
    case "H3_REQUEST_REJECTED":
      return new Unavailable({ message, processed: processed(call), ...where })
    case "H3_REQUEST_CANCELLED":
      return new Cancelled({ message, ...where })
    case "H3_EXCESSIVE_LOAD":
      return new ResourceExhausted({ message, ...where })
    default:
      return new Internal({ message, ...where })
  }
}

/** The id of a call that has no stream yet. */
const unopened = -1

export const make = (link: Link): Outgoing => {
  const { deadlines, kept, sending, session, settings, quota, writer } = link
  const calls = IdTable.make<Call>()
  /** The fields with which the last call of each method began, as they are sent, and its timeout. */
  const prepared = new Map<string, { readonly timeout: string; readonly lines: Buffer }>()
  const preparedFor = (path: string, millis: number): Buffer => {
    const timeout = Number.isFinite(millis) ? GrpcTimeout.format(millis) : ""
    const last = prepared.get(path)
    if (last?.timeout === timeout) {
      return last.lines
    }
    const fields: Array<GrpcFields.Field> = [
      [":method", "POST"],
      [":scheme", "https"],
      [":authority", Addresses.authorityOf(link.name)],
      [":path", path],
      ["content-type", GrpcFields.contentType],
      ["te", "trailers"]
    ]
    if (timeout !== "") {
      fields.push(["grpc-timeout", timeout])
    }
    const lines = Qpack.encodeLines(fields)
    prepared.set(path, { timeout, lines })
    return lines
  }

  const end = (call: Call, exit: End) => {
    if (!call.isOver) {
      call.isOver = true
      deadlines.remove(call.deadline)
      calls.remove(call.id)
      receiving.forget(call)
      sending.forget(call.id)
      call.onEnd(exit)
    }
  }

  /** Ends a call that the peer has not ended. */
  const breakOff = (call: Call, exit: End) => {
    if (!call.isOver) {
      session.cancel(call.id, "H3_REQUEST_CANCELLED")
      end(call, exit)
    }
  }

  const fail = (call: Call, error: StatusError) => breakOff(call, Exit.fail(error))

  const messages: GrpcMessage.Events<Call> = {
    onMessage: (message, call) =>
      call.headersFit
        ? call.onMessage(message)
        : fail(call, MetadataLimit.tooLarge(settings.maxMetadataSize, call.where)),
    onBroken: (why, call) =>
      fail(
        call,
        why === "TooLarge"
          ? new ResourceExhausted({
              message: `the received message has more than the ${settings.maxReceiveMessageSize} bytes allowed`,
              ...call.where
            })
          : new Internal({ message: GrpcEncoding.compressedAnswer, ...call.where })
      )
  }

  const receiving = QuicReceiving.make(link, messages, (call, error) => fail(call, error))

  /** The error that a whole answer comes to. */
  const errorOf = (
    { hasContent, messages, trailers, where }: Call,
    metadata: Metadata.Metadata
  ): StatusError | undefined => {
    if (trailers === undefined && hasContent) {
      return new Internal({ message: "the answer ended without a status", ...where })
    }
    return (
      StatusFields.toError(trailers ?? [], metadata, where) ??
      (GrpcMessage.isMidMessage(messages.decoder)
        ? new Internal({ message: "the answer ended within a message", ...where })
        : undefined)
    )
  }

  const responses = Http3Message.responses<Call>(
    {
      onInformational: session.useless,
      onUseless: session.useless,
      onHead: ({ fields, status }, call) => {
        link.progress.answered()
        const unfit = StatusFields.checkHead(status, fields, call.where)
        if (unfit !== undefined) {
          return fail(call, unfit)
        }
        // An answer of one section: its fields are the trailers.
        if (GrpcFields.get(fields, "grpc-status") !== undefined) {
          call.trailers = fields
          return
        }
        const headers = Metadata.unsafeFromEntries(GrpcFields.ofResponse(fields))
        call.headersFit = MetadataLimit.fits(headers, settings.maxMetadataSize)
        call.hasHeaders = true
        call.options.onHeaders?.(call.headersFit ? headers : Metadata.empty)
      },
      onData: (chunk, call) => {
        if (!call.isOver) {
          link.progress.answered()
          call.hasContent = true
          receiving.receive(call, chunk)
        }
      },
      onTrailers: (fields, call) => {
        call.trailers = fields
      },
      onEnd: (call) => {
        if (call.isOver) {
          return
        }
        const { hasHeaders, options, trailers } = call
        const received = Metadata.unsafeFromEntries(GrpcFields.ofResponse(trailers ?? []))
        const fits = MetadataLimit.fits(received, settings.maxMetadataSize)
        const metadata = fits ? received : Metadata.empty
        const error =
          errorOf(call, metadata) ??
          (fits && call.headersFit ? undefined : MetadataLimit.tooLarge(settings.maxMetadataSize, call.where))
        if (!hasHeaders) {
          options.onHeaders?.(Metadata.empty)
        }
        options.onTrailers?.(metadata)
        // The peer is done, whether or not it has read all.
        if (error !== undefined || trailers === undefined) {
          session.cancel(call.id, "H3_NO_ERROR")
        }
        end(call, error === undefined ? Exit.void : Exit.fail(error))
      }
    },
    { maxFieldSectionSize: maxFieldSectionSize(settings), method: "POST", known: Http3Sections.make() }
  )

  const streamEvents: RequestEvents<Http3Message.Message<Call>> = {
    onBytes: Http3Message.receive,
    onReset: (code, { owner }) => {
      link.progress.answered()
      fail(owner, ofReset(code, owner))
    },
    onStopped: (code, { owner }) => {
      // The peer has answered, or will, without reading all of the request.
      if (code !== codes.H3_NO_ERROR) {
        fail(owner, ofReset(code, owner))
      }
    },
    onViolation: ({ code, text }, { owner }) =>
      fail(
        owner,
        code === "H3_EXCESSIVE_LOAD"
          ? MetadataLimit.tooLarge(settings.maxMetadataSize, owner.where)
          : new Internal({ message: `the answer breaks the rules of HTTP/3: ${text}`, ...owner.where })
      ),
    onLost: (why, { owner }) => end(owner, Exit.fail(new Unavailable({ message: why, ...owner.where })))
  }

  const open = (
    where: Where,
    options: OutgoingCall,
    timeout: number,
    messages: QuicReceiving.Inbound,
    onMessage: (message: Uint8Array) => void,
    onEnd: (end: End) => void
  ): Call => {
    const call: Call = {
      where,
      options,
      messages,
      onMessage,
      onEnd,
      id: unopened,
      deadline: undefined,
      isOver: false,
      hasHeaders: false,
      headersFit: true,
      hasContent: false,
      trailers: undefined
    }
    call.id = session.open(streamEvents, Http3Message.make(responses, call))
    call.deadline = deadlines.add(timeout, () => {
      link.progress.timedOut(timeout)
      session.quic.probe(timeout)
      fail(call, new DeadlineExceeded({ message: "the deadline passed", ...where }))
    })
    calls.add(call.id, call)
    Frames.writeHeaders(writer, GrpcFields.fromEntries(options.metadata.entries), preparedFor(where.method, timeout))
    return call
  }

  const checkMetadata = (metadata: Metadata.Metadata, where: Where) =>
    MetadataLimit.check(metadata, maxSentMetadata(link), where)

  const encode = <II>(method: Method.Method<unknown, unknown, Method.Shape, II>, request: II, where: Where) =>
    Codec.encode(method.input, request, settings.maxSendMessageSize, where, link.boundary)

  /**
   * What follows where a call fails, or its caller is interrupted. It sees no more of the call than this, and keeps nothing
   * of it: V8 may take such functions for long-lived from the start, and then holds all that can be reached from them until
   * it collects everything.
   */
  const giveUp = (pending: Pending) => (cause: Cause.Cause<CallError>) => {
    pending.leave()
    if (pending.opened !== undefined) {
      breakOff(pending.opened, Exit.void)
    }
    return Effect.failCause(cause)
  }

  const unary = <I, O, II, OO>(
    method: Method.Method<I, O, Method.Shape, II, OO>,
    request: II,
    call: OutgoingCall
  ): Effect.Effect<O, CallError> => {
    const where = { method: method.path, peer: link.name }
    // `Effect.async` with a canceller, and `Effect.onInterrupt`, cost more than twice of this.
    return Effect.uninterruptibleMask((restore) => {
      if (session.isClosed()) {
        return Effect.fail(CallErrors.closedBefore(where))
      }
      const bytes = Either.flatMap(checkMetadata(call.metadata, where), () => encode(method, request, where))
      if (Either.isLeft(bytes)) {
        return Effect.fail(bytes.left)
      }
      const pending: Pending = { opened: undefined, leave: constVoid }
      const answer = Effect.async<O, CallError>((resume) => {
        let reply: Uint8Array | undefined
        const messages = QuicReceiving.makeInbound(settings.maxReceiveMessageSize)
        const onMessage = (message: Uint8Array) => {
          if (reply === undefined) {
            reply = message
            QuicReceiving.hold(kept, messages, message.length)
            if (pending.opened !== undefined && QuicReceiving.isTooMuch(kept, messages, settings.connectionWindow)) {
              fail(pending.opened, CallErrors.unreadTooMuch(settings.connectionWindow, where))
            }
          } else if (pending.opened !== undefined) {
            const text = `${method.path} answered with more than one message`
            fail(pending.opened, new Unimplemented({ message: text, ...where }))
          }
        }
        const onEnd = (end: End) => {
          QuicReceiving.giveBack(kept, messages, messages.unread)
          pending.opened = undefined
          pending.leave = constVoid
          resume(
            Exit.isFailure(end)
              ? Exit.failCause(end.cause)
              : Codec.decodeReply(method.output, reply, settings, where, link.boundary)
          )
        }
        const start = (timeout: number) => {
          pending.opened = open(where, call, timeout, messages, onMessage, onEnd)
          sending.send(pending.opened.id, bytes.right, true, constVoid)
        }
        pending.leave = quota.acquire(where, call.timeout, start, (error) => resume(Effect.fail(error)))
      })
      return Effect.catchAllCause(restore(answer), giveUp(pending))
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
        yield* checkMetadata(call.metadata, where)
        if (session.isClosed()) {
          return yield* CallErrors.closedBefore(where)
        }
        let opened: Call | undefined
        let leave = constVoid
        const messages = QuicReceiving.makeInbound(settings.maxReceiveMessageSize)
        const inbox = QuicMessages.makeInbox<CallError | E>(link, messages, () => opened?.id)
        const giveUp = () => {
          if (opened !== undefined) {
            breakOff(opened, Exit.void)
          }
        }
        yield* Effect.addFinalizer(() =>
          Effect.sync(() => {
            leave()
            giveUp()
            QuicReceiving.giveBack(kept, messages, messages.unread)
          })
        )
        const { id } = yield* Effect.async<Call, Unavailable | DeadlineExceeded | Internal>((resume) => {
          const start = (timeout: number) => {
            opened = open(where, call, timeout, messages, inbox.push, inbox.end)
            session.write(opened.id, Varint.take(writer), false)
            resume(Effect.succeed(opened))
          }
          leave = quota.acquire(where, call.timeout, start, (error) => resume(Effect.fail(error)))
        })
        const sendOne = (request: II) =>
          Effect.flatMap(encode(method, request, where), (bytes) =>
            Effect.async<void>((resume) => sending.send(id, bytes, false, () => Turns.give(() => resume(Effect.void))))
          )
        yield* Stream.runForEach(requests, sendOne).pipe(
          Effect.matchCauseEffect({
            onFailure: (cause) =>
              Effect.sync(() => {
                inbox.end(Exit.failCause(cause))
                giveUp()
              }),
            onSuccess: () => Effect.sync(() => session.write(id, Frames.lastData, true))
          }),
          Effect.forkScoped
        )
        return Stream.mapEffect(inbox.stream, (message) =>
          Codec.decode(method.output, message, settings, where, link.boundary)
        )
      })
    )

  return {
    connection: { unary, stream },
    onGoaway: (id) => {
      for (const [, call] of calls.entries()) {
        if (call.id >= id) {
          fail(call, new Unavailable({ message: "the peer goes away", processed: processed(call), ...call.where }))
        }
      }
    },
    cancelAll: () => {
      for (const [, call] of calls.entries()) {
        fail(call, new Cancelled({ message: "the client was closed", ...call.where }))
      }
    }
  }
}
