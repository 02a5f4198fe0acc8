/** The errors of messages that the wire has dropped. */
import * as CallErrors from "../../Calls/CallErrors.js"
import type { Dropped } from "../../protocol/wire/WireState.js"
import type { DeadlineExceeded, ResourceExhausted } from "../../Transport/TransportError.js"
import type { Settings } from "../TlsOptions.js"

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
