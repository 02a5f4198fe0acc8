/** gzip without holding up the event loop: what is small at once, what is larger in the threads of libuv. */
import * as Zlib from "node:zlib"

/** What is at most this large, compressed or not, costs less at once than in another thread. */
export const maxInlineBytes = 64 * 1024

/** No gzip member is smaller: RFC 1952 section 2.3. */
const minMemberBytes = 18

/** Node cuts smaller chunks from a pool, which a slice would keep. */
const minChunkBytes = 4096

/** What compressed bytes come to. */
export type Inflated = Uint8Array | "TooLarge" | "Malformed"

/** Programs get no `Buffer` that they would not get without compression. */
const plain = ({ buffer, byteOffset, length }: Buffer): Uint8Array => new Uint8Array(buffer, byteOffset, length)

const codeOf = (cause: unknown): unknown =>
  typeof cause === "object" && cause !== null && "code" in cause ? cause.code : undefined

/** The size that the last member claims to have (ISIZE): it tells how much room to make, and nothing that is relied on. */
const claimedSize = (bytes: Uint8Array): number =>
  new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength).getUint32(bytes.length - 4, true)

/** Inflates at once, to at most `maxSize` bytes; or returns "Later" for what is too large for that. */
export const inflateNow = (bytes: Uint8Array, maxSize: number): Inflated | "Later" => {
  if (bytes.length < minMemberBytes) {
    return "Malformed"
  }
  const claimed = claimedSize(bytes)
  if (bytes.length > maxInlineBytes || claimed > maxInlineBytes) {
    return "Later"
  }
  // A byte more than there is to come, so that zlib sees the end without another chunk.
  const chunkSize = Math.max(minChunkBytes, claimed + 1)
  const maxOutputLength = Math.max(1, Math.min(maxSize, maxInlineBytes))
  try {
    const inflated = Zlib.gunzipSync(bytes, { chunkSize, maxOutputLength })
    if (inflated.length > maxSize) {
      return "TooLarge"
    }
    // As a slice of a larger chunk it would keep all of that.
    return inflated.length + 1 === chunkSize ? plain(inflated) : new Uint8Array(inflated)
  } catch (cause) {
    if (codeOf(cause) !== "ERR_BUFFER_TOO_LARGE") {
      return "Malformed"
    }
    return maxSize <= maxInlineBytes ? "TooLarge" : "Later"
  }
}

/**
 * Inflates in another thread. `onGrown` is called with what each step adds, `onDone` once at the end, neither before this
 * returns, nor after what it returns was called: that gives up.
 */
export const inflate = (
  bytes: Uint8Array,
  maxSize: number,
  onGrown: (size: number) => void,
  onDone: (result: Inflated) => void
): (() => void) => {
  const chunks: Array<Buffer> = []
  let size = 0
  let isOver = false
  const gunzip = Zlib.createGunzip({ chunkSize: maxInlineBytes })
  const end = (result: Inflated) => {
    if (!isOver) {
      isOver = true
      gunzip.destroy()
      onDone(result)
    }
  }
  gunzip.on("data", (chunk: Buffer) => {
    if (isOver) {
      return
    }
    size += chunk.length
    if (size > maxSize) {
      return end("TooLarge")
    }
    chunks.push(chunk)
    onGrown(chunk.length)
  })
  gunzip.on("end", () => end(plain(Buffer.concat(chunks, size))))
  gunzip.on("error", () => end("Malformed"))
  gunzip.end(bytes)
  return () => {
    isOver = true
    gunzip.destroy()
  }
}

/** Compresses at once. */
export const deflateNow = (bytes: Uint8Array): Uint8Array => Zlib.gzipSync(bytes)

/** As many threads as libuv has by default; each that compresses takes 256 KiB beside its output. */
const maxDeflating = 4

/** Of the process: its threads are too. */
let deflating = 0
const waiting: Array<() => void> = []

const deflateNext = () => {
  while (deflating < maxDeflating) {
    const start = waiting.shift()
    if (start === undefined) {
      return
    }
    start()
  }
}

/**
 * Compresses in another thread. `onDone` is called once, not before this returns, with nothing if it can't be done, nor after
 * what this returns was called: that gives up.
 */
export const deflate = (bytes: Uint8Array, onDone: (deflated: Uint8Array | undefined) => void): (() => void) => {
  let isOver = false
  const start = () => {
    if (isOver) {
      return
    }
    deflating += 1
    Zlib.gzip(bytes, (error, deflated) => {
      deflating -= 1
      deflateNext()
      if (!isOver) {
        onDone(error === null ? deflated : undefined)
      }
    })
  }
  waiting.push(start)
  deflateNext()
  return () => {
    isOver = true
  }
}
