/**
 * The messages of one direction of a call that streams, both ways.
 */
import * as Chunk from "effect/Chunk"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Stream from "effect/Stream"
import * as Inbox from "../Transport/internal/inbox.js"
import * as Turns from "../Transport/internal/turns.js"
import type { Link } from "./tlsLink.js"

/** A message as it came, and what it costs of the windows. */
export type Received = readonly [message: Uint8Array, cost: number]

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
      for (const [, cost] of taken) {
        size += cost
      }
      link.wire.consumed(id(), size)
      link.flush()
    }
  })

/** Sends the messages of a stream one after the other, each when there is credit for it. */
export const sendAll = <A, E, E2>(
  link: Link,
  id: () => number,
  messages: Stream.Stream<A, E>,
  encode: (message: A) => Either.Either<Uint8Array, E2>
): Effect.Effect<void, E | E2> =>
  Stream.runForEachChunk(messages, (chunk) =>
    Effect.async<void, E2>((resume) => {
      const { length } = chunk
      let isStopped = false
      let next = 0
      /** Sends until one has to wait, and goes on when that is sent. */
      const send = () => {
        while (next < length && !isStopped) {
          if (Turns.isLong()) {
            link.flush()
            return setImmediate(send)
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
      })
    })
  )
