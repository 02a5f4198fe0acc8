/** What the streams of a GrpcLive connection share: settings, HTTP/2, deadlines, budgets. */
import type { Deadlines } from "../../Calls/Deadlines.js"
import type { GrpcCompression } from "../../Calls/GrpcCompression.js"
import type { Kept } from "../../Calls/GrpcReceiving.js"
import type { Progress } from "../../Connections/Progress.js"
import type { Fields } from "../../protocol/Fields.js"
import type * as HttpFields from "../../protocol/http/HttpFields.js"
import type { Http2Connection, Stream } from "../../protocol/http2/Http2Connection.js"
import type { Http2Code } from "../../protocol/http2/Http2Error.js"
import type { CallConnection } from "../../Transport/Call.js"
import type { Boundary } from "../../Transport/internal/boundary.js"
import type { Peer } from "../../Transport/Peer.js"
import type { Settings } from "../GrpcOptions.js"

/** A live connection as its streams see it; `O` is what owns a stream. */
export interface Link<O> {
  readonly settings: Settings
  readonly http2: Http2Connection<O>
  /** That of this end's messages. */
  readonly compression: GrpcCompression
  /** What the messages of the peer cost. */
  readonly kept: Kept
  /** Bytes that have come and are not decoded, because nobody has room for what is in them. */
  readonly backlog: { size: number }
  /** Tells the listener what the connection keeps now, and the peer that it may go on where it had to wait. */
  readonly account: () => void
  /** Those of the calls. */
  readonly deadlines: Deadlines
  /** That of the calls of this end. */
  readonly progress: Progress
  readonly peer: Peer
  /** What the handlers of its calls know it by. */
  readonly connection: CallConnection
  /** The target or address of the other end, for errors. */
  readonly name: string
  readonly boundary: Boundary
  /** Asks the other end whether it lives, unless that is asked already. */
  readonly probe: () => void
  /** Sends what was written, together with all else of this turn of the event loop. */
  readonly flush: () => void
  /** Something of the peer's cost work and brought nothing. */
  readonly useless: () => void
  /** Ends the connection for what was thrown on it. */
  readonly onThrown: (cause: unknown) => void
  /** No stream is opened any more: the peer goes away, another connection has taken the place, or ids are used up. */
  readonly isLost: () => boolean
}

/** Callbacks for the streams of a connection, and what there is to know of them. */
export interface Streams<O> {
  readonly onRequest: (stream: Stream<O>, head: HttpFields.RequestHead) => void
  readonly onResponse: (stream: Stream<O>, head: HttpFields.ResponseHead) => void
  /** A header or trailer section was larger than allowed, and dropped. */
  readonly onTooLarge: (stream: Stream<O>, isTrailers: boolean) => void
  readonly onData: (stream: Stream<O>, bytes: Buffer) => void
  readonly onTrailers: (stream: Stream<O>, fields: Fields) => void
  /** The peer has sent all. */
  readonly onEnd: (stream: Stream<O>) => void
  readonly onReset: (stream: Stream<O>, code: number, by: "remote" | "local", text: string) => void
  /** The peer goes away, and has not processed the streams of this end above `last`. */
  readonly onGoaway: (last: number, code: Http2Code, text: string) => void
  /** No more streams are opened on this connection; those that are open go on. */
  readonly onLeaving: () => void
  /** The connection has ended. */
  readonly onLost: (why: string) => void
  /** There may be room for what waits because too much was unsent. */
  readonly onRoom: () => void
  /** Calls and requests whose handlers have not ended, and those that are answered. */
  readonly size: () => number
}

/** What a header or trailer section may have beside the metadata: the status with its text and details. */
const statusSize = 40 * 1024

/** What HTTP and gRPC put beside the metadata at the least, where the peer's limit is for all of a section. */
const otherSize = 1024

/** The largest metadata to send: both ends' limits hold. */
export const maxSentMetadata = <O>({ http2, settings }: Pick<Link<O>, "http2" | "settings">): number => {
  const peers = http2.peerSettings()?.maxHeaderListSize
  return peers === undefined
    ? settings.maxMetadataSize
    : Math.max(0, Math.min(settings.maxMetadataSize, peers - otherSize))
}

/** The largest section that this end takes. */
export const maxHeaderListSize = ({ maxMetadataSize }: Pick<Settings, "maxMetadataSize">): number =>
  maxMetadataSize + statusSize
