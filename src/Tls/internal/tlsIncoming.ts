import * as Cause from "effect/Cause"
import type * as Clock from "effect/Clock"
import * as Either from "effect/Either"
import * as Exit from "effect/Exit"
import type * as Fiber from "effect/Fiber"
import * as FiberId from "effect/FiberId"
import * as Option from "effect/Option"
import * as CallDuration from "../../Calls/CallDuration.js"
import * as Codec from "../../Calls/Codec.js"
import type { Deadline } from "../../Calls/Deadlines.js"
import type * as InFlight from "../../Calls/HandlerFibers.js"
import * as MetadataLimit from "../../Calls/MetadataLimit.js"
import * as Waiting from "../../Calls/Waiting.js"
import * as Entries from "../../protocol/Entries.js"
import * as IdTable from "../../protocol/IdTable.js"
import * as Wire from "../../protocol/wire/Wire.js"
import type { Open } from "../../protocol/wire/WireFrames.js"
import type { Dropped } from "../../protocol/wire/WireState.js"
import * as ErrorDetails from "../../Transport/ErrorDetails.js"
import * as IncomingCall from "../../Transport/IncomingCall.js"
import type { Boundary } from "../../Transport/internal/boundary.js"
import * as Time from "../../Transport/internal/time.js"
import * as Metadata from "../../Transport/Metadata.js"
import type * as Route from "../../Transport/Route.js"
import { Cancelled, type StatusError, Unavailable, Unimplemented } from "../../Transport/TransportError.js"
import type { Link } from "./tlsLink.js"
import * as TlsStream from "./tlsStream.js"

/** What answers the calls of the other end. */
export interface Server {
  readonly routes: ReadonlyMap<string, Route.Route>
  readonly inFlight: InFlight.InFlight
  readonly clock: Clock.Clock
  readonly boundary: Boundary
}

interface Call {
  readonly push: (message: Uint8Array, cost: number, costOnConnection: number) => void
  readonly halfClose: () => void
  handler: Fiber.RuntimeFiber<unknown, unknown> | undefined
  deadline: Deadline | undefined
  /** What answers it when there is room. */
  answer: (() => void) | undefined
}

/** The calls that the other end opened on one connection. */
export interface Incoming {
  readonly onOpen: (id: number, open: Open) => void
  readonly onMessage: (id: number, message: Uint8Array, cost: number, costOnConnection: number) => void
  readonly onHalfClose: (id: number) => void
  readonly onCancel: (id: number) => void
  readonly onDropped: (id: number, reason: Dropped) => void
  /** Interrupts the handlers when the connection has ended. */
  readonly interrupt: () => void
  readonly size: () => number
  /** Goes on with what waits because too much was unsent. */
  readonly onRoom: () => void
}

const noCosts = [0, 0] as const
const noDetails = new Uint8Array(0)

export const make = (link: Link, { clock, inFlight, routes }: Server): Incoming => {
  const { deadlines, settings, wire } = link
  const calls = IdTable.make<Call>()

  /** Forgets a call, whose answer has been written or is no longer wanted. */
  const forget = (id: number): Call | undefined => {
    const call = calls.remove(id)
    deadlines.remove(call?.deadline)
    waiting.remove(call?.answer)
    return call
  }

  const isFull = () => wire.unsent() > settings.maxUnsentBytes
  const waiting = Waiting.make(isFull)

  const interrupt = (id: number) => forget(id)?.handler?.unsafeInterruptAsFork(FiberId.none)

  const maxMetadataSize = () => Math.min(settings.maxMetadataSize, wire.peerSettings()?.maxMetadataSize ?? 0)
  const fits = (metadata: Metadata.Metadata) => MetadataLimit.fits(metadata, maxMetadataSize())
  const checkResponse = (response: IncomingCall.Response) => MetadataLimit.checkResponse(response, maxMetadataSize())

  const sendError = (id: number, error: StatusError, trailers: Metadata.Metadata) => {
    wire.sendTrailers(id, {
      code: error.code,
      message: error.message,
      details: ErrorDetails.encodeToSend(error),
      metadata: MetadataLimit.ofError(trailers, error.metadata, maxMetadataSize()).entries
    })
    link.flush()
  }

  const sendCause = (id: number, cause: Cause.Cause<StatusError>, response: IncomingCall.Response) => {
    sendHeaders(id, response)
    sendError(
      id,
      Option.getOrElse(Cause.failureOption(cause), () =>
        inFlight.isDraining()
          ? new Unavailable({ message: "the peer shut down" })
          : new Cancelled({ message: "the handler was interrupted" })
      ),
      response.trailers
    )
  }

  /** Ends a call from this end, whatever its handler is doing. */
  const refuse = (id: number, error: StatusError) => {
    interrupt(id)
    sendError(id, error, Metadata.empty)
  }

  const sendHeaders = (id: number, response: IncomingCall.Response) => {
    if (!response.headersSent) {
      response.headersSent = true
      if (response.headers.entries.length > 0 && fits(response.headers)) {
        wire.sendHeaders(id, response.headers.entries)
      }
    }
  }

  const sendOk = (id: number, response: IncomingCall.Response) => {
    sendHeaders(id, response)
    // A fiber that the handler left behind may have set more since it was checked.
    const metadata = fits(response.trailers) ? response.trailers.entries : Entries.none
    wire.sendTrailers(id, { code: 0, message: "", details: noDetails, metadata })
    link.flush()
  }

  const sendReply = (id: number, message: Uint8Array, response: IncomingCall.Response) => {
    const metadata = Metadata.byteSize(response.headers) + Metadata.byteSize(response.trailers)
    if (message.length <= Wire.maxPiece && metadata <= Wire.maxMetadata) {
      forget(id)
      response.headersSent = true
      wire.sendReply(id, { message, headers: response.headers.entries, trailers: response.trailers.entries })
    } else {
      sendHeaders(id, response)
      // Its deadline stays until all of it is sent: the other end need not read it.
      wire.sendMessage(id, message, false, () => {
        forget(id)
        sendOk(id, response)
      })
    }
    link.flush()
  }

  const answer = (
    id: number,
    encode: (message: unknown) => Either.Either<Uint8Array, StatusError>,
    value: unknown,
    response: IncomingCall.Response
  ) => {
    const bytes = Either.flatMap(checkResponse(response), () => encode(value))
    if (Either.isLeft(bytes)) {
      forget(id)
      sendCause(id, Cause.fail(bytes.left), response)
    } else {
      sendReply(id, bytes.right, response)
    }
  }

  const onOpen = (id: number, open: Open) => {
    const route = routes.get(open.path)
    const where = { method: open.path, peer: link.peer.address }
    if (route === undefined) {
      link.useless()
      return refuse(id, new Unimplemented({ message: `unknown method ${open.path}` }))
    }
    const limit = CallDuration.limitOf(settings.maxCallDuration, route)
    const timeout = Math.min(open.timeout, limit)
    const incoming = IncomingCall.make(
      {
        method: open.path,
        peer: link.peer,
        metadata: Metadata.unsafeFromEntries(open.metadata),
        deadline: Time.now(clock) + timeout,
        draining: inFlight.draining,
        boundary: link.boundary,
        endConnection: link.onThrown,
        onDenied: link.useless
      },
      link.connection
    )
    const encode = (message: unknown) =>
      Codec.encode(
        route.method.output,
        message,
        Math.min(settings.maxSendMessageSize, wire.peerSettings()?.maxMessageSize ?? 0),
        where,
        link.boundary
      )
    const decode = (bytes: Uint8Array) => Codec.decode(route.method.input, bytes, settings, where, link.boundary)

    const unary = (route: Route.UnaryRoute) => {
      let request: Uint8Array | undefined
      let costs: readonly [cost: number, costOnConnection: number] = noCosts
      const call: Call = {
        handler: undefined,
        deadline: undefined,
        answer: undefined,
        push: (message, cost, costOnConnection) => {
          costs = [cost, costOnConnection]
          if (request !== undefined) {
            return refuse(id, new Unimplemented({ message: `${open.path} takes one request message, more came` }))
          }
          request = message
        },
        halfClose: () => {
          if (request === undefined) {
            return refuse(id, new Unimplemented({ message: `${open.path} takes one request message, none came` }))
          }
          const decoded = decode(request)
          wire.consumed(id, ...costs)
          if (Either.isLeft(decoded)) {
            return refuse(id, decoded.left)
          }
          call.handler = inFlight.fork(route.handle(decoded.right, incoming), route.context, incoming, (exit) => {
            call.handler = undefined
            if (Exit.isFailure(exit)) {
              forget(id)
              return sendCause(id, exit.cause, incoming.response)
            }
            if (isFull()) {
              call.answer = () => answer(id, encode, exit.value, incoming.response)
              waiting.add(call.answer)
            } else {
              answer(id, encode, exit.value, incoming.response)
            }
          })
        }
      }
      calls.add(id, call)
      return call
    }

    const stream = (route: Route.StreamRoute) => {
      const inbox = TlsStream.makeInbox(link, () => id, decode)
      const encodeNext = (message: unknown) => {
        const { response } = incoming
        const checked = response.headersSent ? Either.void : checkResponse(response)
        const bytes = Either.isLeft(checked) ? Either.left(checked.left) : encode(message)
        if (Either.isRight(bytes)) {
          sendHeaders(id, response)
        }
        return bytes
      }
      const call: Call = {
        handler: undefined,
        deadline: undefined,
        answer: undefined,
        push: (message, cost, costOnConnection) => inbox.push([message, cost, costOnConnection]),
        halfClose: () => inbox.end(Exit.void)
      }
      calls.add(id, call)
      call.handler = inFlight.fork(
        TlsStream.sendAll(link, () => id, route.handle(inbox.stream, incoming), encodeNext, { isFull, waiting }),
        route.context,
        incoming,
        (exit) => {
          forget(id)
          if (Exit.isFailure(exit)) {
            return sendCause(id, exit.cause, incoming.response)
          }
          const checked = checkResponse(incoming.response)
          return Either.isLeft(checked)
            ? sendCause(id, Cause.fail(checked.left), incoming.response)
            : sendOk(id, incoming.response)
        }
      )
      return call
    }

    const call = route._tag === "Unary" ? unary(route) : stream(route)
    if (open.message !== undefined) {
      call.push(open.message, 0, 0)
    }
    if (open.halfClosed) {
      call.halfClose()
    }
    if (calls.get(id) !== undefined) {
      call.deadline = deadlines.add(timeout, () => {
        if (timeout <= CallDuration.uselessMillis) {
          link.useless()
        }
        refuse(id, CallDuration.exceeded(open.timeout, limit))
      })
    }
  }

  return {
    onOpen,
    onMessage: (id, message, cost, costOnConnection) => calls.get(id)?.push(message, cost, costOnConnection),
    onHalfClose: (id) => calls.get(id)?.halfClose(),
    onCancel: interrupt,
    onDropped: (id, reason) => refuse(id, TlsStream.droppedError(reason, settings)),
    interrupt: () => {
      for (const [id] of calls.entries()) {
        interrupt(id)
      }
    },
    size: calls.size,
    onRoom: waiting.onRoom
  }
}
