/** Requests that are no calls, answered by a web handler. */
import { constVoid } from "effect/Function"
import * as GrpcFields from "../../protocol/grpc/GrpcFields.js"
import * as Fields from "../../protocol/http/HttpFields.js"
import * as Frames from "../../protocol/http3/Http3Frames.js"
import * as Varint from "../../protocol/quic/Varint.js"
import type { Body } from "./quicIncoming.js"
import type { Link } from "./quicLink.js"
import * as WebBody from "./webBody.js"

/** Answers a request. A rejection is the handler's own fault. */
export type Handler = (request: Request, link: Link) => Promise<Response>

const hasContent = (method: string) => method !== "GET" && method !== "HEAD"

/** Answers with nothing but a status. */
export const refuse = ({ session, writer }: Link, stream: number, status: number): Body => {
  session.useless()
  Frames.writeHeaders(writer, Fields.responseSection({ status, fields: [["content-length", "0"]] }))
  session.write(stream, Varint.take(writer), true)
  session.stop(stream, "H3_NO_ERROR")
  return { onData: constVoid, onEnd: constVoid, onGone: constVoid }
}

/** The status for a request that nothing answers: gRPC's own (415) where only the content-type is wrong. */
export const statusOfNone = (head: Fields.RequestHead, isMethod: boolean): number =>
  isMethod && !GrpcFields.isGrpc(GrpcFields.get(head.fields, "content-type")) ? 415 : 404

/** `onDone` is called when the answer has been written, or is no longer wanted. */
export const serve = (
  link: Link,
  head: Fields.RequestHead,
  stream: number,
  handler: Handler,
  onDone: () => void
): Body => {
  const { session, writer } = link
  const gone = new AbortController()
  const body = WebBody.make(
    link,
    () => stream,
    () => session.stop(stream, "H3_NO_ERROR")
  )
  let isDone = false
  let reader: ReadableStreamDefaultReader<Uint8Array> | undefined
  /** Ends the wait for what was written last to be taken. */
  let resume = constVoid

  const done = () => {
    if (!isDone) {
      isDone = true
      body.release()
      session.quic.watch(stream, false)
      onDone()
    }
  }

  const write = (bytes: Buffer) =>
    new Promise<void>((resolve) => {
      resume = resolve
      session.write(stream, bytes, false, resolve)
    })

  const respond = async (response: Response) => {
    Frames.writeHeaders(
      writer,
      Fields.responseSection({ status: response.status, fields: WebBody.fieldsOf(response.headers) })
    )
    if (response.body === null) {
      return session.write(stream, Varint.take(writer), true)
    }
    session.write(stream, Varint.take(writer), false)
    reader = response.body.getReader()
    for (let next = await reader.read(); !next.done && !gone.signal.aborted; next = await reader.read()) {
      const chunk = next.value
      Frames.writeDataHead(writer, chunk.length)
      session.write(stream, Varint.take(writer), false)
      await write(Buffer.from(chunk.buffer, chunk.byteOffset, chunk.length))
    }
    await reader.cancel()
    session.write(stream, Frames.lastData, true)
  }

  const answer = async () => {
    const request = new Request(`https://${head.authority ?? ""}${head.path ?? ""}`, {
      method: head.method,
      headers: WebBody.headersOf(head.fields),
      signal: gone.signal,
      ...(hasContent(head.method) ? { body: body.stream, duplex: "half" } : {})
    })
    await respond(await handler(request, link))
    session.stop(stream, "H3_NO_ERROR")
  }

  session.quic.watch(stream, true)
  answer()
    // What can't be made a request, as CONNECT and TRACE, a handler that fails, and an answer that breaks off.
    .catch((cause) => {
      session.cancel(stream, "H3_INTERNAL_ERROR")
      if (!gone.signal.aborted) {
        link.boundary.caught("handler", link.name, cause)
      }
    })
    .finally(done)
    .catch((cause) => link.boundary.caught("engine", link.name, cause))

  return {
    onData: (chunk) => {
      if (hasContent(head.method)) {
        body.push(chunk)
      }
    },
    onEnd: body.end,
    onGone: () => {
      gone.abort()
      resume()
      // Also where it waits for more: whoever produces it would never learn that nobody wants it.
      reader?.cancel().catch(constVoid)
      body.fail(new Error("the client has given the request up"))
      done()
    }
  }
}
