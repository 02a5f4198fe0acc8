/** Text cut to a number of bytes. */
const encoder = new TextEncoder()

/** Text of at most so many bytes in UTF-8, cut at the end of a character. */
export const cut = (text: string, maxBytes: number): string =>
  // No UTF-16 unit takes more than three bytes.
  text.length * 3 <= maxBytes ? text : text.slice(0, encoder.encodeInto(text, new Uint8Array(maxBytes)).read)

/** The longest message of a status, in bytes of UTF-8: it travels in the trailers, whose size peers limit. */
export const maxStatusMessage = 4096
