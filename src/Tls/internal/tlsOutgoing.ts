/** The calls that this end opens on one connection, on the frames of docs/wire.md. */
import { constVoid } from "effect/Function"
import * as CallErrors from "../../Calls/CallErrors.js"
import type { ClientCall } from "../../Calls/CallStream.js"
import * as ClientCalls from "../../Calls/ClientCalls.js"
import * as StreamQuota from "../../Calls/StreamQuota.js"
import type { Entries } from "../../protocol/Entries.js"
import * as IdTable from "../../protocol/IdTable.js"
import * as Wire from "../../protocol/wire/Wire.js"
import type { Goaway, Reply, Trailers } from "../../protocol/wire/WireFrames.js"
import type { Dropped } from "../../protocol/wire/WireState.js"
import type { Connection } from "../../Transport/Connection.js"
import * as StatusFields from "../../Transport/internal/statusFields.js"
import * as Metadata from "../../Transport/Metadata.js"
import { droppedError } from "./droppedError.js"
import type { Link } from "./tlsLink.js"

/** The calls that this end opened on one connection. */
export interface Outgoing {
  readonly connection: Connection
  readonly onHeaders: (id: number, headers: Entries) => void
  readonly onMessage: (id: number, message: Uint8Array, cost: number, costOnConnection: number) => void
  readonly onReply: (id: number, reply: Reply) => void
  readonly onTrailers: (id: number, trailers: Trailers) => void
  readonly onDropped: (id: number, reason: Dropped) => void
  readonly onGoaway: (goaway: Goaway) => void
  /** No more calls begin on the connection: fails those that wait for that. */
  readonly onLeaving: () => void
  /** Ends all calls when the connection has ended. */
  readonly fail: (why: string) => void
  /** Cancels all calls. */
  readonly cancelAll: () => void
  readonly size: () => number
}

export const make = (link: Link): Outgoing => {
  const { boundary, deadlines, flush, isLost, name, onThrown, probe, progress, settings, wire } = link
  const open = IdTable.make<ClientCall<number>>()
  const quota = StreamQuota.make(wire.canOpen, isLost, deadlines, (cause) => boundary.caught("engine", name, cause))

  const calls = ClientCalls.make<number>({
    wire: {
      isClosed: isLost,
      maxMetadataSize: () => Math.min(settings.maxMetadataSize, wire.peerSettings()?.maxMetadataSize ?? 0),
      maxMessageSize: () => Math.min(settings.maxSendMessageSize, wire.peerSettings()?.maxMessageSize ?? 0),
      maxPathLength: Wire.maxPath,
      open: (call, timeout, request) => {
        const { options, where } = call
        // A request that fits goes with the OPEN.
        const first = request !== undefined && request.length <= Wire.maxPiece ? request : undefined
        const head = { path: where.method, timeout, metadata: options.metadata.entries }
        const id = wire.open(head, first, first !== undefined)
        open.add(id, call)
        if (request !== undefined && first === undefined) {
          wire.sendMessage(id, request, true, constVoid)
        }
        return id
      },
      message: (id, message, sent) => wire.sendMessage(id, message, false, sent),
      flush,
      halfClose: wire.halfClose,
      release: wire.consumed,
      cancel: wire.cancel,
      ended: open.remove,
      schedule: setImmediate,
      onTimeout: (_, timeout) => probe(timeout),
      onThrown
    },
    peer: name,
    isReverse: link.isAccepted,
    settings,
    quota,
    deadlines,
    progress,
    boundary
  })

  return {
    connection: calls.connection,
    onHeaders: (id, headers) => {
      const call = open.get(id)
      if (call !== undefined) {
        calls.onHeaders(call, Metadata.unsafeFromEntries(headers))
      }
    },
    onMessage: (id, message, cost, costOnConnection) => {
      const call = open.get(id)
      if (call !== undefined) {
        calls.onMessage(call, message, cost, costOnConnection)
      }
    },
    onReply: (id, { headers, message, trailers }) => {
      const call = open.get(id)
      if (call !== undefined) {
        calls.onHeaders(call, Metadata.unsafeFromEntries(headers))
        calls.onMessage(call, message, 0, 0)
        calls.onTrailers(call, Metadata.unsafeFromEntries(trailers), undefined)
      }
    },
    onTrailers: (id, status) => {
      const call = open.get(id)
      if (call !== undefined) {
        const metadata = Metadata.unsafeFromEntries(status.metadata)
        calls.onTrailers(
          call,
          metadata,
          status.code === 0 ? undefined : StatusFields.toStatusError(status, calls.withinLimit(metadata), call.where)
        )
      }
    },
    onDropped: (id, reason) => {
      const call = open.get(id)
      if (call !== undefined) {
        calls.fail(call, droppedError(reason, settings, call.where))
      }
    },
    onGoaway: ({ lastCall, reason }) => {
      for (const [id, call] of open.entries()) {
        if (((id - lastCall) | 0) > 0) {
          calls.onUnprocessed(call, reason === "Shutdown" ? undefined : reason)
        }
      }
    },
    onLeaving: quota.advance,
    fail: (why) => {
      for (const [, call] of open.entries()) {
        calls.onReset(call, CallErrors.connectionLost(why, call.where))
      }
      quota.advance()
    },
    cancelAll: () => {
      for (const [, call] of open.entries()) {
        calls.close(call)
      }
    },
    size: open.size
  }
}
