/** The error codes of HTTP/2 by name, and how a peer that breaks the rules is reported. */

/** RFC 9113 section 7. */
export const codes = {
  NO_ERROR: 0,
  PROTOCOL_ERROR: 1,
  INTERNAL_ERROR: 2,
  FLOW_CONTROL_ERROR: 3,
  SETTINGS_TIMEOUT: 4,
  STREAM_CLOSED: 5,
  FRAME_SIZE_ERROR: 6,
  REFUSED_STREAM: 7,
  CANCEL: 8,
  COMPRESSION_ERROR: 9,
  CONNECT_ERROR: 10,
  ENHANCE_YOUR_CALM: 11,
  INADEQUATE_SECURITY: 12,
  HTTP_1_1_REQUIRED: 13
} as const

export type Http2Code = keyof typeof codes

const isCode = (name: string): name is Http2Code => Object.hasOwn(codes, name)

const names: ReadonlyArray<Http2Code> = Object.keys(codes).filter(isCode)

/** The name of a code off the wire. One that is not known means what INTERNAL_ERROR means. */
export const nameOf = (code: number): Http2Code | undefined => names[code]

/**
 * A peer broke a rule of docs/http2.md that ends the connection. Thrown while bytes are read, and caught where the connection
 * is closed. What ends a stream alone is not thrown: the stream is reset, and its owner told.
 */
export class Http2Violation extends Error {
  override readonly name = "Http2Violation"
  constructor(
    readonly code: Http2Code,
    readonly text: string
  ) {
    super(`${code}: ${text}`)
  }
}

export const protocolError = (text: string): Http2Violation => new Http2Violation("PROTOCOL_ERROR", text)
