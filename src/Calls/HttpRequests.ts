/** Plain HTTP requests beside calls, for an `HttpClient`. */
import { RequestError } from "@effect/platform/HttpClientError"
import type { HttpClientRequest } from "@effect/platform/HttpClientRequest"
import * as Effect from "effect/Effect"
import { constVoid } from "effect/Function"
import * as Runtime from "effect/Runtime"
import * as Stream from "effect/Stream"
import * as Fiber from "../effect/Fiber.js"
import * as Fields from "../protocol/Fields.js"
import * as HttpFields from "../protocol/http/HttpFields.js"
import * as HttpContent from "./HttpContent.js"
import type { StreamQuota } from "./StreamQuota.js"

/** The stream of a request. Nothing has an effect on one that is over. */
export interface HttpStream extends Pick<HttpContent.Source, "pause" | "resume"> {
  /** Sends content; calls `sent` when there is room for more. One piece at a time. */
  readonly write: (content: Uint8Array, sent: () => void) => void
  /** Ends the request. */
  readonly end: () => void
  /** Resets the stream in both directions. */
  readonly cancel: () => void
}

/** What comes on the stream of a request. Trailers are dropped. */
export interface Answer {
  readonly onHead: (head: HttpFields.ResponseHead) => void
  readonly onData: (chunk: Buffer) => void
  readonly onEnd: () => void
  /** The peer wants no more of the request. */
  readonly onStopped: () => void
  /** The rest of the answer does not come. */
  readonly onGone: (why: string) => void
}

export type RequestHead = Omit<HttpFields.RequestHead, "contentLength">

/** The parts of a connection that its requests need. */
export interface Context extends HttpContent.Context {
  readonly scheme: "https" | "http"
  /** The target, for errors. */
  readonly name: string
  /** That of the calls too. */
  readonly quota: StreamQuota
  /** The largest head that the peer takes. */
  readonly maxHeadSize: () => number
  /** Opens a stream, and sends the head, and the content where there is all of it; that is all where the head `isLast`. */
  readonly open: (head: RequestHead, content: Uint8Array | undefined, isLast: boolean, answer: Answer) => HttpStream
}

/** Statuses whose answers have no content: a web `Response` must have none then (Fetch, "null body status"). */
const withoutContent = new Set([204, 205, 304])

interface Outgoing {
  readonly fields: Fields.Fields
  /** Undefined for none. */
  readonly content: Uint8Array | Stream.Stream<Uint8Array, unknown> | undefined
}

const outgoing = ({ body, headers }: HttpClientRequest): Outgoing => {
  const fields = HttpContent.fieldsOf(Object.entries(headers))
  switch (body._tag) {
    case "Empty":
      return { fields, content: undefined }
    case "Uint8Array":
      return { fields, content: body.body }
    case "Stream":
      return { fields, content: body.stream }
    default: {
      const web = new Response(
        body._tag === "FormData" ? body.formData : (body.body as ConstructorParameters<typeof Response>[0])
      )
      const type = web.headers.get("content-type")
      return {
        fields:
          type === null || fields.some(([name]) => name === "content-type")
            ? fields
            : [...fields, ["content-type", type]],
        content:
          web.body === null
            ? undefined
            : Stream.fromReadableStream(
                () => web.body ?? new ReadableStream(),
                (error) => error
              )
      }
    }
  }
}

const isStream = (content: Outgoing["content"]): content is Stream.Stream<Uint8Array, unknown> =>
  content !== undefined && !(content instanceof Uint8Array)

/** Sends a request; returns the response when its head has come. */
export const send = (
  context: Context,
  request: HttpClientRequest,
  url: URL,
  signal: AbortSignal
): Effect.Effect<Response, RequestError> =>
  Effect.flatMap(Effect.runtime(), (runtime) => sendIn(runtime, context, request, url, signal))

/** The content is read in the runtime of whoever asks. */
const sendIn = (
  runtime: Runtime.Runtime<never>,
  context: Context,
  request: HttpClientRequest,
  url: URL,
  signal: AbortSignal
): Effect.Effect<Response, RequestError> =>
  Effect.async<Response, RequestError>((resume) => {
    const { maxHeadSize, name, open, quota, scheme } = context
    let stream: HttpStream | undefined
    let sending: Fiber.RuntimeFiber<unknown, unknown> | undefined
    let isOver = false
    let isSent = false
    let isReceived = false
    let isEmpty = false
    let leave = constVoid
    const path = `${url.pathname}${url.search}`

    const body = HttpContent.make(context, {
      pause: () => stream?.pause(),
      resume: () => stream?.resume(),
      stop: () => cancel()
    })

    const fail = (description: string, cause?: unknown, reason: RequestError["reason"] = "Transport") => {
      body.fail(new Error(description))
      resume(Effect.fail(new RequestError({ request, reason, description, cause })))
      cancel()
    }

    const cancel = () => {
      leave()
      if (!isOver) {
        finish()
        stream?.cancel()
      }
    }

    const finish = () => {
      isOver = true
      body.release()
      signal.removeEventListener("abort", cancel)
      stopSending()
    }

    const finishWhenDone = () => {
      if (isSent && isReceived && !isOver) {
        finish()
      }
    }

    const stopSending = () => {
      const fiber = sending
      sending = undefined
      if (fiber !== undefined) {
        Fiber.interruptUnsafe(fiber)
      }
    }

    const answer: Answer = {
      onHead: ({ fields, status }) => {
        isEmpty = withoutContent.has(status) || request.method === "HEAD"
        try {
          const headers = HttpContent.headersOf(fields)
          resume(Effect.succeed(new Response(isEmpty ? null : body.stream, { status, headers })))
        } catch (cause) {
          fail(`status ${status} can't be read`, cause)
        }
      },
      onData: (chunk) => {
        if (isEmpty) {
          // Nobody could read it.
          cancel()
        } else {
          body.push(chunk)
        }
      },
      onEnd: () => {
        isReceived = true
        body.end()
        body.release()
        finishWhenDone()
      },
      onStopped: () => {
        isSent = true
        stopSending()
        finishWhenDone()
      },
      onGone: (why) => fail(why)
    }

    const sendStream = (to: HttpStream, content: Stream.Stream<Uint8Array, unknown>) =>
      Stream.runForEach(content, (chunk) =>
        chunk.length === 0
          ? Effect.void
          : Effect.async<void>((resume) => {
              to.write(chunk, () => resume(Effect.void))
            })
      ).pipe(
        Effect.matchCause({
          // It is interrupted where nobody wants it any more, and then there is nothing to say.
          onFailure: (cause) => {
            if (!isOver && !isSent) {
              fail("the request's content failed", cause, "Encode")
            }
          },
          onSuccess: () => {
            isSent = true
            to.end()
            finishWhenDone()
          }
        })
      )

    const start = () => {
      const { content, fields } = outgoing(request)
      if (!fields.every(([name, value]) => Fields.isName(name) && Fields.isValue(value))) {
        return fail("a header can't be sent", undefined, "Encode")
      }
      const head = { method: request.method, scheme, authority: url.host, path, fields }
      if (Fields.sectionSize(HttpFields.requestSection(head)) > maxHeadSize()) {
        return fail("the headers are larger than the peer takes", undefined, "Encode")
      }
      isSent = !isStream(content)
      const opened = open(head, isStream(content) ? undefined : content, isSent, answer)
      stream = opened
      if (isOver) {
        opened.cancel()
      } else if (isStream(content)) {
        sending = Runtime.runFork(runtime)(sendStream(opened, content))
      }
    }

    signal.addEventListener("abort", cancel, { once: true })
    leave = quota.acquire({ method: path, peer: name }, Number.POSITIVE_INFINITY, start, ({ message }) => fail(message))
    return Effect.sync(cancel)
  })
