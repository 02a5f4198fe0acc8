import * as Either from "effect/Either"
import * as GrpcMessage from "../Grpc/GrpcMessage.js"
import * as Inbox from "../Transport/internal/inbox.js"
import * as Frames from "./Http3Frames.js"
import type { Http3Session } from "./http3Session.js"
import type * as Varint from "./Varint.js"

/** Larger messages are sent from where they lie. */
const copied = 4096

/** Bytes of messages that wait for a reader before the peer has to wait. */
const maxWaiting = 64 * 1024

/** Writes a DATA frame with a message; gives the message where it has to be sent behind what was written. */
export const write = (writer: Varint.Writer, message: Uint8Array): Buffer | undefined => {
  const size = GrpcMessage.prefixSize + message.length
  const isCopied = message.length <= copied
  Frames.writeDataHead(writer, size, isCopied ? size : GrpcMessage.prefixSize)
  writer.at = GrpcMessage.writePrefix(writer.buffer, writer.at, message.length)
  if (isCopied) {
    writer.buffer.set(message, writer.at)
    writer.at += message.length
    return undefined
  }
  return Buffer.from(message.buffer, message.byteOffset, message.length)
}

/** The messages of a stream on their way to a reader, no more of them than it has room for. */
export const makeInbox = <E>(
  session: Http3Session,
  stream: () => number | undefined
): Inbox.Inbox<Uint8Array, Uint8Array, E> => {
  let waiting = 0
  const inbox = Inbox.make<Uint8Array, Uint8Array, E>({
    decode: Either.right,
    onTaken: () => {
      waiting = 0
      const id = stream()
      if (id !== undefined) {
        session.resume(id)
      }
    }
  })
  return {
    ...inbox,
    push: (message) => {
      waiting += message.length + GrpcMessage.prefixSize
      const id = stream()
      if (waiting > maxWaiting && id !== undefined) {
        session.pause(id)
      }
      inbox.push(message)
    }
  }
}
