/** The messages of calls as DATA frames with gRPC's prefix. */
import * as GrpcMessage from "../../protocol/grpc/GrpcMessage.js"
import * as Frames from "../../protocol/http3/Http3Frames.js"
import type * as Varint from "../../protocol/quic/Varint.js"

/** Larger messages are sent without a copy. */
const maxCopiedBytes = 4096

/** Whether a message is written whole. */
export const isSmall = (message: Uint8Array): boolean => message.length <= maxCopiedBytes

/** Writes a DATA frame with a message; returns the message if it is to be sent behind what was written, without a copy. */
export const write = (writer: Varint.Writer, message: Uint8Array, isCompressed: boolean): Buffer | undefined => {
  const size = GrpcMessage.prefixSize + message.length
  const isCopied = isSmall(message)
  Frames.writeDataHead(writer, size, isCopied ? size : GrpcMessage.prefixSize)
  writer.at = GrpcMessage.writePrefix(writer.buffer, writer.at, message.length, isCompressed)
  if (isCopied) {
    writer.buffer.set(message, writer.at)
    writer.at += message.length
    return undefined
  }
  return Buffer.from(message.buffer, message.byteOffset, message.length)
}
