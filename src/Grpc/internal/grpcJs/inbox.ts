/** The messages of one direction of a call, between grpc-js and a Stream. */
import * as Chunk from "effect/Chunk"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import { constVoid } from "effect/Function"
import * as Option from "effect/Option"
import * as Stream from "effect/Stream"

/**
 * The messages of one direction of a call on their way from grpc-js's callbacks to a Stream. It asks for the next
 * message while few wait, so that reading and handling overlap, and leaves the rest to HTTP/2's flow control.
 */
export interface Inbox<E> {
  readonly push: (message: Uint8Array) => void
  /** Ends the stream after what was pushed; the first end counts. */
  readonly end: (exit: Exit.Exit<void, E>) => void
  readonly stream: Stream.Stream<Uint8Array, E>
  /** Whether somebody waits for the next message. */
  readonly isAwaited: () => boolean
}

/** Reading stops at this many messages or bytes that nobody took yet. */
const maxMessages = 64
const maxBytes = 256 * 1024

/** `onTaken` is called with the bytes of messages that are taken. */
export const make = <E>(startRead: () => void, onTaken: (bytes: number) => void = constVoid): Inbox<E> => {
  let messages: Array<Uint8Array> = []
  let bytes = 0
  let reading = false
  let ended: Exit.Exit<void, E> | undefined
  let waiting: (() => void) | undefined

  const wake = () => {
    const resume = waiting
    waiting = undefined
    resume?.()
  }

  const read = () => {
    if (!reading && ended === undefined && messages.length < maxMessages && bytes < maxBytes) {
      reading = true
      startRead()
    }
  }

  const take: Effect.Effect<Chunk.Chunk<Uint8Array>, Option.Option<E>> = Effect.suspend(() => {
    if (messages.length > 0) {
      const chunk = Chunk.unsafeFromArray(messages)
      const taken = bytes
      messages = []
      bytes = 0
      onTaken(taken)
      read()
      return Effect.succeed(chunk)
    }
    if (ended !== undefined) {
      return Exit.isSuccess(ended)
        ? Effect.fail(Option.none())
        : Effect.mapError(Effect.failCause(ended.cause), Option.some)
    }
    read()
    return Effect.zipRight(wakeUp, take)
  })

  const wakeUp = Effect.async<void>((resume) => {
    waiting = () => resume(Effect.void)
    return Effect.sync(() => {
      waiting = undefined
    })
  })

  return {
    push: (message) => {
      reading = false
      messages.push(message)
      bytes += message.length
      read()
      wake()
    },
    end: (exit) => {
      ended ??= exit
      wake()
    },
    stream: Stream.repeatEffectChunkOption(take),
    isAwaited: () => waiting !== undefined
  }
}
