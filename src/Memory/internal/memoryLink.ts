/** A client's connection to one listener: both ends of its calls, which hand each other what a wire would carry. */
import { constVoid } from "effect/Function"
import * as Option from "effect/Option"
import * as CallErrors from "../../Calls/CallErrors.js"
import * as ClientCalls from "../../Calls/ClientCalls.js"
import type { Deadlines } from "../../Calls/Deadlines.js"
import * as StreamQuota from "../../Calls/StreamQuota.js"
import * as IdTable from "../../protocol/IdTable.js"
import type { Connection } from "../../Transport/Connection.js"
import type { Turned } from "../../Transport/internal/admissionGate.js"
import type { Peer } from "../../Transport/Peer.js"
import * as MemoryServer from "./memoryServer.js"
import * as MemoryStream from "./memoryStream.js"
import type { Listening, Settings } from "./network.js"

export interface MemoryLink {
  readonly listening: Listening
  readonly connection: Connection
  /** Ends all calls: the client is closed. */
  readonly close: () => void
}

const noProgress = { answered: constVoid, timedOut: constVoid }

/** Nobody proves anything here: all are one identity to an admission. */
const memoryPeer: Peer = { address: "memory", identity: Option.none() }

/**
 * A connection, or why the listener's admission turns it away. `onClosed` is called when the listener, or this connection, has
 * ended.
 */
export const make = (
  listening: Listening,
  settings: Settings,
  peer: string,
  deadlines: Deadlines,
  onClosed: () => void
): MemoryLink | Turned => {
  const { boundary } = listening.server
  const visit = listening.visit?.(memoryPeer, () => end())
  if (typeof visit === "string") {
    return visit
  }
  const maxMetadataSize = () => Math.min(settings.maxMetadataSize, listening.settings.maxMetadataSize)
  const streams = IdTable.make<MemoryStream.MemoryStream>()
  let nextId = 0
  let isClosed = false

  const onThrown = (cause: unknown) => {
    boundary.caught("engine", peer, cause)
    end()
  }

  const quota = StreamQuota.make(
    () => !isClosed && streams.size() < listening.settings.maxConcurrentStreams,
    () => isClosed,
    deadlines,
    onThrown
  )

  const calls = ClientCalls.make<MemoryStream.MemoryStream>({
    wire: {
      isClosed: () => isClosed,
      maxMetadataSize,
      maxMessageSize: () => settings.maxSendMessageSize,
      maxPathLength: Number.POSITIVE_INFINITY,
      open: (call, timeout, message) => {
        const stream = MemoryStream.make(nextId, call, timeout, message)
        nextId += 1
        streams.add(stream.id, stream)
        server.open(stream)
        return stream
      },
      message: (stream, message, sent) => {
        stream.requests.sent = sent
        server.message(stream, message)
      },
      flush: constVoid,
      halfClose: (stream) => server.halfClose(stream),
      release: ({ answers }, count) => MemoryStream.release(answers, count),
      cancel: (stream) => server.reset(stream),
      ended: ({ id }) => {
        streams.remove(id)
      },
      onTimeout: constVoid,
      onThrown
    },
    peer,
    settings,
    quota,
    deadlines,
    progress: noProgress,
    boundary
  })

  const admitting = { ...listening, server: { ...listening.server, visit } }
  const server = MemoryServer.make(admitting, calls, maxMetadataSize, deadlines, onThrown)

  const forEachStream = (f: (stream: MemoryStream.MemoryStream) => void) => {
    for (const [, stream] of streams.entries()) {
      f(stream)
    }
  }

  const goAway = () => {
    isClosed = true
    quota.advance()
  }

  const end = () => {
    close()
    forEachStream((stream) => {
      server.reset(stream)
      calls.onReset(stream.call, CallErrors.shutDown(stream.call.where))
    })
  }

  const remove = listening.add({ goAway, end })

  const close = () => {
    remove()
    visit?.leave()
    onClosed()
    goAway()
  }

  return {
    listening,
    connection: calls.connection,
    close: () => {
      close()
      forEachStream(({ call }) => calls.close(call))
    }
  }
}
