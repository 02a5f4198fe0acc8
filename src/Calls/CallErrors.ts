/** The errors that calls end with by themselves: the same cause has the same error and the same text on every wire. */
import * as Duration from "effect/Duration"
import {
  Cancelled,
  DeadlineExceeded,
  Internal,
  ResourceExhausted,
  Unavailable,
  Unimplemented
} from "../Transport/TransportError.js"

/** What the errors of a call name at the end that opened it. */
export interface Where {
  readonly method: string
  readonly peer: string
}

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
