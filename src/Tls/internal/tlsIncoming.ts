/** The calls that the other end opened on one connection: `ServerCalls` over the frames of docs/wire.md. */
import type { ServerWire } from "../../Calls/CallStream.js"
import * as ServerCalls from "../../Calls/ServerCalls.js"
import * as IdTable from "../../protocol/IdTable.js"
import * as Wire from "../../protocol/wire/Wire.js"
import type { Open } from "../../protocol/wire/WireFrames.js"
import type { Dropped } from "../../protocol/wire/WireState.js"
import * as ErrorDetails from "../../Transport/ErrorDetails.js"
import * as Metadata from "../../Transport/Metadata.js"
import type { StatusError } from "../../Transport/TransportError.js"
import { droppedError } from "./droppedError.js"
import type { Link } from "./tlsLink.js"

export interface Incoming {
  readonly onOpen: (id: number, open: Open) => void
  readonly onMessage: (id: number, message: Uint8Array, cost: number, costOnConnection: number) => void
  readonly onHalfClose: (id: number) => void
  readonly onCancel: (id: number) => void
  readonly onDropped: (id: number, reason: Dropped) => void
  /** Interrupts the handlers when the connection has ended. */
  readonly interrupt: () => void
  readonly size: () => number
  /** Whether a call is in flight whose handler has ended: some of its answer is still to be sent. */
  readonly isAnswering: () => boolean
  /** There may be room for answers that wait. */
  readonly onRoom: () => void
}

const noDetails = new Uint8Array(0)

export const make = (link: Link, server: ServerCalls.Server): Incoming => {
  const { settings, wire } = link
  const streams = IdTable.make<ServerCalls.ServerStream<number>>()

  const finish = (id: number, error: StatusError | undefined, { entries: metadata }: Metadata.Metadata) =>
    wire.sendTrailers(
      id,
      error === undefined
        ? { code: 0, message: "", details: noDetails, metadata }
        : { code: error.code, message: error.message, details: ErrorDetails.encodeToSend(error), metadata }
    )

  const serverWire: ServerWire<number> = {
    maxMessageSize: () => Math.min(settings.maxSendMessageSize, wire.peerSettings()?.maxMessageSize ?? 0),
    maxMetadataSize: () => Math.min(settings.maxMetadataSize, wire.peerSettings()?.maxMetadataSize ?? 0),
    isFull: () => wire.unsent() > settings.maxUnsentBytes,
    headers: (id, headers) => {
      if (headers.entries.length > 0) {
        wire.sendHeaders(id, headers.entries)
      }
    },
    message: (id, bytes, sent) => wire.sendMessage(id, bytes, false, sent),
    reply: (id, message, headers, trailers) => {
      const isOnePiece =
        message.length <= Wire.maxPiece && Metadata.byteSize(headers) + Metadata.byteSize(trailers) <= Wire.maxMetadata
      if (isOnePiece) {
        wire.sendReply(id, { message, headers: headers.entries, trailers: trailers.entries })
      }
      return isOnePiece
    },
    finish,
    // The frames of an unfinished message end with it.
    abort: finish,
    flush: link.flush,
    release: wire.consumed,
    schedule: setImmediate,
    ended: streams.remove,
    useless: link.useless,
    onThrown: link.onThrown
  }
  const calls = ServerCalls.make(serverWire, server, link)

  const cancel = (id: number) => {
    const call = streams.get(id)
    if (call !== undefined) {
      calls.onReset(call)
    }
  }

  return {
    onOpen: (id, open) => {
      const call = calls.accept(id, open.path, Metadata.unsafeFromEntries(open.metadata), open.timeout)
      if (call !== undefined) {
        streams.add(id, call)
        calls.begin(call, open.message, open.halfClosed)
      }
    },
    onMessage: (id, message, cost, costOnConnection) => {
      const call = streams.get(id)
      if (call !== undefined) {
        calls.onMessage(call, message, cost, costOnConnection)
      }
    },
    onHalfClose: (id) => {
      const call = streams.get(id)
      if (call !== undefined) {
        calls.onHalfClose(call)
      }
    },
    onCancel: cancel,
    onDropped: (id, reason) => {
      const call = streams.get(id)
      if (call !== undefined) {
        calls.fail(call, droppedError(reason, settings))
      }
    },
    interrupt: () => {
      for (const id of streams.ids()) {
        cancel(id)
      }
    },
    size: streams.size,
    isAnswering: () => {
      for (const id of streams.ids()) {
        const call = streams.get(id)
        const hasAnswer = call?.answer !== undefined || call?.incoming.response.headersSent
        if (hasAnswer && call?.handler === undefined) {
          return true
        }
      }
      return false
    },
    onRoom: calls.onRoom
  }
}
