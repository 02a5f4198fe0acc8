import * as Chunk from "effect/Chunk"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Option from "effect/Option"
import * as Stream from "effect/Stream"

/** The messages of one direction of a call, on their way from a wire's callbacks to a Stream. */
export interface Inbox<A, E> {
  readonly push: (message: A) => void
  /** Ends the stream after what was pushed; the first end counts. */
  readonly end: (exit: Exit.Exit<void, E>) => void
  readonly stream: Stream.Stream<A, E>
}

/** `onTaken` is called with what a reader takes, and `onWaiting` when one waits for more: the wire sends more then. */
export const make = <A, E>(onTaken: (messages: ReadonlyArray<A>) => void, onWaiting: () => void): Inbox<A, E> => {
  let messages: Array<A> = []
  let ended: Exit.Exit<void, E> | undefined
  let waiting: (() => void) | undefined

  const wake = () => {
    const resume = waiting
    waiting = undefined
    resume?.()
  }

  const wakeUp = Effect.async<void>((resume) => {
    waiting = () => resume(Effect.void)
    return Effect.sync(() => {
      waiting = undefined
    })
  })

  const take: Effect.Effect<Chunk.Chunk<A>, Option.Option<E>> = Effect.suspend(() => {
    if (messages.length > 0) {
      const taken = messages
      messages = []
      onTaken(taken)
      return Effect.succeed(Chunk.unsafeFromArray(taken))
    }
    if (ended !== undefined) {
      return Exit.isSuccess(ended)
        ? Effect.fail(Option.none())
        : Effect.mapError(Effect.failCause(ended.cause), Option.some)
    }
    onWaiting()
    return Effect.zipRight(wakeUp, take)
  })

  return {
    push: (message) => {
      messages.push(message)
      wake()
    },
    end: (exit) => {
      ended ??= exit
      wake()
    },
    stream: Stream.repeatEffectChunkOption(take)
  }
}
