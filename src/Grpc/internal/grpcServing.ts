/** The streams that the other end of a connection opens: calls, and plain requests beside them. */
import { constVoid } from "effect/Function"
import * as GrpcServerHead from "../../Calls/GrpcServerHead.js"
import type * as ServerCalls from "../../Calls/ServerCalls.js"
import * as GrpcIncoming from "./grpcIncoming.js"
import type { Link, Streams } from "./grpcLink.js"
import * as Http2Requests from "./http2Requests.js"

/** What owns a stream of the peer's. */
export type Owner = GrpcIncoming.ServerStream<Owner> | Http2Requests.PlainRequest

export const make = (link: Link<Owner>, server: ServerCalls.Server, others: Http2Requests.Others): Streams<Owner> => {
  const { http2, useless } = link
  const { routes, visit } = server
  const calls = GrpcIncoming.make(link, server, (stream, call) => {
    stream.owner = call
  })

  const onGone = (owner: Owner | undefined) => {
    if (owner?._tag === "Call") {
      calls.onGone(owner)
    } else {
      owner?.onGone()
    }
  }

  return {
    onRequest: (stream, head) => {
      if (GrpcServerHead.isGrpc(head)) {
        return calls.onRequest(stream, head)
      }
      stream.owner = Http2Requests.serve(link, { ...others, visit }, stream, head, routes.has(head.path ?? ""))
    },
    // Servers get no responses.
    onResponse: constVoid,
    onTooLarge: (stream, isTrailers) => (isTrailers ? useless() : calls.onTooLarge(stream)),
    onData: (stream, bytes) => {
      const { owner } = stream
      if (owner?._tag === "Call") {
        calls.onData(owner, bytes)
      } else {
        owner?.onData(bytes)
      }
    },
    onTrailers: constVoid,
    onEnd: ({ owner }) => {
      if (owner?._tag === "Call") {
        calls.onEnd(owner)
      } else {
        owner?.onEnd()
      }
    },
    onReset: ({ owner }) => {
      useless()
      onGone(owner)
    },
    // A client that goes away still gets its answers.
    onGoaway: constVoid,
    onLeaving: constVoid,
    onLost: () => {
      for (const { owner } of http2.streams()) {
        onGone(owner)
      }
    },
    onRoom: calls.onRoom,
    size: http2.theirs
  }
}
