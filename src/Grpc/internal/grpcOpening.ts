/** The streams that this end opens on a connection: calls, and plain requests beside them. */
import type { RequestError } from "@effect/platform/HttpClientError"
import type { HttpClientRequest } from "@effect/platform/HttpClientRequest"
import type * as Effect from "effect/Effect"
import { constVoid } from "effect/Function"
import * as HttpRequests from "../../Calls/HttpRequests.js"
import * as StreamQuota from "../../Calls/StreamQuota.js"
import type { Connection } from "../../Transport/Connection.js"
import type { Link, Streams } from "./grpcLink.js"
import * as GrpcOutgoing from "./grpcOutgoing.js"
import * as Http2Client from "./http2Client.js"

/** What owns a stream of this end. */
export type Owner = GrpcOutgoing.ClientStream<Owner> | Http2Client.ClientRequest

/** Sends a plain request; returns the response when its head has come. */
export type Send = (request: HttpClientRequest, url: URL, signal: AbortSignal) => Effect.Effect<Response, RequestError>

export interface Opening extends Streams<Owner> {
  readonly connection: Connection
  readonly send: Send
  /** Cancels all calls and requests. */
  readonly cancelAll: () => void
}

const own = (owner: Owner): Owner => owner

export const make = (link: Link<Owner>, scheme: "https" | "http", authority: string): Opening => {
  const { boundary, deadlines, http2, name } = link
  const quota = StreamQuota.make(http2.canOpen, link.isLost, deadlines, (cause) =>
    boundary.caught("engine", name, cause)
  )
  const calls = GrpcOutgoing.make<Owner>(link, scheme, authority, quota, own)
  const requests: HttpRequests.Context = {
    ...link,
    scheme,
    quota,
    maxHeadSize: () => http2.peerSettings()?.maxHeaderListSize ?? Number.POSITIVE_INFINITY,
    open: Http2Client.opening(link, quota, own)
  }

  /** Those that are open, whatever ends while they are looked at. */
  const owners = (): ReadonlyArray<Owner> =>
    Array.from(http2.streams(), ({ owner }) => owner).filter((owner) => owner !== undefined)

  return {
    connection: calls.connection,
    send: (request, url, signal) => HttpRequests.send(requests, request, url, signal),
    // HTTP/2 allows no requests from a server.
    onRequest: constVoid,
    onResponse: ({ owner }, head) => {
      if (owner?._tag === "Call") {
        calls.onResponse(owner, head)
      } else {
        owner?.onHead(head)
      }
    },
    onTooLarge: ({ owner }, isTrailers) => {
      if (owner?._tag === "Call") {
        calls.onTooLarge(owner)
      } else {
        owner?.onTooLarge(isTrailers)
      }
    },
    onData: (stream, bytes) => {
      const { owner } = stream
      if (owner?._tag === "Call") {
        calls.onData(owner, stream, bytes)
      } else {
        owner?.onData(bytes)
      }
    },
    onTrailers: ({ owner }, fields) => {
      if (owner?._tag === "Call") {
        calls.onTrailers(owner, fields)
      }
    },
    onEnd: ({ owner }) => {
      if (owner?._tag === "Call") {
        calls.onEnd(owner)
      } else {
        owner?.onEnd()
      }
    },
    onReset: ({ isRemoteDone, owner }, code, by, text) => {
      if (owner?._tag === "Call") {
        calls.onReset(owner, isRemoteDone, code, by, text)
      } else {
        owner?.onReset(isRemoteDone, code, by, text)
      }
    },
    onGoaway: (last, code, text) => {
      for (const { id, owner } of http2.streams()) {
        if (id > last && owner !== undefined) {
          if (owner._tag === "Call") {
            calls.onUnprocessed(owner, code, text)
          } else {
            owner.onGone("the peer goes away, and has not processed the request")
          }
        }
      }
    },
    onLeaving: quota.advance,
    onLost: (why) => {
      for (const owner of owners()) {
        if (owner._tag === "Call") {
          calls.onLost(owner, why)
        } else {
          owner.onGone(why)
        }
      }
      quota.advance()
    },
    onRoom: constVoid,
    cancelAll: () => {
      for (const owner of owners()) {
        if (owner._tag === "Call") {
          calls.cancel(owner)
        } else {
          owner.onGone("the client was closed")
        }
      }
    },
    size: http2.openCount
  }
}
