/** What the calls on a QUIC connection share: settings, session, deadlines, budgets. */
import type { Deadlines } from "../../Calls/Deadlines.js"
import type { GrpcCompression } from "../../Calls/GrpcCompression.js"
import type { Kept } from "../../Calls/GrpcReceiving.js"
import type { StreamQuota } from "../../Calls/StreamQuota.js"
import type { Progress } from "../../Connections/Progress.js"
import type * as Varint from "../../protocol/quic/Varint.js"
import type { CallConnection } from "../../Transport/Call.js"
import type { Visit } from "../../Transport/internal/admissionGate.js"
import type { Boundary } from "../../Transport/internal/boundary.js"
import type { Peer } from "../../Transport/Peer.js"
import type { Settings } from "../QuicOptions.js"
import type { Http3Session } from "./http3Session.js"
import type { Sending } from "./quicSending.js"

/** A live connection as the calls on it see it. */
export interface Link {
  readonly settings: Settings
  readonly session: Http3Session
  /** What the messages of the peer cost. */
  readonly kept: Kept
  /** Tells the listener what the connection holds now. */
  readonly account: () => void
  /** That of this end's messages. */
  readonly compression: GrpcCompression
  /** Where this end's messages wait until the peer has room for them. */
  readonly sending: Sending
  /** Where this end's requests wait until the peer takes one more. */
  readonly quota: StreamQuota
  /** Those of the calls, of both ends. */
  readonly deadlines: Deadlines
  /** That of the calls of this end. */
  readonly progress: Progress
  /** For what is written at once. */
  readonly writer: Varint.Writer
  readonly peer: Peer
  /** The connection's place in the admission of its listener. */
  readonly visit: Visit | undefined
  /** What the handlers of its calls know it by. */
  readonly connection: CallConnection
  /** The target or address of the other end, for errors. */
  readonly name: string
  /** How requests name the other end. */
  readonly authority: string
  readonly boundary: Boundary
  /** Ends the connection for what was thrown on it. */
  readonly onThrown: (cause: unknown) => void
}

/** What a header or trailer section may have beside the metadata: the status with its text and details. */
const statusSize = 40 * 1024

/** What HTTP and gRPC put beside the metadata at the least, where the peer's limit is for all of a section. */
const otherSize = 1024

/** The largest metadata to send: both ends' limits hold. */
export const maxSentMetadata = ({ session, settings }: Pick<Link, "session" | "settings">): number => {
  const peers = session.peerSettings()?.maxFieldSectionSize
  return peers === undefined ? settings.maxMetadataSize : Math.min(settings.maxMetadataSize, peers - otherSize)
}

/** The largest section that this side takes. */
export const maxFieldSectionSize = ({ maxMetadataSize }: Pick<Settings, "maxMetadataSize">): number =>
  maxMetadataSize + statusSize
