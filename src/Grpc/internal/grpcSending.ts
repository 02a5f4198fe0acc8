/** The messages of streams on their way out, compressed where that is asked. */
import type { GrpcCompression } from "../../Calls/GrpcCompression.js"
import type { Http2Connection, Stream } from "../../protocol/http2/Http2Connection.js"
import type { Compression } from "../../Transport/Connection.js"

/** The first byte of a message: whether it is compressed. */
const prefixOf = (isCompressed: boolean): number => (isCompressed ? 1 : 0)

/** The parts of a connection that its messages on their way out need. */
interface Context<O> {
  readonly compression: GrpcCompression
  readonly http2: Http2Connection<O>
}

/** Sends a message: a large one that is compressed leaves later. `sent` is called when the last of it was written. */
export const send = <O>(
  { compression, http2 }: Context<O>,
  stream: Stream<O>,
  message: Uint8Array,
  encoding: Compression,
  isEnd: boolean,
  sent: () => void
): void => {
  if (encoding === "identity") {
    http2.sendData(stream, message, prefixOf(false), isEnd, sent)
    return
  }
  const now = compression.compressNow(message)
  if (now === undefined) {
    compression.compressLater(stream.id, message, (bytes, isCompressed) =>
      http2.sendData(stream, bytes, prefixOf(isCompressed), isEnd, sent)
    )
  } else {
    http2.sendData(stream, now.bytes, prefixOf(now.isCompressed), isEnd, sent)
  }
}
