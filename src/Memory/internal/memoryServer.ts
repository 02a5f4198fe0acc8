/** The listener's end of a client's connection: takes the calls that the client opens, and hands it their answers. */
import { constFalse, constVoid } from "effect/Function"
import * as Option from "effect/Option"
import type { ClientCalls } from "../../Calls/ClientCalls.js"
import type { Deadlines } from "../../Calls/Deadlines.js"
import * as ServerCalls from "../../Calls/ServerCalls.js"
import * as Entries from "../../protocol/Entries.js"
import * as EventLoop from "../../Transport/internal/eventLoop.js"
import * as Status from "../../Transport/internal/status.js"
import * as Metadata from "../../Transport/Metadata.js"
import type { StatusError } from "../../Transport/TransportError.js"
import { type MemoryStream, release } from "./memoryStream.js"
import type { Listening } from "./network.js"

export interface MemoryServer {
  /** Takes a call, a little later: what a caller does must not run on its stack, since a handler may call on. */
  readonly open: (stream: MemoryStream) => void
  readonly message: (stream: MemoryStream, message: Uint8Array) => void
  readonly halfClose: (stream: MemoryStream) => void
  readonly reset: (stream: MemoryStream) => void
}

export const make = (
  listening: Listening,
  client: ClientCalls<MemoryStream>,
  maxMetadataSize: () => number,
  deadlines: Deadlines,
  onThrown: (cause: unknown) => void
): MemoryServer => {
  /** Calls that the listener does not know yet. */
  let opened: Array<MemoryStream> = []

  const ofResponse = (metadata: Metadata.Metadata) => Metadata.filter(metadata, Entries.isOfResponse)

  const finish = ({ call }: MemoryStream, error: StatusError | undefined, trailers: Metadata.Metadata) => {
    const metadata = ofResponse(trailers)
    client.onTrailers(
      call,
      metadata,
      error === undefined ? undefined : Status.received(error, client.withinLimit(metadata), call.where)
    )
  }

  const calls = ServerCalls.make<MemoryStream>(
    {
      maxMessageSize: () => listening.settings.maxSendMessageSize,
      maxMetadataSize,
      isFull: constFalse,
      headers: ({ call }, metadata) => client.onHeaders(call, ofResponse(metadata)),
      message: ({ answers, call }, bytes, sent) => {
        answers.unread += 1
        answers.sent = sent
        client.onMessage(call, bytes, 1, 1)
        release(answers, 0)
      },
      reply: (stream, bytes, headers, trailers) => {
        client.onHeaders(stream.call, ofResponse(headers))
        client.onMessage(stream.call, bytes, 0, 0)
        finish(stream, undefined, trailers)
        return true
      },
      finish,
      abort: finish,
      flush: constVoid,
      release: ({ requests }, count) => release(requests, count),
      ended: constVoid,
      useless: constVoid,
      onThrown
    },
    listening.server,
    {
      connection: { peer: { address: "memory", identity: Option.none() } },
      deadlines,
      settings: listening.settings
    }
  )

  const request = ({ requests }: MemoryStream, server: ServerCalls.ServerStream<MemoryStream>, message: Uint8Array) => {
    requests.unread += 1
    calls.onMessage(server, message, 1, 1)
    release(requests, 0)
  }

  const begin = (stream: MemoryStream) => {
    const { call, opening } = stream
    stream.opening = undefined
    if (opening === undefined) {
      return
    }
    const metadata = Metadata.filter(call.options.metadata, Entries.isOfRequest)
    const server = calls.accept(stream, call.where.method, metadata, opening.timeout)
    if (server === undefined) {
      return
    }
    stream.server = server
    if (call.isUnary) {
      return calls.begin(server, opening.message, true)
    }
    calls.begin(server, undefined, false)
    if (opening.message !== undefined) {
      request(stream, server, opening.message)
    }
    if (opening.isHalfClosed) {
      calls.onHalfClose(server)
    }
  }

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

  return {
    open: (stream) => {
      if (opened.push(stream) === 1) {
        if (EventLoop.shouldYield()) {
          setImmediate(deliver)
        } else {
          queueMicrotask(deliver)
        }
      }
    },
    message: (stream, message) => {
      if (stream.opening !== undefined) {
        stream.opening.message = message
      } else if (stream.server !== undefined) {
        request(stream, stream.server, message)
      }
    },
    halfClose: ({ opening, server }) => {
      if (opening !== undefined) {
        opening.isHalfClosed = true
      } else if (server !== undefined) {
        calls.onHalfClose(server)
      }
    },
    reset: ({ server }) => {
      if (server !== undefined) {
        calls.onReset(server)
      }
    }
  }
}
