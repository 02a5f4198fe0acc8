/** Plain HTTP/3 requests of a connection, beside its calls. */

import type { Handler } from "../../Calls/HttpMounts.js"
import type { Body, HttpStream } from "../../Calls/HttpServing.js"
import * as HttpServing from "../../Calls/HttpServing.js"
import type { RequestHead } from "../../protocol/http/HttpFields.js"
import * as Frames from "../../protocol/http3/Http3Frames.js"
import * as Varint from "../../protocol/quic/Varint.js"
import type { Link } from "./quicLink.js"

const streamOf = ({ session, writer }: Link, id: number): HttpStream => ({
  sendHead: (section, isLast) => {
    Frames.writeHeaders(writer, section)
    session.write(id, Varint.take(writer), isLast)
  },
  write: (content, sent) => {
    Frames.writeDataHead(writer, content.length)
    session.write(id, Varint.take(writer), false)
    session.write(id, Buffer.from(content.buffer, content.byteOffset, content.length), false, sent)
  },
  end: () => session.write(id, Frames.lastData, true),
  stop: () => session.stop(id, "H3_NO_ERROR"),
  fail: () => session.cancel(id, "H3_INTERNAL_ERROR"),
  pause: () => session.pause(id),
  resume: () => session.resume(id)
})

/** Answers with nothing but a status. */
export const refuse = (link: Link, id: number, status: number): Body =>
  HttpServing.refuse(link.session, streamOf(link, id), status)

/** `onDone` is called when the answer has been written, or is no longer wanted. */
export const serve = (link: Link, head: RequestHead, id: number, handler: Handler, onDone: () => void): Body => {
  const { quic, useless } = link.session
  // Looks for the peer's STOP_SENDING while nothing is sent that would tell of it.
  quic.watch(id, true)
  return HttpServing.serve({ ...link, scheme: "https", useless }, streamOf(link, id), head, handler, () => {
    quic.watch(id, false)
    onDone()
  })
}
