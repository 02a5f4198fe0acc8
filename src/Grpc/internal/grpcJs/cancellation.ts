/** Cancels calls of grpc-js so that the peer is told, whenever that happens. */
import type * as Grpc from "@grpc/grpc-js"
import { constVoid } from "effect/Function"
import * as SubchannelCall from "./subchannelCall.js"

type Call = ReturnType<Grpc.ChannelInterface["createCall"]>

const cancelled = 1

const cancelAgain = (call: Call, details: string) => call.cancelWithStatus(cancelled, details)

/** What a call is given to begin on that shall not begin. */
const nowhere = {
  getTarget: () => "",
  createRetryingCall: () => ({
    start: constVoid,
    startRead: constVoid,
    sendMessageWithContext: constVoid,
    halfClose: constVoid,
    cancelWithStatus: constVoid,
    getCallNumber: () => 0,
    getDeadlineInfo: () => [],
    getPeer: () => ""
  })
}

/**
 * Cancels a call, whenever it began. grpc-js opens the stream of a call some microtasks after its start, even if it was
 * cancelled in between, and would leave it open. It then opens none; where another grpc-js keeps its channel elsewhere, it is
 * cancelled again when the stream is there to be reset.
 */
export const cancel = (call: Call, details: string): void => {
  call.cancelWithStatus(cancelled, details)
  if (Reflect.get(call, "child") === null && Reflect.has(call, "channel")) {
    Reflect.set(call, "channel", nowhere)
  } else {
    setImmediate(cancelAgain, call, details)
  }
}

/**
 * Makes cancelling reset the call's stream without ending it first. Node ends a stream before it resets it, and what the
 * peer then sees are requests that are complete: an upload that was cancelled would be taken for the whole.
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
    const stream = SubchannelCall.http2Stream(call)
    if (!complete && stream !== undefined && !stream.writableEnded) {
      stream._final = (callback) => callback()
    }
    cancel(status, details)
  }
}
