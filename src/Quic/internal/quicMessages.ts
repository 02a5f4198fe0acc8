/** The messages of calls as DATA frames with gRPC's prefix, and when the peer has to wait with more. */
import * as GrpcMessage from "../../protocol/grpc/GrpcMessage.js"
import * as Frames from "../../protocol/http3/Http3Frames.js"
import type * as Varint from "../../protocol/quic/Varint.js"
import type { Settings } from "../QuicOptions.js"
import type { Http3Session } from "./http3Session.js"
import type { Inbound, Kept } from "./quicReceiving.js"

/** Larger messages are sent without a copy. */
const maxCopiedBytes = 4096

/** Bytes of messages that wait for a reader before the peer has to wait. */
const maxUnreadBytes = 64 * 1024

/** Whether a message is written whole. */
export const isSmall = (message: Uint8Array): boolean => message.length <= maxCopiedBytes

/** Writes a DATA frame with a message; returns the message if it is to be sent behind what was written, without a copy. */
export const write = (writer: Varint.Writer, message: Uint8Array): Buffer | undefined => {
  const size = GrpcMessage.prefixSize + message.length
  const isCopied = isSmall(message)
  Frames.writeDataHead(writer, size, isCopied ? size : GrpcMessage.prefixSize)
  writer.at = GrpcMessage.writePrefix(writer.buffer, writer.at, message.length)
  if (isCopied) {
    writer.buffer.set(message, writer.at)
    writer.at += message.length
    return undefined
  }
  return Buffer.from(message.buffer, message.byteOffset, message.length)
}

/** The parts of a connection that unread messages need. */
interface Context {
  readonly kept: Kept
  readonly session: Http3Session
  readonly settings: Pick<Settings, "connectionWindow">
}

/** Reads no more of a call if too much waits for its reader, so that the peer has to wait. */
export const pauseIfFull = ({ kept, session, settings }: Context, inbound: Inbound, id: number): void => {
  if (inbound.unread > maxUnreadBytes || kept.unread > settings.connectionWindow) {
    inbound.isPaused = true
    session.pause(id)
  }
}

/** Reads on if there is room again. */
export const resumeIfRoom = ({ kept, session, settings }: Context, inbound: Inbound, id: number): void => {
  const isRoom = inbound.unread <= maxUnreadBytes && kept.unread <= settings.connectionWindow
  // A reader that waits for more is given some, whatever others leave unread.
  if (inbound.isPaused && (isRoom || inbound.unread === 0)) {
    inbound.isPaused = false
    inbound.since = performance.now()
    session.resume(id)
  }
}
