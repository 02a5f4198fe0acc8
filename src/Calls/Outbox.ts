/** The messages of one direction of a call, on their way from a Stream to a wire. */
import * as Chunk from "effect/Chunk"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Stream from "effect/Stream"
import * as EventLoop from "../Transport/internal/eventLoop.js"
import type { Waiting } from "./Waiting.js"

/** What the calls of one connection share to send. */
export interface Outbox {
  /** Whether messages wait until others have left. */
  readonly isFull: () => boolean
  /** Where they wait. */
  readonly waiting: Waiting
  /** Called when nothing more is sent at once. */
  readonly flush: () => void
  /** Ends the connection for what was thrown where nobody waits for it. */
  readonly onThrown: (cause: unknown) => void
}

/**
 * Sends the messages of a stream one after the other, each when the one before has left and there is room. `send` calls
 * back, at once or later, when its message has left. Fails with the stream, or with what can't be encoded.
 */
export const sendAll = <A, E, E2>(
  { flush, isFull, onThrown, waiting }: Outbox,
  messages: Stream.Stream<A, E>,
  encode: (message: A) => Either.Either<Uint8Array, E2>,
  send: (bytes: Uint8Array, sent: () => void) => void
): Effect.Effect<void, E | E2> =>
  Stream.runForEachChunk(messages, (chunk) =>
    Effect.async<void, E2>((resume) => {
      const { length } = chunk
      let isStopped = false
      let next = 0
      /** Sends until one has to wait, and goes on when that has left. */
      const advance = () => {
        try {
          sendSome()
        } catch (cause) {
          onThrown(cause)
        }
      }
      const sendSome = () => {
        while (next < length && !isStopped) {
          if (EventLoop.shouldYield()) {
            flush()
            return setImmediate(advance)
          }
          if (isFull()) {
            waiting.add(advance)
            return flush()
          }
          const bytes = encode(Chunk.unsafeGet(chunk, next))
          if (Either.isLeft(bytes)) {
            return resume(Effect.fail(bytes.left))
          }
          next += 1
          if (!sendOne(bytes.right)) {
            return flush()
          }
        }
        flush()
        resume(Effect.void)
      }
      /** Whether it left at once. */
      const sendOne = (bytes: Uint8Array): boolean => {
        let isAtOnce = true
        let isSent = false
        send(bytes, () => {
          isSent = true
          if (!isAtOnce) {
            advance()
          }
        })
        isAtOnce = false
        return isSent
      }
      advance()
      return Effect.sync(() => {
        isStopped = true
        waiting.remove(advance)
      })
    })
  )
