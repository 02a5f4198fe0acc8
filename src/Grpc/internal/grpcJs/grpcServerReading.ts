/** How the messages of a client's call are read, with a flow control of our own: what nobody has taken holds up the peer. */
import type * as Http2 from "node:http2"
import type * as Grpc from "@grpc/grpc-js"
import * as Duration from "effect/Duration"
import type { Deadline } from "../../../Calls/Deadlines.js"
import * as GrpcMessage from "../../../protocol/grpc/GrpcMessage.js"
import type { Settings } from "../../GrpcJsOptions.js"
import type { GrpcConnection } from "./grpcConnection.js"
import * as GrpcHttp2 from "./grpcHttp2.js"
import type * as ReceiveWindow from "./receiveWindow.js"

/** Reading stops at this many messages or bytes that the handler has not taken. */
const maxUnreadMessages = 64
const maxUnreadBytes = 256 * 1024

/** What reading tells of. */
export interface Events {
  /** Runs what may throw for the call. */
  readonly guarded: (f: () => void) => void
  /** The stream has ended, or nothing more that comes on it is looked at. */
  readonly isOver: () => boolean
  /** Whether messages go to a call that is not over. */
  readonly isTaken: () => boolean
  readonly onMessage: (message: Uint8Array) => void
  readonly onBroken: (why: GrpcMessage.Broken) => void
  /** A message, or the request of a unary call, was not whole in time. */
  readonly onOverdue: () => void
}

export interface Reading {
  /** The head has been taken: what comes behind it is read. */
  readonly begin: () => void
  /** A message that grpc-js has read itself, where it gives its content to nobody else. */
  readonly onMessage: (message: Uint8Array) => void
  readonly release: (cost: number) => void
  /** Somebody waits for the next message. */
  readonly onWaiting: () => void
  /** All has come. Returns whether it ends within a message. */
  readonly halfClose: () => boolean
  /** Nothing is overdue any more. */
  readonly disarm: () => void
  readonly end: () => void
}

export const make = (
  grpcCall: Grpc.ServerInterceptingCallInterface,
  http2: Http2.ServerHttp2Stream | undefined,
  settings: Pick<Settings, "maxReceiveMessageSize" | "messageTimeout">,
  isUnary: boolean,
  { deadlines, window }: Pick<GrpcConnection, "deadlines" | "window">,
  { guarded, isOver, isTaken, onBroken, onMessage, onOverdue }: Events
): Reading => {
  const decoder = GrpcMessage.makeDecoder(settings.maxReceiveMessageSize)
  let unreadMessages = 0
  let isAwaited = false
  let isWanted = false
  let isHalfClosed = false
  let isReading = false
  let isReceiving = false
  let isBegun = false
  let overdue: Deadline | undefined

  /** From when a message has begun until it ends; with a unary call, until the request does. */
  const arm = () => {
    overdue ??= deadlines.add(Duration.toMillis(settings.messageTimeout), onOverdue)
  }

  const disarm = () => {
    deadlines.remove(overdue)
    overdue = undefined
  }

  const reader: ReceiveWindow.Reader = {
    unfinished: 0,
    unread: 0,
    isHeld: false,
    isAwaited: () => isAwaited,
    onHeld: () => {
      if (reader.isHeld) {
        disarm()
      } else if (reader.unfinished > 0) {
        arm()
      }
      flow()
    }
  }

  const flow = () => {
    const isOn = isWanted && !reader.isHeld
    if (http2 !== undefined && !isReceiving && isOn !== isReading && !isOver()) {
      isReading = isOn
      if (isOn) {
        http2.resume()
      } else {
        http2.pause()
      }
    }
  }

  /** Reads the next message while few wait, so that reading and handling overlap; the rest is left to HTTP/2's flow control. */
  const read = () => {
    const isRoom = unreadMessages < maxUnreadMessages && reader.unread < maxUnreadBytes
    if (!isWanted && !isHalfClosed && (isRoom || isUnary)) {
      isWanted = true
      if (takesData) {
        flow()
      } else {
        grpcCall.startRead()
      }
    }
  }

  const take = (message: Uint8Array) => {
    isWanted = false
    isAwaited = false
    if (!isTaken()) {
      return
    }
    unreadMessages += 1
    window.hold(reader, message.length)
    onMessage(message)
    if (isUnary && isTaken()) {
      arm()
    }
    read()
  }

  const messages: GrpcMessage.Events<undefined> = { onMessage: take, onBroken }

  const onData = (data: Buffer) =>
    guarded(() => {
      if (isOver() || !isBegun) {
        return
      }
      isReceiving = true
      GrpcMessage.receive(decoder, messages, undefined, data)
      isReceiving = false
      const size = decoder.isBroken ? 0 : GrpcMessage.pendingSize(decoder)
      if (size > 0) {
        arm()
        window.begin(reader, size)
      } else if (reader.unfinished > 0) {
        window.begin(reader, 0)
        if (!isUnary) {
          disarm()
        }
      }
      flow()
    })

  const takesData = http2 !== undefined && GrpcHttp2.takeData(grpcCall, onData)

  return {
    begin: () => {
      isBegun = true
      if (isUnary) {
        read()
      }
      if (takesData) {
        // It tells of the end of the content only where it was asked to read.
        grpcCall.startRead()
        isReading = true
        flow()
      }
    },
    onMessage: take,
    release: (cost) => {
      if (isUnary || cost === reader.unread) {
        unreadMessages = 0
      }
      window.release(reader, cost)
      read()
    },
    onWaiting: () => {
      isAwaited = true
      read()
    },
    halfClose: () => {
      if (GrpcMessage.isMidMessage(decoder)) {
        return true
      }
      isHalfClosed = true
      if (isUnary) {
        disarm()
      }
      return false
    },
    disarm,
    end: () => {
      disarm()
      window.end(reader)
    }
  }
}
