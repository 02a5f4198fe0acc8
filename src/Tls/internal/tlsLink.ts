/** What the calls on a TlsLive connection share: settings, state machine, deadlines, progress. */
import type { Deadlines } from "../../Calls/Deadlines.js"
import type { Progress } from "../../Connections/Progress.js"
import type { WireConnection } from "../../protocol/wire/WireConnection.js"
import type { CallConnection } from "../../Transport/Call.js"
import type { Boundary } from "../../Transport/internal/boundary.js"
import type { Peer } from "../../Transport/Peer.js"
import type { Settings } from "../TlsOptions.js"

/** A live connection as the calls on it see it. */
export interface Link {
  readonly settings: Settings
  readonly wire: WireConnection
  readonly peer: Peer
  /** Whether the other end made the connection. */
  readonly isAccepted: boolean
  /** What the handlers of its calls know it by. */
  readonly connection: CallConnection
  /** The target or address of the other end, for errors. */
  readonly name: string
  /** Those of the calls, of both ends. */
  readonly deadlines: Deadlines
  /** That of the calls of this end. */
  readonly progress: Progress
  /** Asks the other end whether it lives, where nothing has come from it for so many milliseconds: a call has timed out. */
  readonly probe: (timeout: number) => void
  /** Sends what was written, together with all else of this turn of the event loop. */
  readonly flush: () => void
  /** A call of the peer's cost work and brought nothing. */
  readonly useless: () => void
  readonly boundary: Boundary
  /** Ends the connection for what was thrown on it. */
  readonly onThrown: (cause: unknown) => void
  /** Whether no more calls begin on the connection. */
  readonly isLost: () => boolean
}
