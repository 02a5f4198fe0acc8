/** Bytes that wait, first in, first out: copied when they come and not again, however many they are and however they leave. */

export interface ByteQueue {
  size: number
  /** Full from end to end, but for the last. */
  readonly blocks: Array<Buffer>
  /** Where the bytes of the last end. */
  end: number
}

/** Chunks from this size on are blocks of their own; smaller ones share a block, which grows up to twice this. */
const minBlockBytes = 4096

const none = Buffer.alloc(0)

export const make = (): ByteQueue => ({ size: 0, blocks: [], end: 0 })

/** Room for so many bytes behind the last: in the last block, in a larger copy of it, or in a new one. */
const makeRoom = (queue: ByteQueue, size: number): Buffer => {
  const { blocks, end } = queue
  const last = blocks.pop()
  const needed = end + size
  if (last !== undefined && needed <= last.length) {
    blocks.push(last)
    return last
  }
  if (last !== undefined && size < minBlockBytes && needed <= 2 * minBlockBytes) {
    const larger = Buffer.allocUnsafeSlow(Math.min(2 * minBlockBytes, Math.max(needed, 2 * last.length)))
    last.copy(larger, 0, 0, end)
    blocks.push(larger)
    return larger
  }
  if (last !== undefined) {
    blocks.push(last.subarray(0, end))
  }
  const block = Buffer.allocUnsafeSlow(size)
  blocks.push(block)
  queue.end = 0
  return block
}

/** Adds a copy of a chunk. */
export const push = (queue: ByteQueue, chunk: Buffer): void => {
  if (chunk.length > 0) {
    const block = makeRoom(queue, chunk.length)
    queue.end += chunk.copy(block, queue.end)
    queue.size += chunk.length
  }
}

/** Takes the first bytes, as many as lie together: none only of a queue that is empty. */
export const shift = (queue: ByteQueue): Buffer => {
  const { blocks, end } = queue
  const first = blocks.shift() ?? none
  const taken = blocks.length === 0 ? first.subarray(0, end) : first
  queue.size -= taken.length
  if (blocks.length === 0) {
    queue.end = 0
  }
  return taken
}

/** Puts back what was not needed of the bytes that were taken last. */
export const unshift = (queue: ByteQueue, bytes: Buffer): void => {
  if (bytes.length > 0) {
    if (queue.blocks.length === 0) {
      queue.end = bytes.length
    }
    queue.blocks.unshift(bytes)
    queue.size += bytes.length
  }
}

/** Drops all. */
export const clear = (queue: ByteQueue): void => {
  queue.size = 0
  queue.blocks.length = 0
  queue.end = 0
}
