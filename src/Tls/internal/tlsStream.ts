/**
 * The messages of one direction of a call that streams, both ways.
 */
import * as Chunk from "effect/Chunk"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Stream from "effect/Stream"
import * as Inbox from "../../Calls/Inbox.js"
import type { Waiting } from "../../Calls/Waiting.js"
import type { Dropped } from "../../protocol/wire/WireState.js"
import * as Turns from "../../Transport/internal/eventLoop.js"
import { DeadlineExceeded, ResourceExhausted } from "../../Transport/TransportError.js"
import type { Settings } from "../TlsOptions.js"
import type { Link } from "./tlsLink.js"

/** A message as it came, and what it costs of the windows of the call and of the connection. */
export type Received = readonly [message: Uint8Array, cost: number, costOnConnection: number]

/** The most messages that are decoded at a time, so that others have their turn. */
const maxTaken = 256

/** Messages on their way to a reader, which gives back their credit. What comes in one turn is read in one. */
export const makeInbox = <A, E>(
  link: Link,
  id: () => number,
  decode: (message: Uint8Array) => Either.Either<A, E>
): Inbox.Inbox<Received, A, E> =>
  Inbox.make<Received, A, E>({
    decode: ([message]) => decode(message),
    maxTaken,
    schedule: setImmediate,
    onTaken: (taken) => {
      let size = 0
      let sizeOnConnection = 0
      for (const [, cost, costOnConnection] of taken) {
        size += cost
        sizeOnConnection += costOnConnection
      }
      link.wire.consumed(id(), size, sizeOnConnection)
      link.flush()
    }
  })

/** The error of a call whose message was dropped before it was whole. */
export const droppedError = (
  reason: Dropped,
  { connectionWindow, maxReceiveMessageSize, messageTimeout }: Settings,
  where?: { readonly method: string; readonly peer: string }
): ResourceExhausted | DeadlineExceeded => {
  switch (reason) {
    case "TooLarge":
      return new ResourceExhausted({
        message: `the received message has more than the ${maxReceiveMessageSize} bytes allowed`,
        ...where
      })
    case "OverBudget":
      return new ResourceExhausted({
        message: `the unfinished messages of the connection have more than the ${connectionWindow} bytes allowed`,
        ...where
      })
    case "Overdue":
      return new DeadlineExceeded({
        message: `the message was not finished within ${Duration.format(messageTimeout)}`,
        ...where
      })
  }
}

/** Sends the messages of a stream one after the other, each when there is credit for it and nothing waits before it. */
export const sendAll = <A, E, E2>(
  link: Link,
  id: () => number,
  messages: Stream.Stream<A, E>,
  encode: (message: A) => Either.Either<Uint8Array, E2>,
  room?: { readonly isFull: () => boolean; readonly waiting: Waiting }
): Effect.Effect<void, E | E2> =>
  Stream.runForEachChunk(messages, (chunk) =>
    Effect.async<void, E2>((resume) => {
      const { length } = chunk
      let isStopped = false
      let next = 0
      /** Sends until one has to wait, and goes on when that is sent. */
      const send = () => {
        try {
          sendSome()
        } catch (cause) {
          link.onThrown(cause)
        }
      }
      const sendSome = () => {
        while (next < length && !isStopped) {
          if (Turns.isLong()) {
            link.flush()
            return setImmediate(send)
          }
          if (room?.isFull() === true) {
            room.waiting.add(send)
            return link.flush()
          }
          const bytes = encode(Chunk.unsafeGet(chunk, next))
          if (Either.isLeft(bytes)) {
            return resume(Effect.fail(bytes.left))
          }
          next += 1
          if (!sendOne(bytes.right)) {
            return link.flush()
          }
        }
        link.flush()
        resume(Effect.void)
      }
      /** Whether it was sent at once. */
      const sendOne = (bytes: Uint8Array): boolean => {
        let isAtOnce = true
        let isSent = false
        link.wire.sendMessage(id(), bytes, false, () => {
          isSent = true
          if (!isAtOnce) {
            send()
          }
        })
        isAtOnce = false
        return isSent
      }
      send()
      return Effect.sync(() => {
        isStopped = true
        room?.waiting.remove(send)
      })
    })
  )
