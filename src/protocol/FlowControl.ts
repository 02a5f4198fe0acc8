/** Credit-based flow control of a connection or of one of its streams: what each end may still send. */

export interface FlowControl {
  /** The most that the peer may send and this end has not read. */
  window: number
  /** Bytes that the peer may send before it gets more credit. */
  receiveCredit: number
  /**
   * Bytes that were read and whose credit the peer has not got back yet. Below zero while bytes that were released already
   * count as unread once more.
   */
  pendingUpdate: number
  /** Bytes that this end may send before it gets more credit. */
  sendCredit: number
}

/** Windows of TlsLive are numbers of 32 bits. */
const maxCredit = 0xffff_ffff

export const make = (window: number, sendCredit: number): FlowControl => ({
  window,
  receiveCredit: window,
  pendingUpdate: 0,
  sendCredit
})

/** Whether the peer has credit for so many bytes. */
export const canReceive = (flow: FlowControl, size: number): boolean => size <= flow.receiveCredit

/** Bytes came, for which the peer had credit. */
export const receive = (flow: FlowControl, size: number): void => {
  flow.receiveCredit -= size
}

/** Bytes were read: their credit is due to the peer. */
export const release = (flow: FlowControl, size: number): void => {
  flow.pendingUpdate += size
}

/** Bytes that were released count as unread again. */
export const retain = (flow: FlowControl, size: number): void => {
  flow.pendingUpdate -= size
}

/** The window grows: as much more credit is due to the peer. */
export const grow = (flow: FlowControl, size: number): void => {
  flow.window += size
  flow.pendingUpdate += size
}

/** Returns the credit to give the peer now: all that is due once that is `least`, or half the window, and 0 before. */
export const takeUpdate = (flow: FlowControl, least = flow.window / 2): number => {
  const { pendingUpdate } = flow
  if (pendingUpdate <= 0 || pendingUpdate < least) {
    return 0
  }
  flow.receiveCredit += pendingUpdate
  flow.pendingUpdate = 0
  return pendingUpdate
}

/** Bytes that came and were not read. */
export const unread = (flow: FlowControl): number => flow.window - flow.receiveCredit - flow.pendingUpdate

/** This end sends bytes. */
export const send = (flow: FlowControl, size: number): void => {
  flow.sendCredit -= size
}

/** The peer gives credit, or takes some back. Returns whether the sum is one that a peer may give. */
export const addCredit = (flow: FlowControl, size: number, max = maxCredit): boolean => {
  flow.sendCredit += size
  return flow.sendCredit <= max
}
