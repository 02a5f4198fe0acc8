/** Plain HTTP/2 requests of a connection, beside its calls. */
import { constVoid } from "effect/Function"
import type { Handler } from "../../Calls/HttpMounts.js"
import type { Body, HttpStream } from "../../Calls/HttpServing.js"
import * as HttpServing from "../../Calls/HttpServing.js"
import type { RequestHead } from "../../protocol/http/HttpFields.js"
import { noPrefix, type Stream } from "../../protocol/http2/Http2Connection.js"
import type { Link } from "./grpcLink.js"

/** What answers requests that are no calls. */
export interface Others {
  readonly scheme: "https" | "http"
  /** Undefined where nothing is mounted. */
  readonly handler: () => Handler | undefined
  /** A request is answered from here on; returns what is called when that is done. */
  readonly onBegin: () => () => void
}

/** The stream of a plain request. */
export interface PlainRequest extends Body {
  readonly _tag: "Request"
}

/** Content is sent in parts of this size, so that what is unsent of a connection does not grow with what an app returns. */
const partBytes = 64 * 1024

const noBytes = new Uint8Array(0)

/** Sends content part by part. `sent` is called when the last byte is written, and never where the stream is over before. */
const sendParts = <O>({ http2 }: Link<O>, stream: Stream<O>, content: Uint8Array, sent: () => void) => {
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
      http2.sendData(stream, part, noPrefix, false, advance)
    }
    isSending = false
    if (isFree) {
      sent()
    }
  }
  advance()
}

/** A request on its stream, whose peer gets credit for its content as that is read. */
const make = <O>(link: Link<O>, stream: Stream<O>, serve: (to: HttpStream) => Body): PlainRequest => {
  const { account, flush, http2 } = link
  let isWanted = true
  /** Bytes of its content that have come and that nobody has read. */
  let unread = 0

  const giveCredit = () => {
    if (unread > 0) {
      const size = unread
      unread = 0
      http2.consume(stream, size)
      account()
      flush()
    }
  }

  const body = serve({
    sendHead: (section, isLast) => {
      http2.sendHeaders(stream, undefined, section, isLast)
      flush()
    },
    write: (content, sent) => {
      sendParts(link, stream, content, sent)
      flush()
    },
    end: () => {
      http2.sendData(stream, noBytes, noPrefix, true, constVoid)
      flush()
    },
    stop: () => {
      if (!stream.isLocalDone) {
        // A reset would end the answer too: what comes is dropped until that has ended.
        isWanted = false
        giveCredit()
      } else if (!stream.isRemoteDone) {
        http2.reset(stream, "NO_ERROR")
        flush()
      }
    },
    fail: () => {
      http2.reset(stream, "INTERNAL_ERROR")
      flush()
    },
    pause: constVoid,
    resume: giveCredit
  })

  return {
    _tag: "Request",
    onData: (bytes) => {
      body.onData(bytes)
      unread += bytes.length
      if (!isWanted) {
        giveCredit()
      }
    },
    onEnd: body.onEnd,
    onGone: body.onGone
  }
}

/** Answers a request that is no call, or refuses it where nothing is mounted. */
export const serve = <O>(
  link: Link<O>,
  { handler, onBegin, scheme }: Others,
  stream: Stream<O>,
  head: RequestHead,
  isMethod: boolean
): PlainRequest => {
  const current = handler()
  return make(link, stream, (to) =>
    current === undefined
      ? HttpServing.refuse(link, to, HttpServing.statusOfNone(isMethod))
      : HttpServing.serve({ ...link, scheme }, to, head, current, onBegin())
  )
}
