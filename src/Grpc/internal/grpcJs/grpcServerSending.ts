/** What the call of a client is answered with, over the callbacks of grpc-js: headers, messages and a status. */
import * as Http2 from "node:http2"
import * as Grpc from "@grpc/grpc-js"
import * as GrpcEncoding from "../../../protocol/grpc/GrpcEncoding.js"
import type * as Metadata from "../../../Transport/Metadata.js"
import * as GrpcMetadata from "./GrpcMetadata.js"
import * as GrpcStatus from "./GrpcStatus.js"
import type { GrpcConnection, ServerStream } from "./grpcConnection.js"

/** How long the status of a call that is aborted may take to leave, behind messages that its caller has not read. */
const flushMillis = 1000

const ok = { code: Grpc.status.OK, details: "" }

const plainHead = new Grpc.Metadata()
plainHead.set(GrpcEncoding.acceptName, GrpcEncoding.identity)

/** Response headers. grpc-js would say of itself that it inflates. */
const headOf = (metadata: Metadata.Metadata): Grpc.Metadata => {
  if (metadata.entries.length === 0) {
    return plainHead
  }
  const head = GrpcMetadata.toGrpc(metadata)
  head.set(GrpcEncoding.acceptName, GrpcEncoding.identity)
  return head
}

export interface Sending extends Pick<ServerStream, "headers" | "message" | "finish" | "abort"> {
  /** Whether the status has been sent. */
  readonly isAnswered: () => boolean
  /** The call is over. What has not left is kept until its stream is closed, and counts until then. */
  readonly end: () => void
}

/** `guarded` runs what may throw for the call; `onSent` is called before something is sent. */
export const make = (
  grpcCall: Grpc.ServerInterceptingCallInterface,
  http2: Http2.ServerHttp2Stream | undefined,
  { deadlines, unsent }: Pick<GrpcConnection, "deadlines" | "unsent">,
  guarded: (f: () => void) => void,
  onSent: () => void
): Sending => {
  let isAnswered = false
  /** Bytes of messages that are on their way. */
  let pending = 0

  const release = (size: number) => {
    pending -= size
    unsent(-size)
  }

  const sendStatus = (status: Parameters<typeof grpcCall.sendStatus>[0]) => {
    isAnswered = true
    grpcCall.sendStatus(status)
  }

  const finish: Sending["finish"] = (error, trailers) => {
    if (isAnswered) {
      return
    }
    if (error !== undefined) {
      return sendStatus(GrpcStatus.toStatus(error, trailers))
    }
    sendStatus(trailers.entries.length === 0 ? ok : { ...ok, metadata: GrpcMetadata.toGrpc(trailers) })
  }

  return {
    headers: (metadata) =>
      guarded(() => {
        onSent()
        grpcCall.sendMetadata(headOf(metadata))
      }),
    message: (bytes, sent) =>
      guarded(() => {
        if (isAnswered) {
          return
        }
        onSent()
        pending += bytes.length
        unsent(bytes.length)
        grpcCall.sendMessage(GrpcMetadata.asBuffer(bytes), () =>
          guarded(() => {
            sent()
            release(Math.min(pending, bytes.length))
          })
        )
      }),
    finish,
    abort: (error, trailers) => {
      finish(error, trailers)
      deadlines.add(flushMillis, () => http2?.close(Http2.constants.NGHTTP2_CANCEL))
    },
    isAnswered: () => isAnswered,
    end: () => {
      if (pending === 0) {
        return
      }
      const releaseAll = () => release(pending)
      if (http2 === undefined || http2.closed) {
        releaseAll()
      } else {
        http2.once("close", releaseAll)
      }
    }
  }
}
