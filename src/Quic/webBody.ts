import type { Http3Session } from "./http3Session.js"

/** Bytes that wait for a reader of a body before the peer has to wait. */
const highWaterMark = 64 * 1024

/** The content of a message on its way to a web stream, no more of it than that has room for. */
export interface WebBody {
  readonly stream: ReadableStream<Uint8Array>
  readonly push: (chunk: Buffer) => void
  readonly end: () => void
  readonly fail: (error: Error) => void
}

/** `onCancel` is called when nobody wants the rest. */
export const make = (session: Http3Session, stream: () => number | undefined, onCancel: () => void): WebBody => {
  let controller: ReadableStreamDefaultController<Uint8Array> | undefined
  let isOver = false
  const over = (end: () => void) => {
    if (!isOver) {
      isOver = true
      end()
    }
  }
  return {
    stream: new ReadableStream<Uint8Array>(
      {
        start: (made) => {
          controller = made
        },
        pull: () => {
          const id = stream()
          if (id !== undefined) {
            session.resume(id)
          }
        },
        cancel: () => over(onCancel)
      },
      { highWaterMark, size: (chunk) => chunk?.length ?? 0 }
    ),
    push: (chunk) => {
      if (!isOver) {
        controller?.enqueue(Uint8Array.from(chunk))
        const id = stream()
        if ((controller?.desiredSize ?? 0) <= 0 && id !== undefined) {
          session.pause(id)
        }
      }
    },
    end: () => over(() => controller?.close()),
    fail: (error) => over(() => controller?.error(error))
  }
}

/** Fields that belong to a connection of HTTP/1 and not to a message (RFC 9114, section 4.2). */
const connectionFields = new Set([
  "connection",
  "host",
  "keep-alive",
  "proxy-connection",
  "transfer-encoding",
  "upgrade",
  "te"
])

/** The fields of a message to send. */
export const fieldsOf = (headers: Iterable<readonly [string, string]>): ReadonlyArray<readonly [string, string]> =>
  [...headers]
    .map(([name, value]) => [name.toLowerCase(), value.trim()] as const)
    .filter(([name]) => !connectionFields.has(name))

/** The fields of a message that came. */
export const headersOf = (fields: ReadonlyArray<readonly [string, string]>): Headers => {
  const headers = new Headers()
  for (const [name, value] of fields) {
    headers.append(name, value)
  }
  return headers
}
