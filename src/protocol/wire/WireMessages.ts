/** MESSAGE frames as they come: checked against the credit of their call and connection, and put together. */

import * as FlowControl from "../FlowControl.js"
import * as Wire from "./Wire.js"
import { Flag, Violation } from "./Wire.js"
import * as Reassembly from "./WireReassembly.js"
import * as State from "./WireState.js"

export const checkPiece = (size: number): void => {
  if (size > Wire.maxPiece) {
    throw new Violation("FrameTooLarge", `a piece of ${size} bytes`)
  }
}

/** Drops what has come of a call's message, and what is still to come. */
const drop = (state: State.State, call: State.Call, reason: State.Dropped) => {
  call.isDropping = true
  Reassembly.drop(state.reassembly, call)
  State.consume(state, call, FlowControl.unread(call), call.unreadOnConnection)
  state.events.onDropped(call.id, reason)
}

/** A message for a call that has ended. What such a call had as its window may have been under way. */
const onLate = (state: State.State, cost: number, now: number, countUseless: (now: number) => void) => {
  state.late -= cost
  if (state.late < 0) {
    state.late = 0
    countUseless(now)
  }
  State.releaseOnConnection(state, cost)
}

export const onMessage = (
  state: State.State,
  flags: number,
  id: number,
  reader: Wire.Reader,
  now: number,
  countUseless: (now: number) => void
) => {
  const { events, limits, reassembly } = state
  const size = Wire.rest(reader)
  const cost = Wire.messageOverhead + size
  checkPiece(size)
  if (!FlowControl.canReceive(state.flow, cost)) {
    throw new Violation("FlowControl", "more bytes than the window of the connection")
  }
  FlowControl.receive(state.flow, cost)
  const call = State.find(state, id)
  if (call === undefined) {
    return onLate(state, cost, now, countUseless)
  }
  if (call.isRemoteDone) {
    throw State.violation(`a message after the last of call ${id}`)
  }
  if (!FlowControl.canReceive(call, cost)) {
    throw new Violation("FlowControl", `more bytes than the window of call ${id}`)
  }
  FlowControl.receive(call, cost)
  const isLast = (flags & Flag.end) !== 0
  const isMore = (flags & Flag.more) !== 0
  if ((isLast && (call.isMine || isMore)) || (isMore && size === 0)) {
    throw State.violation(`a wrong flag on a message of call ${id}`)
  }
  call.isRemoteDone = isLast
  if (isMore || call.partial !== undefined) {
    // An unfinished message must not hold up the connection: others could then never finish theirs.
    State.releaseOnConnection(state, cost)
    call.partialCost += cost
  } else {
    call.unreadOnConnection += cost
  }
  if (call.isDropping) {
    return State.consume(state, call, FlowControl.unread(call), call.unreadOnConnection)
  }
  if (call.partialSize + size > limits.maxMessageSize) {
    return drop(state, call, "TooLarge")
  }
  if (isMore) {
    Reassembly.append(reassembly, call, reader, size, limits.maxMessageSize, now)
    if (Reassembly.isOver(reassembly, limits.connectionWindow)) {
      return drop(state, call, "OverBudget")
    }
    return State.consume(state, call, 0, 0)
  }
  if (call.partial === undefined) {
    events.onMessage(id, Wire.readBytes(reader, size), cost, cost)
  } else {
    const partial = Reassembly.append(reassembly, call, reader, size, limits.maxMessageSize, now)
    const { partialCost } = call
    const message = Reassembly.finish(reassembly, call, partial)
    // Whole, it counts as unread on the connection, as one that came in one piece does.
    const costOnConnection = message.length + Wire.messageOverhead
    State.retainOnConnection(state, call, costOnConnection)
    events.onMessage(id, message, partialCost, costOnConnection)
  }
  if (isLast) {
    events.onHalfClose(id)
  }
}

/** Drops the messages that began longer ago than `timeout` milliseconds, unless they lack credit. */
export const expire = (state: State.State, now: number, timeout: number): void => {
  if (state.reassembly.count === 0) {
    return
  }
  for (const [, call] of state.calls.entries()) {
    if (call.partial !== undefined) {
      const hasCredit = Math.min(call.receiveCredit, state.flow.receiveCredit) > Wire.messageOverhead
      if (Reassembly.isOverdue(call, hasCredit, now, timeout)) {
        drop(state, call, "Overdue")
      }
    }
  }
}
