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

/** Starts something that calls `done` once when it is over; or returns false where nobody wants it any more. */
type Task = (done: () => void) => boolean

/** So many at a time. Of the process, since its threads are: those who look up names or read files wait for them too. */
const makeQueue = (maxRunning: number) => {
  const waiting: Array<Task> = []
  let running = 0
  const startSome = () => {
    while (running < maxRunning) {
      const task = waiting.shift()
      if (task === undefined) {
        return
      }
      running += task(done) ? 1 : 0
    }
  }
  const done = () => {
    running -= 1
    startSome()
  }
  return (task: Task) => {
    waiting.push(task)
    startSome()
  }
}

/** As many as libuv has threads by default. What is inflated takes 100 KiB beside its output, what is compressed 256 KiB. */
const inflateInTurn = makeQueue(4)
const deflateInTurn = makeQueue(4)

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
  let isOver = false
  let stop = () => {
    isOver = true
  }
  inflateInTurn((done) => {
    if (isOver) {
      return false
    }
    const chunks: Array<Buffer> = []
    let size = 0
    const gunzip = Zlib.createGunzip({ chunkSize: maxInlineBytes })
    stop = () => {
      if (!isOver) {
        isOver = true
        gunzip.destroy()
        done()
      }
    }
    const end = (result: Inflated) => {
      if (!isOver) {
        stop()
        onDone(result)
      }
    }
    gunzip.on("data", (chunk: Buffer) => {
      size += chunk.length
      if (size > maxSize) {
        return end("TooLarge")
      }
      if (!isOver) {
        chunks.push(chunk)
        onGrown(chunk.length)
      }
    })
    gunzip.on("end", () => end(plain(Buffer.concat(chunks, size))))
    gunzip.on("error", () => end("Malformed"))
    gunzip.end(bytes)
    return true
  })
  return () => stop()
}

/** Compresses at once. */
export const deflateNow = (bytes: Uint8Array): Uint8Array => Zlib.gzipSync(bytes)

/**
 * Compresses in another thread. `onDone` is called once, not before this returns, with nothing if it can't be done, nor after
 * what this returns was called: that gives up.
 */
export const deflate = (bytes: Uint8Array, onDone: (deflated: Uint8Array | undefined) => void): (() => void) => {
  let isOver = false
  deflateInTurn((done) => {
    if (!isOver) {
      Zlib.gzip(bytes, (error, deflated) => {
        done()
        if (!isOver) {
          onDone(error === null ? deflated : undefined)
        }
      })
    }
    return !isOver
  })
  return () => {
    isOver = true
  }
}
