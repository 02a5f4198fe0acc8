/** Ordinary HTTP requests on a connection that calls run on too. */
import { RequestError } from "@effect/platform/HttpClientError"
import type { HttpClientRequest } from "@effect/platform/HttpClientRequest"
import * as Effect from "effect/Effect"
import { constVoid } from "effect/Function"
import * as Runtime from "effect/Runtime"
import * as Stream from "effect/Stream"
import * as HttpContent from "../../Calls/HttpContent.js"
import * as Fiber from "../../effect/Fiber.js"
import * as Fields from "../../protocol/Fields.js"
import * as HttpFields from "../../protocol/http/HttpFields.js"
import { nameOf } from "../../protocol/http3/Http3Error.js"
import * as Frames from "../../protocol/http3/Http3Frames.js"
import * as Http3Message from "../../protocol/http3/Http3Message.js"
import * as Varint from "../../protocol/quic/Varint.js"
import { type Link, maxFieldSectionSize } from "./quicLink.js"

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

/** Sends a request; gives the response when its head has come. */
export const send = (
  link: Link,
  request: HttpClientRequest,
  url: URL,
  signal: AbortSignal
): Effect.Effect<Response, RequestError> =>
  Effect.flatMap(Effect.runtime(), (runtime) => sendIn(runtime, link, request, url, signal))

/** The content is read in the runtime of whoever asks. */
const sendIn = (
  runtime: Runtime.Runtime<never>,
  link: Link,
  request: HttpClientRequest,
  url: URL,
  signal: AbortSignal
): Effect.Effect<Response, RequestError> =>
  Effect.async<Response, RequestError>((resume) => {
    const { name, session, settings, quota, writer } = link
    let stream: number | undefined
    let sending: Fiber.RuntimeFiber<unknown, unknown> | undefined
    let isOver = false
    let leave = constVoid
    const path = `${url.pathname}${url.search}`

    const body = HttpContent.make(link, {
      pause: () => stream !== undefined && session.pause(stream),
      resume: () => stream !== undefined && session.resume(stream),
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
        isOver = true
        if (stream !== undefined) {
          session.cancel(stream, "H3_REQUEST_CANCELLED")
        }
        finish()
      }
    }

    const finish = () => {
      isOver = true
      body.release()
      signal.removeEventListener("abort", cancel)
      if (sending !== undefined) {
        Fiber.interruptUnsafe(sending)
      }
    }

    const onHead = ({ fields, status }: HttpFields.ResponseHead) => {
      const isEmpty = withoutContent.has(status) || request.method === "HEAD"
      try {
        const headers = HttpContent.headersOf(fields)
        resume(Effect.succeed(new Response(isEmpty ? null : body.stream, { status, headers })))
      } catch (cause) {
        fail(`status ${status} can't be read`, cause)
      }
    }

    const onEnd = () => {
      body.end()
      body.release()
    }

    const sendStream = (to: number, content: Stream.Stream<Uint8Array, unknown>) =>
      Stream.runForEach(content, (chunk) =>
        Effect.async<void>((resume) => {
          Frames.writeData(writer, chunk)
          session.write(to, Varint.take(writer), false, () => resume(Effect.void))
          return Effect.sync(cancel)
        })
      ).pipe(
        Effect.matchCause({
          onFailure: (cause) => fail("the request's content failed", cause, "Encode"),
          onSuccess: () => session.write(to, Frames.lastData, true)
        })
      )

    const start = () => {
      const { content, fields } = outgoing(request)
      if (!fields.every(([name, value]) => Fields.isName(name) && Fields.isValue(value))) {
        return fail("a header can't be sent", undefined, "Encode")
      }
      const kind = Http3Message.responses(
        {
          onInformational: session.useless,
          onUseless: session.useless,
          onHead,
          onData: body.push,
          onTrailers: constVoid,
          onEnd
        },
        { maxFieldSectionSize: maxFieldSectionSize(settings), method: request.method }
      )
      const opened = session.open(
        {
          onBytes: Http3Message.receive,
          onReset: (code) => fail(`the peer broke the answer off: ${nameOf(code)}`),
          onStopped: constVoid,
          onViolation: ({ text }) => fail(`the answer breaks the rules of HTTP/3: ${text}`),
          onLost: (why) => fail(why)
        },
        Http3Message.make(kind, undefined)
      )
      stream = opened
      Frames.writeHeaders(
        writer,
        HttpFields.requestSection({ method: request.method, scheme: "https", authority: url.host, path, fields })
      )
      if (content instanceof Uint8Array) {
        Frames.writeData(writer, content)
      }
      session.write(opened, Varint.take(writer), !isStream(content))
      if (isStream(content)) {
        sending = Runtime.runFork(runtime)(sendStream(opened, content))
      }
    }

    signal.addEventListener("abort", cancel, { once: true })
    leave = quota.acquire({ method: path, peer: name }, Number.POSITIVE_INFINITY, start, ({ message }) => fail(message))
    return Effect.sync(cancel)
  })

const isStream = (content: Outgoing["content"]): content is Stream.Stream<Uint8Array, unknown> =>
  content !== undefined && !(content instanceof Uint8Array)
