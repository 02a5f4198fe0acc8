/**
 * The receiving half of a request stream: bytes in, checked against RFC 9114 section 4, one message out. It buffers
 * nothing but an unfinished HEADERS frame, so that whoever does not read the stream holds up its sender.
 */
import { type Http3Code, onConnection, onStream } from "./Http3Error.js"
import * as Fields from "./Http3Fields.js"
import * as Frames from "./Http3Frames.js"
import { Type } from "./Http3Frames.js"
import type * as Sections from "./Http3Sections.js"
import * as Qpack from "./Qpack.js"

/** What a message tells its owner. All are called from within `receive`. */
export interface Events<Head> {
  readonly onHead: (head: Head) => void
  /** A view of what was received: it must be copied by who keeps it. */
  readonly onData: (chunk: Buffer) => void
  readonly onTrailers: (trailers: Fields.Fields) => void
  /** The message is whole. */
  readonly onEnd: () => void
}

export interface ResponseEvents extends Events<Fields.ResponseHead> {
  /** A response before the response: 100, 102, 103. */
  readonly onInformational: (head: Fields.ResponseHead) => void
}

export interface Options {
  /** The largest header or trailer section, counted as RFC 9114 section 4.2.2 does. */
  readonly maxFieldSectionSize: number
  /** The sections that came before on this connection, under the same limit. */
  readonly known?: Sections.Known | undefined
}

export interface ResponseOptions extends Options {
  /** The method of the request: HEAD has no content, whatever the content-length. */
  readonly method: string
}

/**
 * Takes the bytes of the stream as they come, `fin` with the last. Throws a `Http3Violation` where they break the
 * rules; nothing may be received then. The chunk is not kept.
 */
export type Receive = (chunk: Buffer, fin: boolean) => void

type Phase = "head" | "content" | "done"

/** What differs between requests and responses. */
interface Kind<Head> {
  readonly sections: Sections.Sections<Head> | undefined
  readonly read: (section: Fields.Fields) => Head
  /** Takes a header section and gives the content-length, or "informational" where the head is still to come. */
  readonly onHead: (head: Head) => number | undefined | "informational"
  /** The code where the stream ends before the head. */
  readonly incomplete: Http3Code
  /** The code for a PUSH_PROMISE: no end of this library allows any. */
  readonly pushed: Http3Code
}

/** What a section says, which is not read again where it came before. */
const readSection = <A>(
  bytes: Buffer,
  start: number,
  end: number,
  maxSize: number,
  sections: Sections.Sections<A> | undefined,
  check: (fields: Fields.Fields) => A
): A => {
  const before = sections?.find(bytes, start, end)
  if (before !== undefined) {
    return before
  }
  const value = check(Qpack.decode(bytes, start, end, maxSize))
  sections?.keep(bytes, start, end, value)
  return value
}

const make = <Head>(
  kind: Kind<Head>,
  events: Omit<Events<never>, "onHead">,
  { known, maxFieldSectionSize }: Options
): Receive => {
  let phase: Phase = "head"
  let contentLeft: number | undefined
  const decoder = Frames.makeDecoder()

  const onFrame = (type: number, length: number): Frames.Treatment => {
    switch (type) {
      case Type.data:
        if (phase !== "content") {
          throw onConnection("H3_FRAME_UNEXPECTED", "a DATA frame before the header section or after the trailers")
        }
        if (contentLeft !== undefined) {
          contentLeft -= length
          if (contentLeft < 0) {
            throw onStream("H3_MESSAGE_ERROR", "more content than content-length says")
          }
        }
        return "pass"
      case Type.headers:
        if (phase === "done") {
          throw onConnection("H3_FRAME_UNEXPECTED", "a HEADERS frame after the trailers")
        }
        if (length > maxFieldSectionSize) {
          throw onStream("H3_EXCESSIVE_LOAD", `a HEADERS frame of ${length} bytes`)
        }
        return "whole"
      case Type.pushPromise:
        throw onConnection(kind.pushed, "a PUSH_PROMISE frame")
      case Type.cancelPush:
      case Type.settings:
      case Type.goaway:
      case Type.maxPushId:
        throw onConnection("H3_FRAME_UNEXPECTED", `a frame of type ${type} on a request stream`)
      default:
        if (Frames.isReserved(type)) {
          throw onConnection("H3_FRAME_UNEXPECTED", `a frame of type ${type}, which belongs to HTTP/2`)
        }
        return "drop"
    }
  }

  const onWhole = (_: number, bytes: Buffer, start: number, end: number) => {
    if (phase === "content") {
      phase = "done"
      return events.onTrailers(
        readSection(bytes, start, end, maxFieldSectionSize, known?.trailers, Fields.readTrailers)
      )
    }
    const result = kind.onHead(readSection(bytes, start, end, maxFieldSectionSize, kind.sections, kind.read))
    if (result !== "informational") {
      phase = "content"
      contentLeft = result
    }
  }

  const handler: Frames.Handler = { onFrame, onWhole, onPass: events.onData }

  return (chunk, fin) => {
    Frames.receive(decoder, handler, chunk)
    if (!fin) {
      return
    }
    if (Frames.isMidFrame(decoder)) {
      throw onConnection("H3_FRAME_ERROR", "a stream that ends within a frame")
    }
    if (phase === "head") {
      throw onStream(kind.incomplete, "a stream that ends before its header section")
    }
    if (contentLeft !== undefined && contentLeft > 0) {
      throw onStream("H3_MESSAGE_ERROR", "less content than content-length says")
    }
    events.onEnd()
  }
}

export const receiveRequest = (events: Events<Fields.RequestHead>, options: Options): Receive =>
  make(
    {
      incomplete: "H3_REQUEST_INCOMPLETE",
      pushed: "H3_FRAME_UNEXPECTED",
      sections: options.known?.requests,
      read: Fields.readRequestHead,
      onHead: (head) => {
        events.onHead(head)
        return head.contentLength
      }
    },
    events,
    options
  )

export const receiveResponse = (events: ResponseEvents, options: ResponseOptions): Receive =>
  make(
    {
      incomplete: "H3_MESSAGE_ERROR",
      pushed: "H3_ID_ERROR",
      sections: options.known?.responses,
      read: Fields.readResponseHead,
      onHead: (head) => {
        if (head.status < 200) {
          events.onInformational(head)
          return "informational"
        }
        events.onHead(head)
        return options.method === "HEAD" || head.status === 304 ? undefined : head.contentLength
      }
    },
    events,
    options
  )
