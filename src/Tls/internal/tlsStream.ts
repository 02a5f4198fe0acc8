/**
 * The messages of one direction of a call that streams, both ways.
 */
import type * as Either from "effect/Either"
import * as CallErrors from "../../Calls/CallErrors.js"
import * as Inbox from "../../Calls/Inbox.js"
import type { Dropped } from "../../protocol/wire/WireState.js"
import type { DeadlineExceeded, ResourceExhausted } from "../../Transport/TransportError.js"
import type { Settings } from "../TlsOptions.js"
import type { Link } from "./tlsLink.js"

/** A message as it came, and what it costs of the windows of the call and of the connection. */
export type Received = readonly [message: Uint8Array, cost: number, costOnConnection: number]

/** Messages on their way to a reader, which gives back their credit. What comes in one turn is read in one. */
export const makeInbox = <A, E>(
  link: Link,
  id: () => number,
  decode: (message: Uint8Array) => Either.Either<A, E>
): Inbox.Inbox<Received, A, E> =>
  Inbox.make<Received, A, E>({
    decode: ([message]) => decode(message),
    schedule: setImmediate,
    onTaken: (taken) => {
      let size = 0
      let sizeOnConnection = 0
      for (const [, cost, costOnConnection] of taken) {
        size += cost
        sizeOnConnection += costOnConnection
      }
      link.wire.consumed(id(), size, sizeOnConnection)
      link.flush()
    }
  })

/** The error of a call whose message was dropped before it was whole. */
export const droppedError = (
  reason: Dropped,
  { connectionWindow, maxReceiveMessageSize, messageTimeout }: Settings,
  where?: CallErrors.Where
): ResourceExhausted | DeadlineExceeded => {
  switch (reason) {
    case "TooLarge":
      return CallErrors.messageTooLarge(maxReceiveMessageSize, where)
    case "OverBudget":
      return CallErrors.unfinishedTooMuch(connectionWindow, where)
    case "Overdue":
      return CallErrors.messageOverdue(messageTimeout, where)
  }
}
