/** A client's connection to one listener: both ends of its calls, which hand each other what a wire would carry. */
import { constFalse, constVoid } from "effect/Function"
import * as Option from "effect/Option"
import * as CallErrors from "../../Calls/CallErrors.js"
import type { ClientCall, ClientWire, ServerWire } from "../../Calls/CallStream.js"
import * as ClientCalls from "../../Calls/ClientCalls.js"
import type { Deadlines } from "../../Calls/Deadlines.js"
import * as ServerCalls from "../../Calls/ServerCalls.js"
import * as StreamQuota from "../../Calls/StreamQuota.js"
import * as Entries from "../../protocol/Entries.js"
import * as IdTable from "../../protocol/IdTable.js"
import type { Connection } from "../../Transport/Connection.js"
import * as EventLoop from "../../Transport/internal/eventLoop.js"
import * as Status from "../../Transport/internal/status.js"
import * as Metadata from "../../Transport/Metadata.js"
import type { StatusError } from "../../Transport/TransportError.js"
import type { Listening, Settings } from "./network.js"

/** Messages that wait between the two sides of a call, in each direction, before the sender has to wait. */
const window = 16

/** A call, as both ends know it. */
interface Stream {
  readonly id: number
  readonly call: ClientCall<Stream>
  /** Until the listener has it. */
  opening: Opening | undefined
  server: ServerCalls.ServerStream<Stream> | undefined
  unreadRequests: number
  unreadAnswers: number
  /** Called when there is room for the next. */
  requestSent: (() => void) | undefined
  answerSent: (() => void) | undefined
}

interface Opening {
  readonly timeout: number
  message: Uint8Array | undefined
  isHalfClosed: boolean
}

export interface MemoryLink {
  readonly listening: Listening
  readonly connection: Connection
  /** Ends all calls: the client is closed. */
  readonly close: () => void
}

const noProgress = { answered: constVoid, timedOut: constVoid }

/** `onClosed` is called when the listener, or this connection, has ended. */
export const make = (
  listening: Listening,
  settings: Settings,
  peer: string,
  deadlines: Deadlines,
  onClosed: () => void
): MemoryLink => {
  const { boundary } = listening.server
  const maxMetadataSize = () => Math.min(settings.maxMetadataSize, listening.settings.maxMetadataSize)
  const streams = IdTable.make<Stream>()
  let nextId = 0
  let isClosed = false
  /** Calls that the listener does not know yet. */
  let opened: Array<Stream> = []

  const onThrown = (cause: unknown) => {
    boundary.caught("engine", peer, cause)
    end()
  }

  // What a caller does must not run on its stack: a handler may call on.
  const deliver = () => {
    const begun = opened
    opened = []
    for (const stream of begun) {
      if (!stream.call.isOver) {
        try {
          begin(stream)
        } catch (cause) {
          onThrown(cause)
        }
      }
    }
  }

  const begin = (stream: Stream) => {
    const { call, opening } = stream
    stream.opening = undefined
    if (opening === undefined) {
      return
    }
    const metadata = Metadata.filter(call.options.metadata, Entries.isOfRequest)
    const server = serverCalls.accept(stream, call.where.method, metadata, opening.timeout)
    if (server === undefined) {
      return
    }
    stream.server = server
    if (call.isUnary) {
      return serverCalls.begin(server, opening.message, true)
    }
    serverCalls.begin(server, undefined, false)
    if (opening.message !== undefined) {
      request(stream, server, opening.message)
    }
    if (opening.isHalfClosed) {
      serverCalls.onHalfClose(server)
    }
  }

  const request = (stream: Stream, server: ServerCalls.ServerStream<Stream>, message: Uint8Array) => {
    stream.unreadRequests += 1
    serverCalls.onMessage(server, message, 1, 1)
    requestsRead(stream, 0)
  }

  const requestsRead = (stream: Stream, count: number) => {
    stream.unreadRequests -= count
    const { requestSent } = stream
    if (requestSent !== undefined && stream.unreadRequests < window) {
      stream.requestSent = undefined
      requestSent()
    }
  }

  const answersRead = (stream: Stream, count: number) => {
    stream.unreadAnswers -= count
    const { answerSent } = stream
    if (answerSent !== undefined && stream.unreadAnswers < window) {
      stream.answerSent = undefined
      answerSent()
    }
  }

  const clientWire: ClientWire<Stream> = {
    isClosed: () => isClosed,
    maxMetadataSize,
    maxMessageSize: () => settings.maxSendMessageSize,
    maxPathLength: Number.POSITIVE_INFINITY,
    open: (call, timeout, message) => {
      const stream: Stream = {
        id: nextId,
        call,
        opening: { timeout, message, isHalfClosed: false },
        server: undefined,
        unreadRequests: 0,
        unreadAnswers: 0,
        requestSent: undefined,
        answerSent: undefined
      }
      nextId += 1
      streams.add(stream.id, stream)
      if (opened.push(stream) === 1) {
        if (EventLoop.isLong()) {
          setImmediate(deliver)
        } else {
          queueMicrotask(deliver)
        }
      }
      return stream
    },
    message: (stream, message, sent) => {
      stream.requestSent = sent
      if (stream.opening !== undefined) {
        stream.opening.message = message
      } else if (stream.server !== undefined) {
        request(stream, stream.server, message)
      }
    },
    flush: constVoid,
    halfClose: ({ opening, server }) => {
      if (opening !== undefined) {
        opening.isHalfClosed = true
      } else if (server !== undefined) {
        serverCalls.onHalfClose(server)
      }
    },
    release: answersRead,
    cancel: ({ server }) => {
      if (server !== undefined) {
        serverCalls.onReset(server)
      }
    },
    ended: ({ id }) => {
      streams.remove(id)
    },
    onTimeout: constVoid,
    onThrown
  }

  const quota = StreamQuota.make(
    () => !isClosed && streams.size() < listening.settings.maxConcurrentStreams,
    () => isClosed,
    deadlines,
    onThrown
  )
  const clientCalls = ClientCalls.make({
    wire: clientWire,
    peer,
    settings,
    quota,
    deadlines,
    progress: noProgress,
    boundary
  })

  const ofResponse = (metadata: Metadata.Metadata) => Metadata.filter(metadata, Entries.isOfResponse)

  const finish = ({ call }: Stream, error: StatusError | undefined, trailers: Metadata.Metadata) => {
    const metadata = ofResponse(trailers)
    clientCalls.onTrailers(
      call,
      metadata,
      error === undefined ? undefined : Status.received(error, clientCalls.withinLimit(metadata), call.where)
    )
  }

  const serverWire: ServerWire<Stream> = {
    maxMessageSize: () => listening.settings.maxSendMessageSize,
    maxMetadataSize,
    isFull: constFalse,
    headers: ({ call }, metadata) => clientCalls.onHeaders(call, ofResponse(metadata)),
    message: (stream, bytes, sent) => {
      stream.unreadAnswers += 1
      stream.answerSent = sent
      clientCalls.onMessage(stream.call, bytes, 1, 1)
      answersRead(stream, 0)
    },
    reply: (stream, bytes, headers, trailers) => {
      clientCalls.onHeaders(stream.call, ofResponse(headers))
      clientCalls.onMessage(stream.call, bytes, 0, 0)
      finish(stream, undefined, trailers)
      return true
    },
    finish,
    abort: finish,
    flush: constVoid,
    release: requestsRead,
    ended: constVoid,
    useless: constVoid,
    onThrown
  }
  const serverCalls = ServerCalls.make(serverWire, listening.server, {
    connection: { peer: { address: "memory", identity: Option.none() } },
    deadlines,
    settings: listening.settings
  })

  const forEachStream = (f: (stream: Stream) => void) => {
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
    forEachStream(({ call, server }) => {
      if (server !== undefined) {
        serverCalls.onReset(server)
      }
      clientCalls.onReset(call, CallErrors.shutDown(call.where))
    })
  }

  const remove = listening.add({ goAway, end })

  const close = () => {
    remove()
    onClosed()
    goAway()
  }

  return {
    listening,
    connection: clientCalls.connection,
    close: () => {
      close()
      forEachStream(({ call }) => clientCalls.close(call))
    }
  }
}
