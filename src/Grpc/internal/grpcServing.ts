/** The streams that the other end of a connection opens: calls, and plain requests beside them. */
import { constVoid } from "effect/Function"
import * as GrpcServerHead from "../../Calls/GrpcServerHead.js"
import type * as ServerCalls from "../../Calls/ServerCalls.js"
import * as GrpcIncoming from "./grpcIncoming.js"
import type { Link, Streams } from "./grpcLink.js"

/** What owns a stream of the peer's. */
export type Owner = GrpcIncoming.ServerStream

export const make = (link: Link<Owner>, server: ServerCalls.Server): Streams<Owner> => {
  const { http2, useless } = link
  const calls = GrpcIncoming.make(link, server)

  const onGone = (owner: Owner | undefined) => {
    if (owner !== undefined) {
      calls.onGone(owner)
    }
  }

  return {
    onRequest: (stream, head) => {
      if (GrpcServerHead.isGrpc(head)) {
        return calls.onRequest(stream, head)
      }
      useless()
      const status = server.routes.has(head.path ?? "") ? 415 : 404
      http2.sendHeaders(
        stream,
        undefined,
        [
          [":status", String(status)],
          ["content-length", "0"]
        ],
        true
      )
      http2.reset(stream, "NO_ERROR")
    },
    // Servers get no responses.
    onResponse: constVoid,
    onTooLarge: (stream, isTrailers) => (isTrailers ? useless() : calls.onTooLarge(stream)),
    onData: (stream, bytes) => {
      const { owner } = stream
      if (owner === undefined) {
        http2.consume(stream, bytes.length)
      } else {
        calls.onData(owner, bytes)
      }
    },
    onTrailers: constVoid,
    onEnd: ({ owner }) => {
      if (owner !== undefined) {
        calls.onEnd(owner)
      }
    },
    onReset: ({ owner }) => {
      useless()
      onGone(owner)
    },
    // A client that goes away still gets its answers.
    onGoaway: constVoid,
    onLost: () => {
      for (const { owner } of http2.streams()) {
        onGone(owner)
      }
    },
    onRoom: calls.onRoom,
    size: http2.theirs
  }
}
