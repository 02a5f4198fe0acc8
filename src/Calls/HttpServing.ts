/** Plain HTTP requests beside calls, answered by a web handler. */
import { constVoid } from "effect/Function"
import type { Fields } from "../protocol/Fields.js"
import * as HttpFields from "../protocol/http/HttpFields.js"
import type { Visit } from "../Transport/internal/admissionGate.js"
import type { Boundary } from "../Transport/internal/boundary.js"
import * as EventLoop from "../Transport/internal/eventLoop.js"
import * as Timers from "../Transport/internal/timers.js"
import type { Peer } from "../Transport/Peer.js"
import type { StatusError } from "../Transport/TransportError.js"
import * as HttpAdmission from "./HttpAdmission.js"
import * as HttpContent from "./HttpContent.js"
import type { Handler } from "./HttpMounts.js"

/** The stream of a request, for its answer. Nothing has an effect on one that is over. */
export interface HttpStream extends HttpContent.Source {
  /** Sends the head of the answer, which is all of it where that `isLast`. */
  readonly sendHead: (section: Fields, isLast: boolean) => void
  /** Sends content; calls `sent` when there is room for more. One piece at a time. */
  readonly write: (content: Uint8Array, sent: () => void) => void
  /** Ends the answer. */
  readonly end: () => void
  /** Wants no more of the request. */
  readonly stop: () => void
  /** Resets the stream for a fault of this end. */
  readonly fail: () => void
}

/** The parts of a connection that its requests need. */
export interface Context extends HttpContent.Context {
  readonly scheme: "https" | "http"
  readonly peer: Peer
  /** The address of the other end, for the log. */
  readonly name: string
  readonly boundary: Boundary
  /** The connection's place in the admission of its listener. */
  readonly visit?: Visit | undefined
  /** Counts a request that cost work and brought nothing. */
  readonly useless: () => void
}

/** What comes on the stream of a request behind its head. */
export interface Body {
  readonly onData: (chunk: Buffer) => void
  readonly onEnd: () => void
  /** The peer has given the request up, or is gone. */
  readonly onGone: () => void
}

const ignored: Body = { onData: constVoid, onEnd: constVoid, onGone: constVoid }

const hasContent = (method: string) => method !== "GET" && method !== "HEAD"

/** Answers with nothing but a head. */
const sendStatus = (stream: HttpStream, status: number, fields: Fields = []): Body => {
  stream.sendHead(HttpFields.responseSection({ status, fields: [...fields, ["content-length", "0"]] }), true)
  stream.stop()
  return ignored
}

/** Answers with nothing but a status. */
export const refuse = ({ useless }: Pick<Context, "useless">, stream: HttpStream, status: number): Body => {
  useless()
  return sendStatus(stream, status)
}

const turnAway = (stream: HttpStream, error: StatusError): Body => {
  const { fields, status } = HttpAdmission.refusalOf(error)
  return sendStatus(stream, status, fields)
}

/** The status for a request that nothing answers: gRPC's own (415) where there is a method, which it does not call. */
export const statusOfNone = (isMethod: boolean): number => (isMethod ? 415 : 404)

/** An authority that ends where the path begins. */
const authorityPattern = /^[^/?#@\\]+$/

/** The web request of a head; undefined where there is none, as for CONNECT, TRACE and an authority that is no host. */
const requestOf = (
  scheme: Context["scheme"],
  { authority = "", fields, method, path = "" }: HttpFields.RequestHead,
  content: HttpContent.HttpContent,
  signal: AbortSignal
): Request | undefined => {
  if (!authorityPattern.test(authority) || !path.startsWith("/")) {
    return undefined
  }
  try {
    return new Request(`${scheme}://${authority}${path}`, {
      method,
      headers: HttpContent.headersOf(fields),
      signal,
      ...(hasContent(method) ? { body: content.stream, duplex: "half" } : {})
    })
  } catch {
    return undefined
  }
}

/** Lets others go on where an answer has kept the event loop for long. */
const nextTurn = () => new Promise<void>((resolve) => setImmediate(resolve))

/** Answers a request, if it is let in. `onDone` is called when the answer has been written, or is no longer wanted. */
export const serve = (
  context: Context,
  stream: HttpStream,
  head: HttpFields.RequestHead,
  handler: Handler,
  onDone: () => void
): Body => {
  const { boundary, name, peer, scheme, visit } = context
  const gone = new AbortController()
  const content = HttpContent.make(context, stream)
  const request = requestOf(scheme, head, content, gone.signal)
  let isDone = false
  let reader: ReadableStreamDefaultReader<Uint8Array> | undefined
  /** Ends the wait for what was written last to be taken, or for the time until more may be sent. */
  let resume = constVoid

  if (request === undefined) {
    content.release()
    onDone()
    return refuse(context, stream, 400)
  }
  const pass = HttpAdmission.enter(visit, head)
  if (pass !== undefined && pass._tag !== "Pass") {
    content.release()
    onDone()
    return turnAway(stream, pass)
  }

  const done = () => {
    if (!isDone) {
      isDone = true
      content.release()
      pass?.ended(false, 0)
      onDone()
    }
  }

  const write = (bytes: Uint8Array) =>
    new Promise<void>((resolve) => {
      resume = resolve
      stream.write(bytes, resolve)
    })

  const pause = (millis: number) =>
    new Promise<void>((resolve) => {
      const stop = Timers.after(millis, resolve)
      resume = () => {
        stop()
        resolve()
      }
    })

  const writeAll = async (body: ReadableStream<Uint8Array>) => {
    reader = body.getReader()
    for (let next = await reader.read(); !next.done && !gone.signal.aborted; next = await reader.read()) {
      if (next.value.length > 0) {
        await write(next.value)
      }
      const delay = pass?.sent(next.value.length) ?? 0
      if (delay > 0 && !gone.signal.aborted) {
        await pause(delay)
      }
      if (EventLoop.shouldYield()) {
        await nextTurn()
      }
    }
    await reader.cancel()
    stream.end()
  }

  const respond = async ({ body, headers, status }: Response) => {
    if (status < 200) {
      throw new Error(`a handler answered with status ${status}`)
    }
    const isEmpty = body === null || head.method === "HEAD"
    stream.sendHead(HttpFields.responseSection({ status, fields: HttpContent.fieldsOf(headers) }), isEmpty)
    await (isEmpty ? body?.cancel() : writeAll(body))
    stream.stop()
  }

  const answer = async () => respond(await handler(request, peer))

  const begin = () =>
    answer()
      // A handler that fails, and an answer that is cut off.
      .catch((cause) => {
        stream.fail()
        if (!gone.signal.aborted) {
          boundary.caught("handler", name, cause)
        }
      })
      .finally(done)
      .catch((cause) => boundary.caught("engine", name, cause))

  let stopWaiting = constVoid
  if (pass?.waiting === undefined) {
    begin()
  } else {
    stopWaiting = HttpAdmission.wait(pass.waiting, begin, (error) => {
      // On the stack of a timer, or of the call that takes its place.
      const fail = () => boundary.guard("engine", name, stream.fail, constVoid)
      boundary.guard("engine", name, () => void turnAway(stream, error), fail)
      done()
    })
  }

  return {
    onData: (chunk) => {
      if (hasContent(head.method)) {
        content.push(chunk)
      }
    },
    onEnd: content.end,
    onGone: () => {
      stopWaiting()
      gone.abort()
      resume()
      // Also where it waits for more: whoever produces it would never learn that nobody wants it.
      reader?.cancel().catch(constVoid)
      content.fail(new Error("the client has given the request up"))
      done()
    }
  }
}
