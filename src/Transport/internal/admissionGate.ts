/** What listeners ask of an admission, from the first packet of a peer to the end of its last call. */
import type { SourceOptions } from "../AdmissionSources.js"
import type * as Metadata from "../Metadata.js"
import type { Peer } from "../Peer.js"
import type { HandshakeReason, StatusError } from "../TransportError.js"

/** A call that was let in, or waits to be. Calls that need no state of their own share one. */
export interface Pass {
  /** Whether the call has to wait: `onTurn` is called when it may start. */
  readonly isWaiting: boolean
  onTurn: (() => void) | undefined
  /** A message has come, before it is decoded. Returns the error that ends the call, if it may not. */
  readonly received: (bytes: number) => StatusError | undefined
  readonly sent: (bytes: number) => void
  /** The call is over, and its handler has ended. */
  readonly ended: () => void
}

/** A connection that was let in. */
export interface Visit {
  /** Asks for a call, which counts until `ended`. `deadline` is by the clock of the admission, `isStream` of its shape. */
  readonly enter: (path: string, metadata: Metadata.Metadata, deadline: number, isStream: boolean) => Pass | StatusError
  /** Something that cost work and brought nothing. */
  readonly spend: (what: "cancel" | "denial" | "refusal") => void
  /** The connection has ended. May be called twice. */
  readonly leave: () => void
}

/** Why a connection is not let in, or is ended. `Busy`: the peer may come again. */
export type Turned = Extract<HandshakeReason, "NotAuthorized"> | "TooManyConnections" | "Busy"

export interface Gate {
  /** The sources in force: another object whenever they change. */
  readonly sources: () => SourceOptions
  /** Called when the sources have changed. Returns what ends that. */
  readonly onSources: (f: () => void) => () => void
  /** Whether no handshake may begin now, because the node has more to do than it can. */
  readonly shedsHandshakes: () => boolean
  /** Counts and logs a decision on a source, a connection or a call, by the rule that made it. */
  readonly refused: (rule: string, what: "source" | "connection" | "call", peer: string, why: string) => void
  /** Asks for a connection whose peer has proved who it is, or can't. `end` ends it, and the calls on it. */
  readonly visit: (peer: Peer, end: (reason: Turned) => void) => Visit | Turned
}
