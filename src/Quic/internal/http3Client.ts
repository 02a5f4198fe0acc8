/** Ordinary HTTP/3 requests on a connection that calls run on too. */
import type { RequestError } from "@effect/platform/HttpClientError"
import type { HttpClientRequest } from "@effect/platform/HttpClientRequest"
import type * as Effect from "effect/Effect"
import { constVoid } from "effect/Function"
import * as HttpRequests from "../../Calls/HttpRequests.js"
import * as HttpFields from "../../protocol/http/HttpFields.js"
import { nameOf } from "../../protocol/http3/Http3Error.js"
import * as Frames from "../../protocol/http3/Http3Frames.js"
import * as Http3Message from "../../protocol/http3/Http3Message.js"
import * as Varint from "../../protocol/quic/Varint.js"
import { type Link, maxFieldSectionSize } from "./quicLink.js"

const opening =
  ({ session, settings, writer }: Link): HttpRequests.Context["open"] =>
  (head, content, isLast, { onData, onEnd, onGone, onHead, onStopped }) => {
    const kind = Http3Message.responses(
      { onInformational: session.useless, onUseless: session.useless, onHead, onData, onTrailers: constVoid, onEnd },
      { maxFieldSectionSize: maxFieldSectionSize(settings), method: head.method }
    )
    const id = session.open(
      {
        onBytes: Http3Message.receive,
        onReset: (code) => onGone(`the peer broke the answer off: ${nameOf(code)}`),
        onStopped,
        onViolation: ({ text }) => onGone(`the answer breaks the rules of HTTP/3: ${text}`),
        onLost: (why) => onGone(why)
      },
      Http3Message.make(kind, undefined)
    )
    Frames.writeHeaders(writer, HttpFields.requestSection(head))
    if (content !== undefined) {
      Frames.writeData(writer, content)
    }
    session.write(id, Varint.take(writer), isLast)
    return {
      write: (content, sent) => {
        Frames.writeData(writer, content)
        session.write(id, Varint.take(writer), false, sent)
      },
      end: () => session.write(id, Frames.lastData, true),
      cancel: () => session.cancel(id, "H3_REQUEST_CANCELLED"),
      pause: () => session.pause(id),
      resume: () => session.resume(id)
    }
  }

/** Sends a request; returns the response when its head has come. */
export const send = (
  link: Link,
  request: HttpClientRequest,
  url: URL,
  signal: AbortSignal
): Effect.Effect<Response, RequestError> =>
  HttpRequests.send(
    {
      ...link,
      scheme: "https",
      maxHeadSize: () => link.session.peerSettings()?.maxFieldSectionSize ?? Number.POSITIVE_INFINITY,
      open: opening(link)
    },
    request,
    url,
    signal
  )
