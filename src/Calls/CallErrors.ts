/** The errors that calls end with by themselves: the same cause has the same error and the same text on every wire. */
import * as Duration from "effect/Duration"
import type { Where } from "../Transport/internal/where.js"
import {
  Cancelled,
  DeadlineExceeded,
  Internal,
  InvalidArgument,
  ResourceExhausted,
  Unavailable,
  Unimplemented
} from "../Transport/TransportError.js"

export type { Where }

export const deadlinePassed = (where?: Where): DeadlineExceeded =>
  new DeadlineExceeded({ message: "the deadline passed", ...where })

export const malformedTimeout = (): Internal => new Internal({ message: "the timeout is malformed" })

export const unknownMethod = (path: string): Unimplemented => new Unimplemented({ message: `unknown method ${path}` })

export const noRequest = (path: string): Unimplemented =>
  new Unimplemented({ message: `${path} takes one request message, none came` })

export const moreRequests = (path: string): Unimplemented =>
  new Unimplemented({ message: `${path} takes one request message, more came` })

/** A handler was interrupted, and its listener shuts down. */
export const shutDown = (where?: Where): Unavailable => new Unavailable({ message: "the peer shut down", ...where })

/** A handler was interrupted, by itself or by its own program. */
export const interrupted = (): Cancelled => new Cancelled({ message: "the handler was interrupted" })

/** A message that comes is larger than may be. */
export const messageTooLarge = (limit: number, where?: Where): ResourceExhausted =>
  new ResourceExhausted({ message: `the received message has more than the ${limit} bytes allowed`, ...where })

/** Messages that have begun on a connection are too much together. */
export const unfinishedTooMuch = (limit: number, where?: Where): ResourceExhausted =>
  new ResourceExhausted({
    message: `the unfinished messages of the connection have more than the ${limit} bytes allowed`,
    ...where
  })

/** Messages that nobody has read are too much together. */
export const unreadTooMuch = (limit: number, where?: Where): ResourceExhausted =>
  new ResourceExhausted({
    message: `the unread messages of the connection have more than the ${limit} bytes allowed`,
    ...where
  })

/** A message was begun and not finished in time. */
export const messageOverdue = (timeout: Duration.Duration, where?: Where): DeadlineExceeded =>
  new DeadlineExceeded({ message: `the message was not finished within ${Duration.format(timeout)}`, ...where })

/** The requests ended within a message. */
export const requestCutOff = (): Internal => new Internal({ message: "the request ended within a message" })

/** The answer of a unary call has no message. */
export const noReply = (where: Where): Unimplemented =>
  new Unimplemented({ message: `${where.method} takes one response message, none came`, ...where })

/** The answer of a unary call has several messages. */
export const moreReplies = (where: Where): Unimplemented =>
  new Unimplemented({ message: `${where.method} takes one response message, more came`, ...where })

/** The answer ended within a message. */
export const replyCutOff = (where: Where): Internal =>
  new Internal({ message: "the answer ended within a message", ...where })

/** The connection ended before the call could begin. */
export const closedBefore = (where: Where): Unavailable =>
  new Unavailable({ message: "the connection was closed before the call", processed: "no", ...where })

/** The connection ended under the call. */
export const connectionLost = (why: string, where: Where): Unavailable => new Unavailable({ message: why, ...where })

/** The peer goes away and says that it has not taken the call. */
export const goingAway = (processed: "no" | "unknown", where: Where, reason?: string): Unavailable =>
  new Unavailable({
    message: reason === undefined ? "the peer goes away" : `the peer goes away: ${reason}`,
    processed,
    ...where
  })

/** The client was closed while the call ran. */
export const clientClosed = (where: Where): Cancelled => new Cancelled({ message: "the client was closed", ...where })

/** The time of a call was over while it waited for the stream quota of its peer. */
export const deadlinePassedBefore = (where: Where): DeadlineExceeded =>
  new DeadlineExceeded({ message: "the deadline passed before the peer took the call", ...where })

/** What was thrown where a call begins: nothing of it was sent. */
export const notSent = (cause: unknown, where: Where): Internal =>
  new Internal({ message: "the call can't be sent", cause, ...where })

/** The path of a method is longer than a wire carries. */
export const pathTooLong = (limit: number, where: Where): InvalidArgument =>
  new InvalidArgument({ message: `a method's path has at most ${limit} bytes`, ...where })

/** A message to send is larger than this end's limit or the peer's. */
export const messageToSendTooLarge = (size: number, limit: number, where: Where): ResourceExhausted =>
  new ResourceExhausted({
    message: `the message to send has ${size} bytes, more than the ${limit} allowed`,
    ...where
  })
