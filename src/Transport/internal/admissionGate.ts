/** What listeners ask of an admission, from the first packet of a peer to the end of its last call. */
import type { SourceOptions } from "../AdmissionSources.js"
import type * as Metadata from "../Metadata.js"
import type { Peer } from "../Peer.js"
import type { StatusError } from "../TransportError.js"

/** A call that was let in, or that waits to be. Calls that need no state of their own share one. */
export interface Pass {
  readonly _tag: "Pass"
  /** Set where the call has to wait. */
  readonly waiting: Waiting | undefined
  /**
   * A message has come, and is not decoded yet; `isHeld` where it is kept for as long as the call runs. Returns the pass that
   * counts from now on, or the error that ends the call.
   */
  readonly received: (bytes: number, isHeld: boolean) => Pass | StatusError
  /** Milliseconds that the sender of messages has to wait until it may send more; 0 most of the time. */
  readonly receiveDelay: () => number
  /** A message has left. Returns the milliseconds that the next one has to wait; 0 most of the time. */
  readonly sent: (bytes: number) => number
  /** The call is over, and its handler has ended: called once. `held` are the bytes that were kept for it. */
  readonly ended: (isStream: boolean, held: number) => void
}

/** A call that waits for its turn. */
export interface Waiting {
  /** Milliseconds that it may wait at most, and what it ends with then. */
  readonly maxWait: number
  readonly overdue: () => StatusError
  /** Set by whoever starts the call: its turn has come. */
  onTurn: () => void
  /** Set by whoever ends it: it has to make way for another. */
  onRefused: (error: StatusError) => void
}

/** A connection that was let in. */
export interface Visit {
  /**
   * Asks for a call, which counts until `ended`. It began `now`, and its caller stops waiting at `deadline`: milliseconds since
   * 1970 both. Reads no clock.
   */
  readonly enter: (
    path: string,
    metadata: Metadata.Metadata,
    now: number,
    deadline: number,
    isStream: boolean
  ) => Pass | StatusError
  /** Something that cost work and brought nothing. */
  readonly spend: (what: "cancel" | "denial" | "refusal") => void
  /** The connection has ended. May be called twice. */
  readonly leave: () => void
}

/** Why a connection is not let in, or is ended. All but `NotAuthorized` may come again. */
export type Turned = "NotAuthorized" | "TooManyConnections" | "TooExpensive"

/** What a peer is told that is turned away and may come again. */
export const turnedText = (reason: Exclude<Turned, "NotAuthorized">): string =>
  reason === "TooManyConnections"
    ? "its identity has too many connections"
    : "its identity has cost more than it may, and may come back later"

export interface Gate {
  /** The sources in force: another object whenever they change. */
  readonly sources: () => SourceOptions
  /** Called when the sources have changed. Returns what ends that. */
  readonly onSources: (f: () => void) => () => void
  /** Whether no handshake may begin now, because the node has more to do than it can. */
  readonly shedsHandshakes: () => boolean
  /** Counts and logs a refusal, by the rule that decided it. `why` is a literal of this library's. */
  readonly refused: (rule: string, what: "source" | "connection" | "call", peer: string, why: string) => void
  /** Asks for a connection whose peer has proved who it is, or can't. `end` ends it, and the calls on it. */
  readonly visit: (peer: Peer, end: (reason: Turned) => void) => Visit | Turned
}
