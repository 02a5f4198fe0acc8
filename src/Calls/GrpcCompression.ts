/** The compression of the messages that a connection sends, "compression.md" of gRPC. */
import * as IdTable from "../protocol/IdTable.js"
import * as EventLoop from "../Transport/internal/eventLoop.js"
import * as Gzip from "./Gzip.js"

/** Smaller messages are sent as they are: there is little to gain. */
const minBytes = 1024

/** A message as it is sent. */
export interface Outgoing {
  readonly bytes: Uint8Array
  readonly isCompressed: boolean
}

export interface GrpcCompression {
  /** Compresses at once; undefined where that would take long. */
  readonly compressNow: (message: Uint8Array) => Outgoing | undefined
  /** Compresses in another thread, and sends it then. One message at a time of each stream. */
  readonly compressLater: (
    id: number,
    message: Uint8Array,
    send: (bytes: Uint8Array, isCompressed: boolean) => void
  ) => void
  /** The stream is over: what is being compressed for it is dropped. */
  readonly forget: (id: number) => void
  /** Bytes that are being compressed. */
  readonly pending: () => number
}

/** The parts of a connection that are needed here. */
export interface Context {
  /** Called when something was sent later. */
  readonly flush: () => void
  readonly onThrown: (cause: unknown) => void
}

interface Pending {
  readonly size: number
  readonly giveUp: () => void
}

/** What is sent: the message itself where compressing does not make it smaller. */
const smaller = (message: Uint8Array, deflated: Uint8Array | undefined): Outgoing =>
  deflated !== undefined && deflated.length < message.length
    ? { bytes: deflated, isCompressed: true }
    : { bytes: message, isCompressed: false }

export const make = ({ flush, onThrown }: Context): GrpcCompression => {
  const pending = IdTable.make<Pending>()
  let size = 0

  const remove = (id: number) => {
    const removed = pending.remove(id)
    size -= removed?.size ?? 0
    return removed
  }

  return {
    compressNow: (message) => {
      if (message.length < minBytes) {
        return { bytes: message, isCompressed: false }
      }
      return message.length > Gzip.maxInlineBytes || EventLoop.shouldYield()
        ? undefined
        : smaller(message, Gzip.deflateNow(message))
    },
    compressLater: (id, message, send) => {
      size += message.length
      const giveUp = Gzip.deflate(message, (deflated) => {
        try {
          remove(id)
          const { bytes, isCompressed } = smaller(message, deflated)
          send(bytes, isCompressed)
          flush()
        } catch (cause) {
          onThrown(cause)
        }
      })
      pending.add(id, { size: message.length, giveUp })
    },
    forget: (id) => remove(id)?.giveUp(),
    pending: () => size
  }
}
