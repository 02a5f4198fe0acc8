/**
 * The error codes of HTTP/3 by name, and how a peer that breaks the rules is reported.
 */

/** RFC 9114 section 8.1, RFC 9204 section 8.3 and RFC 9297 section 5.2. */
export const codes = {
  H3_DATAGRAM_ERROR: 0x33,
  H3_NO_ERROR: 0x100,
  H3_GENERAL_PROTOCOL_ERROR: 0x101,
  H3_INTERNAL_ERROR: 0x102,
  H3_STREAM_CREATION_ERROR: 0x103,
  H3_CLOSED_CRITICAL_STREAM: 0x104,
  H3_FRAME_UNEXPECTED: 0x105,
  H3_FRAME_ERROR: 0x106,
  H3_EXCESSIVE_LOAD: 0x107,
  H3_ID_ERROR: 0x108,
  H3_SETTINGS_ERROR: 0x109,
  H3_MISSING_SETTINGS: 0x10a,
  H3_REQUEST_REJECTED: 0x10b,
  H3_REQUEST_CANCELLED: 0x10c,
  H3_REQUEST_INCOMPLETE: 0x10d,
  H3_MESSAGE_ERROR: 0x10e,
  H3_CONNECT_ERROR: 0x10f,
  H3_VERSION_FALLBACK: 0x110,
  QPACK_DECOMPRESSION_FAILED: 0x200,
  QPACK_ENCODER_STREAM_ERROR: 0x201,
  QPACK_DECODER_STREAM_ERROR: 0x202
} as const

export type Http3Code = keyof typeof codes

const isCode = (name: string): name is Http3Code => Object.hasOwn(codes, name)

const names = new Map<number, Http3Code>()
for (const [name, code] of Object.entries(codes)) {
  if (isCode(name)) {
    names.set(code, name)
  }
}

/** The name of a code off the wire. One that is not known means what H3_NO_ERROR means: RFC 9114 section 9. */
export const nameOf = (code: number): Http3Code => names.get(code) ?? "H3_NO_ERROR"

/**
 * A peer broke the rules of docs/http3.md. Thrown while bytes are read, and caught where the stream is reset or the
 * connection closed.
 */
export class Http3Violation {
  constructor(
    readonly scope: "connection" | "stream",
    readonly code: Http3Code,
    readonly text: string
  ) {}
}

export const onConnection = (code: Http3Code, text: string): Http3Violation =>
  new Http3Violation("connection", code, text)

export const onStream = (code: Http3Code, text: string): Http3Violation => new Http3Violation("stream", code, text)
