import { Duplex } from "node:stream"
import type * as Grpc from "@grpc/grpc-js"

type Call = ReturnType<Grpc.ChannelInterface["createCall"]>

/** Where grpc-js 1.14 keeps the HTTP/2 stream of a call. Nothing public leads to it. */
const pathToStream = ["child", "underlyingCalls", "0", "call", "child", "http2Stream"]

const http2StreamOf = (call: Call): unknown =>
  pathToStream.reduce<unknown>(
    (value, key) => (typeof value === "object" && value !== null ? Reflect.get(value, key) : undefined),
    call
  )

/**
 * Makes cancelling reset the call's stream without ending it first. Node ends a stream before it resets it, and what the
 * peer then sees are requests that are complete: an upload that was broken off would be taken for the whole.
 *
 * Where another grpc-js keeps the stream elsewhere, cancelling works as it does there.
 */
export const resetOnly = (call: Call): void => {
  const cancel = call.cancelWithStatus.bind(call)
  const halfClose = call.halfClose.bind(call)
  let complete = false
  call.halfClose = () => {
    complete = true
    halfClose()
  }
  // The deadline of the call comes this way too.
  call.cancelWithStatus = (status, details) => {
    const stream = http2StreamOf(call)
    if (!complete && stream instanceof Duplex && !stream.writableEnded) {
      stream._final = (callback) => callback()
    }
    cancel(status, details)
  }
}
