/** A stream of an HTTP/2 connection as one of its ends sees it. One record, whose shape never changes. */

import type { Fields } from "../Fields.js"
import type { FlowControl } from "../FlowControl.js"
import type { Head } from "./HpackEncoder.js"

/** Trailers that wait for the data before them. */
export interface Trailers {
  readonly head: Head | undefined
  readonly rest: Fields
}

export interface Stream<O> extends FlowControl {
  readonly id: number
  /** Whether this end has opened it. */
  readonly isMine: boolean
  /** Whatever the user of the connection wants to find here. */
  owner: O | undefined
  /** This end, or the peer, has sent its END_STREAM. */
  isLocalDone: boolean
  isRemoteDone: boolean
  /** It is no longer in the table of its connection: both halves are closed, or it was reset. */
  isGone: boolean
  isReset: boolean
  /** The peer's head has come. */
  hasHead: boolean
  /** The request is a HEAD, whose response has no content, whatever its content-length. */
  isHeadRequest: boolean
  /** What of the peer's content-length is to come, or `unknownLength`. */
  contentLeft: number
  /** How much its window has grown. */
  grown: number
  /** Data that has not been sent to its end, `offset` bytes of `size`, the prefix included. */
  data: Uint8Array | undefined
  /** Its own length. */
  length: number
  size: number
  offset: number
  prefix: number
  /** END_STREAM goes with its last frame. */
  endsStream: boolean
  sent: () => void
  trailers: Trailers | undefined
  /** The last batch of the large lane that holds something of this stream. */
  batch: number
  /** Whether it stands in the list of streams that have both data and credit, and its neighbours there. */
  isReady: boolean
  previous: Stream<O> | undefined
  next: Stream<O> | undefined
}

export const unknownLength = -1

const nothing = () => {}

export const make = <O>(id: number, isMine: boolean, window: number, sendCredit: number): Stream<O> => ({
  id,
  isMine,
  owner: undefined,
  isLocalDone: false,
  isRemoteDone: false,
  isGone: false,
  isReset: false,
  hasHead: false,
  isHeadRequest: false,
  contentLeft: unknownLength,
  window,
  receiveCredit: window,
  pendingUpdate: 0,
  sendCredit,
  grown: 0,
  data: undefined,
  length: 0,
  size: 0,
  offset: 0,
  prefix: 0,
  endsStream: false,
  sent: nothing,
  trailers: undefined,
  batch: 0,
  isReady: false,
  previous: undefined,
  next: undefined
})

/** Lets go of the data. Returns its callback. */
export const dropData = <O>(stream: Stream<O>): (() => void) => {
  const { sent } = stream
  stream.data = undefined
  stream.sent = nothing
  return sent
}
