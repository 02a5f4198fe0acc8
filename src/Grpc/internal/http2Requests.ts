/** Plain HTTP/2 requests of a connection, beside its calls. */
import { constVoid } from "effect/Function"
import type { Handler } from "../../Calls/HttpMounts.js"
import type { Body, HttpStream } from "../../Calls/HttpServing.js"
import * as HttpServing from "../../Calls/HttpServing.js"
import type { RequestHead } from "../../protocol/http/HttpFields.js"
import { noPrefix, type Stream } from "../../protocol/http2/Http2Connection.js"
import type { Link } from "./grpcLink.js"
import * as Http2Content from "./http2Content.js"

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

const noBytes = new Uint8Array(0)

/** A request on its stream, whose peer gets credit for its content as that is read. */
const make = <O>(link: Link<O>, stream: Stream<O>, serve: (to: HttpStream) => Body): PlainRequest => {
  const { flush, http2 } = link
  const unread = Http2Content.makeUnread(link, stream)
  let isWanted = true

  const body = serve({
    sendHead: (section, isLast) => {
      http2.sendHeaders(stream, undefined, section, isLast)
      flush()
    },
    write: (content, sent) => {
      Http2Content.send(link, stream, content, false, sent)
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
        unread.giveCredit()
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
    resume: unread.giveCredit
  })

  return {
    _tag: "Request",
    onData: (bytes) => {
      body.onData(bytes)
      unread.add(bytes.length)
      if (!isWanted) {
        unread.giveCredit()
      }
    },
    onEnd: body.onEnd,
    onGone: body.onGone
  }
}

/** Answers a request that is no call, or refuses it where nothing is mounted. */
export const serve = <O>(
  link: Link<O>,
  { handler, onBegin, scheme, visit }: Others & Pick<HttpServing.Context, "visit">,
  stream: Stream<O>,
  head: RequestHead,
  isMethod: boolean
): PlainRequest => {
  const current = handler()
  return make(link, stream, (to) =>
    current === undefined
      ? HttpServing.refuse(link, to, HttpServing.statusOfNone(isMethod))
      : HttpServing.serve({ ...link, scheme, visit }, to, head, current, onBegin())
  )
}
