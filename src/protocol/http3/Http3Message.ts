/**
 * The receiving half of a request stream: bytes in, checked against RFC 9114 section 4, one message out. It buffers
 * nothing but an unfinished HEADERS frame, so that whoever does not read the stream holds up its sender.
 */
import type { Fields } from "../Fields.js"
import type { HeadCache } from "../HeadCache.js"
import * as HttpFields from "../http/HttpFields.js"
import { type Http3Code, onConnection, onStream } from "./Http3Error.js"
import * as Frames from "./Http3Frames.js"
import { Type } from "./Http3Frames.js"
import type * as Sections from "./Http3Sections.js"
import * as Qpack from "./Qpack.js"

/** What messages tell, each with its owner. All are called from within `receive`. */
export interface Events<Head, Owner> {
  readonly onHead: (head: Head, owner: Owner) => void
  /** A view of what was received: it must be copied by who keeps it. */
  readonly onData: (chunk: Buffer, owner: Owner) => void
  readonly onTrailers: (trailers: Fields, owner: Owner) => void
  /** The message is whole. */
  readonly onEnd: (owner: Owner) => void
  /** A frame that brings nothing. The first of a message is not told: it may be its end. */
  readonly onUseless?: ((owner: Owner) => void) | undefined
}

export interface ResponseEvents<Owner> extends Events<HttpFields.ResponseHead, Owner> {
  /** A response before the response: 100, 102, 103. */
  readonly onInformational: (head: HttpFields.ResponseHead, owner: Owner) => void
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

type Phase = "head" | "content" | "done"

/** What all messages of one kind have in common, and what hears of them. */
export interface Kind<Owner> extends Frames.Handler<Message<Owner>> {
  /** The code where the stream ends before the head. */
  readonly incomplete: Http3Code
  readonly onEnd: (owner: Owner) => void
}

/** A message that is being received. */
export interface Message<Owner> {
  readonly kind: Kind<Owner>
  readonly owner: Owner
  readonly decoder: Frames.Decoder
  phase: Phase
  contentLeft: number | undefined
  /** A frame that brings nothing has come. */
  hasUseless: boolean
  /** What its unfinished section was counted as by who counts that. */
  counted: number
}

/** What differs between requests and responses. */
interface Differences<Head, Owner> {
  readonly sections: HeadCache<Head> | undefined
  readonly read: (section: Fields) => Head
  /** Takes a header section and gives the content-length, or "informational" where the head is still to come. */
  readonly onHead: (head: Head, owner: Owner) => number | undefined | "informational"
  readonly incomplete: Http3Code
  /** The code for a PUSH_PROMISE: no end of this library allows any. */
  readonly pushed: Http3Code
}

const checked = <A>(fields: Fields, check: (fields: Fields) => A): A => {
  try {
    return check(fields)
  } catch (error) {
    throw error instanceof HttpFields.MalformedMessage ? onStream("H3_MESSAGE_ERROR", error.text) : error
  }
}

/** What a section says, which is not read again where it came before. */
const readSection = <A>(
  bytes: Buffer,
  start: number,
  end: number,
  maxSize: number,
  sections: HeadCache<A> | undefined,
  check: (fields: Fields) => A
): A => {
  const before = sections?.find(bytes, start, end)
  if (before !== undefined) {
    return before
  }
  const value = checked(Qpack.decode(bytes, start, end, maxSize), check)
  sections?.keep(bytes, start, end, value)
  return value
}

const makeKind = <Head, Owner>(
  { incomplete, onHead, pushed, read, sections }: Differences<Head, Owner>,
  events: Events<Head, Owner>,
  { known, maxFieldSectionSize }: Options
): Kind<Owner> => {
  const onUseless = (message: Message<Owner>) => {
    if (message.hasUseless) {
      events.onUseless?.(message.owner)
    }
    message.hasUseless = true
  }
  return {
    incomplete,
    onEnd: events.onEnd,
    onPass: (chunk, { owner }) => events.onData(chunk, owner),
    onFrame: (type, length, message) => {
      switch (type) {
        case Type.data:
          if (message.phase !== "content") {
            throw onConnection("H3_FRAME_UNEXPECTED", "a DATA frame before the header section or after the trailers")
          }
          // Those of a few bytes are how some programs write what they stream.
          if (length === 0) {
            onUseless(message)
          }
          if (message.contentLeft !== undefined) {
            message.contentLeft -= length
            if (message.contentLeft < 0) {
              throw onStream("H3_MESSAGE_ERROR", "more content than content-length says")
            }
          }
          return "pass"
        case Type.headers:
          if (message.phase === "done") {
            throw onConnection("H3_FRAME_UNEXPECTED", "a HEADERS frame after the trailers")
          }
          if (length > maxFieldSectionSize) {
            throw onStream("H3_EXCESSIVE_LOAD", `a HEADERS frame of ${length} bytes`)
          }
          return "whole"
        case Type.pushPromise:
          throw onConnection(pushed, "a PUSH_PROMISE frame")
        case Type.cancelPush:
        case Type.settings:
        case Type.goaway:
        case Type.maxPushId:
          throw onConnection("H3_FRAME_UNEXPECTED", `a frame of type ${type} on a request stream`)
        default:
          if (Frames.isReserved(type)) {
            throw onConnection("H3_FRAME_UNEXPECTED", `a frame of type ${type}, which belongs to HTTP/2`)
          }
          onUseless(message)
          return "drop"
      }
    },
    onWhole: (_, bytes, start, end, message) => {
      if (message.phase === "content") {
        message.phase = "done"
        const trailers = readSection(bytes, start, end, maxFieldSectionSize, known?.trailers, HttpFields.readTrailers)
        return events.onTrailers(trailers, message.owner)
      }
      const result = onHead(readSection(bytes, start, end, maxFieldSectionSize, sections, read), message.owner)
      if (result !== "informational") {
        message.phase = "content"
        message.contentLeft = result
      }
    }
  }
}

export const requests = <Owner>(events: Events<HttpFields.RequestHead, Owner>, options: Options): Kind<Owner> =>
  makeKind(
    {
      incomplete: "H3_REQUEST_INCOMPLETE",
      pushed: "H3_FRAME_UNEXPECTED",
      sections: options.known?.requests,
      read: (section) => HttpFields.readRequestHead(section, { needsAuthority: true }),
      onHead: (head, owner) => {
        events.onHead(head, owner)
        return head.contentLength
      }
    },
    events,
    options
  )

export const responses = <Owner>(events: ResponseEvents<Owner>, options: ResponseOptions): Kind<Owner> =>
  makeKind(
    {
      incomplete: "H3_MESSAGE_ERROR",
      pushed: "H3_ID_ERROR",
      sections: options.known?.responses,
      read: HttpFields.readResponseHead,
      onHead: (head, owner) => {
        if (head.status < 200) {
          events.onInformational(head, owner)
          return "informational"
        }
        events.onHead(head, owner)
        return options.method === "HEAD" || head.status === 304 ? undefined : head.contentLength
      }
    },
    events,
    options
  )

export const make = <Owner>(kind: Kind<Owner>, owner: Owner): Message<Owner> => ({
  kind,
  owner,
  decoder: Frames.makeDecoder(),
  phase: "head",
  contentLeft: undefined,
  hasUseless: false,
  counted: 0
})

/** The room of a section that has begun and not ended. */
export const unfinishedSize = ({ decoder }: Pick<Message<unknown>, "decoder">): number => decoder.kept?.length ?? 0

/**
 * Takes the bytes of the stream as they come, `fin` with the last. Throws a `Http3Violation` where they break the
 * rules; nothing may be received then. The chunk is not kept.
 */
export const receive = <Owner>(chunk: Buffer, fin: boolean, message: Message<Owner>): void => {
  const { decoder, kind, owner } = message
  Frames.receive(decoder, kind, message, chunk)
  if (!fin) {
    return
  }
  if (Frames.isMidFrame(decoder)) {
    throw onConnection("H3_FRAME_ERROR", "a stream that ends within a frame")
  }
  if (message.phase === "head") {
    throw onStream(kind.incomplete, "a stream that ends before its header section")
  }
  if (message.contentLeft !== undefined && message.contentLeft > 0) {
    throw onStream("H3_MESSAGE_ERROR", "less content than content-length says")
  }
  kind.onEnd(owner)
}
