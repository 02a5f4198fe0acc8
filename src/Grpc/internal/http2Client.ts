/** Plain HTTP/2 requests on a connection that calls run on too. */
import { constVoid } from "effect/Function"
import type * as HttpRequests from "../../Calls/HttpRequests.js"
import type { StreamQuota } from "../../Calls/StreamQuota.js"
import * as HttpFields from "../../protocol/http/HttpFields.js"
import { noPrefix, type Stream } from "../../protocol/http2/Http2Connection.js"
import { nameOf } from "../../protocol/http2/Http2Error.js"
import type { Link } from "./grpcLink.js"
import * as Http2Content from "./http2Content.js"

/** The stream of a plain request of this end. */
export interface ClientRequest {
  readonly _tag: "Request"
  readonly onHead: (head: HttpFields.ResponseHead) => void
  readonly onTooLarge: (isTrailers: boolean) => void
  readonly onData: (bytes: Buffer) => void
  readonly onEnd: () => void
  readonly onReset: (isRemoteDone: boolean, code: number, by: "remote" | "local", text: string) => void
  readonly onGone: (why: string) => void
}

const noBytes = new Uint8Array(0)

/** What comes on the stream of a request, and what is called with it. */
const ownerOf = <O>(
  { progress }: Link<O>,
  quota: StreamQuota,
  answer: HttpRequests.Answer,
  unread: () => Http2Content.Unread | undefined
): ClientRequest => ({
  _tag: "Request",
  onHead: (head) => {
    progress.answered()
    answer.onHead(head)
  },
  onTooLarge: (isTrailers) => {
    if (!isTrailers) {
      answer.onGone("the headers of the answer are too large")
    }
  },
  onData: (bytes) => {
    progress.answered()
    unread()?.add(bytes.length)
    answer.onData(bytes)
  },
  onEnd: () => {
    answer.onEnd()
    quota.advance()
  },
  onReset: (isRemoteDone, code, by, text) => {
    if (by === "local") {
      answer.onGone(`the answer breaks the rules of HTTP/2: ${text}`)
    } else if (isRemoteDone) {
      // The answer has come whole (RFC 9113 section 8.1).
      answer.onStopped()
    } else {
      answer.onGone(`the peer broke the answer off: ${nameOf(code) ?? `code ${code}`}`)
    }
    quota.advance()
  },
  onGone: answer.onGone
})

/** Opens the streams of requests. `own` makes a request the owner of its stream. */
export const opening =
  <O>(link: Link<O>, quota: StreamQuota, own: (owner: ClientRequest) => O): HttpRequests.Context["open"] =>
  (head, content, isLast, answer) => {
    const { flush, http2 } = link
    let unread: Http2Content.Unread | undefined
    const hasContent = content !== undefined && content.length > 0
    const [method, ...rest] = HttpFields.requestSection(head)
    const stream: Stream<O> = http2.open(
      // HTTP/2 looks there for HEAD, whose answer has no content.
      http2.makeHead(method === undefined ? [] : [method]),
      rest,
      isLast && !hasContent,
      own(ownerOf(link, quota, answer, () => unread))
    )
    unread = Http2Content.makeUnread(link, stream)
    // A stream that has ended leaves room for one that waits.
    const advance = () => {
      if (stream.isGone) {
        quota.advance()
      }
    }
    if (hasContent) {
      Http2Content.send(link, stream, content, isLast, advance)
    }
    flush()
    return {
      write: (content, sent) => {
        Http2Content.send(link, stream, content, false, sent)
        flush()
      },
      end: () => {
        http2.sendData(stream, noBytes, noPrefix, true, advance)
        flush()
      },
      cancel: () => {
        http2.reset(stream, "CANCEL")
        flush()
        quota.advance()
      },
      pause: constVoid,
      resume: unread.giveCredit
    }
  }
