/**
 * The messages of calls on their way out. Large ones begin only while those that have begun fit the budget that the peer
 * has for unfinished ones; and answers that the peer does not read wait with their handlers.
 */
import type { GrpcCompression } from "../../Calls/GrpcCompression.js"
import * as IdTable from "../../protocol/IdTable.js"
import * as Varint from "../../protocol/quic/Varint.js"
import * as ReassemblyBudget from "../../protocol/ReassemblyBudget.js"
import type { Compression } from "../../Transport/Connection.js"
import type { Settings } from "../QuicOptions.js"
import type { Http3Session } from "./http3Session.js"
import * as QuicMessages from "./quicMessages.js"

/**
 * Sizes of large messages that have begun together. Half of the `connectionWindow` that a peer has by default, which no
 * setting of HTTP/3 tells: those of which the last packets are lost are finished here and not there.
 */
const maxBegun = 4 * 1024 * 1024

/** Messages of this size count; of smaller ones a hundred calls fit the other half. */
const largeMessage = 32 * 1024

export interface Sending {
  /**
   * Sends a message behind what was written to the link's writer, compressed where that is asked. `sent` is called when all of it has been handed on, at
   * once where there is room, and never where the call ends before. One at a time on each stream.
   */
  readonly send: (id: number, message: Uint8Array, compression: Compression, fin: boolean, sent: () => void) => void
  /** Whether a large message of a stream has begun, so that nothing else can be said on it before that has left. */
  readonly isMidMessage: (id: number) => boolean
  /** The call is over: what waits is dropped. */
  readonly forget: (id: number) => void
  /** Whether more is unsent than may be, so that further answers wait. */
  readonly isFull: () => boolean
  /** Goes on with what waits, as far as there is room. */
  readonly advance: () => void
  readonly unsent: () => number
}

interface Outgoing {
  readonly id: number
  readonly message: Uint8Array
  readonly isCompressed: boolean
  readonly fin: boolean
  readonly sent: () => void
  hasBegun: boolean
}

/** What of a connection its messages on their way out need. */
export interface Context {
  readonly session: Http3Session
  readonly settings: Pick<Settings, "maxUnsentBytes">
  readonly compression: GrpcCompression
  /** For what is written at once. */
  readonly writer: Varint.Writer
}

export const make = ({ compression, session, settings, writer }: Context): Sending => {
  const budget = ReassemblyBudget.make<Outgoing>()
  const large = IdTable.make<Outgoing>()
  /** Those that have not begun, in the order in which they came. */
  const queue: Array<Outgoing> = []
  let queued = 0
  const own = Varint.makeWriter()
  let isAdvancing = false

  const unsent = () => session.quic.unsent() + queued + compression.pending()
  const isFull = () => unsent() > settings.maxUnsentBytes

  const write = (
    to: Varint.Writer,
    id: number,
    message: Uint8Array,
    isCompressed: boolean,
    fin: boolean,
    sent: () => void
  ) => {
    const rest = QuicMessages.write(to, message, isCompressed)
    if (rest === undefined) {
      session.write(id, Varint.take(to), fin, sent)
    } else {
      session.write(id, Varint.take(to), false)
      session.write(id, rest, fin, sent)
    }
  }

  const mayBegin = (outgoing: Outgoing) =>
    ReassemblyBudget.mayBegin(budget, outgoing, outgoing.message.length, maxBegun)

  const begin = (outgoing: Outgoing) => {
    const { fin, id, isCompressed, message, sent } = outgoing
    outgoing.hasBegun = true
    ReassemblyBudget.begin(budget, message.length)
    ReassemblyBudget.leave(budget, outgoing)
    write(own, id, message, isCompressed, fin, () => {
      if (large.get(id) === outgoing) {
        end(outgoing)
        sent()
        beginQueued()
      }
    })
  }

  const end = ({ hasBegun, id, message }: Outgoing) => {
    large.remove(id)
    if (hasBegun) {
      ReassemblyBudget.end(budget, message.length)
    }
  }

  const beginQueued = () => {
    if (isAdvancing) {
      return
    }
    isAdvancing = true
    for (let [first] = queue; first !== undefined && mayBegin(first); [first] = queue) {
      queue.shift()
      queued -= first.message.length
      begin(first)
    }
    isAdvancing = false
  }

  /** Sends what stands in the writer: what follows may take longer. */
  const sendWritten = (id: number) => {
    const written = Varint.take(writer)
    if (written.length > 0) {
      session.write(id, written, false)
    }
  }

  const send = (id: number, message: Uint8Array, isCompressed: boolean, fin: boolean, sent: () => void) => {
    if (message.length < largeMessage) {
      return write(writer, id, message, isCompressed, fin, sent)
    }
    sendWritten(id)
    const outgoing: Outgoing = { id, message, isCompressed, fin, sent, hasBegun: false }
    large.add(id, outgoing)
    if (mayBegin(outgoing)) {
      begin(outgoing)
    } else {
      queue.push(outgoing)
      queued += message.length
    }
  }

  return {
    send: (id, message, encoding, fin, sent) => {
      if (encoding === "identity") {
        return send(id, message, false, fin, sent)
      }
      const now = compression.compressNow(message)
      if (now !== undefined) {
        return send(id, now.bytes, now.isCompressed, fin, sent)
      }
      sendWritten(id)
      compression.compressLater(id, message, (bytes, isCompressed) => send(id, bytes, isCompressed, fin, sent))
    },
    isMidMessage: (id) => large.get(id)?.hasBegun === true,
    forget: (id) => {
      compression.forget(id)
      const outgoing = large.get(id)
      if (outgoing === undefined) {
        return
      }
      end(outgoing)
      if (!outgoing.hasBegun) {
        ReassemblyBudget.leave(budget, outgoing)
        queue.splice(queue.indexOf(outgoing), 1)
        queued -= outgoing.message.length
      }
      beginQueued()
    },
    isFull,
    advance: beginQueued,
    unsent
  }
}
