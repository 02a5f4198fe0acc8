/** The content of plain HTTP/2 messages: sent part by part, and received with credit that follows its reader. */
import { noPrefix, type Stream } from "../../protocol/http2/Http2Connection.js"
import type { Link } from "./grpcLink.js"

/** Content is sent in parts of this size, so that what is unsent of a connection does not grow with what an app sends. */
const partBytes = 64 * 1024

/** Sends content part by part. `sent` is called when the last byte is written, and never where the stream is over before. */
export const send = <O>(
  { http2 }: Pick<Link<O>, "http2">,
  stream: Stream<O>,
  content: Uint8Array,
  isEnd: boolean,
  sent: () => void
): void => {
  let at = 0
  let isFree = true
  let isSending = false
  // `sendData` may call this before it returns: the loop goes on then, however many parts there are.
  const advance = () => {
    isFree = true
    if (isSending) {
      return
    }
    isSending = true
    while (isFree && at < content.length) {
      const part = content.subarray(at, at + partBytes)
      isFree = false
      at += part.length
      http2.sendData(stream, part, noPrefix, isEnd && at === content.length, advance)
    }
    isSending = false
    if (isFree) {
      sent()
    }
  }
  advance()
}

/** What has come of a stream's content and nobody has read, for which the peer gets no credit. */
export interface Unread {
  readonly add: (size: number) => void
  readonly giveCredit: () => void
}

export const makeUnread = <O>(
  { account, flush, http2 }: Pick<Link<O>, "account" | "flush" | "http2">,
  stream: Stream<O>
): Unread => {
  let unread = 0
  return {
    add: (size) => {
      unread += size
    },
    giveCredit: () => {
      if (unread > 0) {
        const size = unread
        unread = 0
        http2.consume(stream, size)
        account()
        flush()
      }
    }
  }
}
