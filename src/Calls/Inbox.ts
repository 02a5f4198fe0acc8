/** The messages of one direction of a call, on their way from a wire's callbacks to a Stream. */
import * as Chunk from "effect/Chunk"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Exit from "effect/Exit"
import * as Option from "effect/Option"
import * as Stream from "effect/Stream"

export interface Inbox<in Raw, out A, in out E> {
  readonly push: (message: Raw) => void
  /** Ends the stream after what was pushed; the first end counts. */
  readonly end: (exit: Exit.Exit<void, E>) => void
  /** Nobody reads any more: what was pushed counts as taken, and so does all that is pushed later. */
  readonly discard: () => void
  readonly stream: Stream.Stream<A, E>
}

export interface Options<Raw, A, E> {
  /** Called with what a reader takes, or will never take: with every message once. */
  readonly onTaken: (messages: ReadonlyArray<Raw>) => void
  /** Called when a reader waits for more: the wire sends more then. */
  readonly onWaiting?: (() => void) | undefined
  /** What fails here ends the stream after the messages before it. */
  readonly decode: (message: Raw) => Either.Either<A, E>
  /** When a message wakes a reader. A little later, and more that are on their way are read with it. Default: at once. */
  readonly schedule?: ((wake: () => void) => void) | undefined
  /** The most messages that are decoded at a time, so that others have their turn. Default 256. */
  readonly maxTaken?: number
}

/** `onTaken` of the messages of a call: releases what they cost. */
export const releasing =
  (release: (cost: number, costOnConnection: number) => void) =>
  (taken: ReadonlyArray<{ readonly cost: number; readonly costOnConnection: number }>): void => {
    let cost = 0
    let costOnConnection = 0
    for (const received of taken) {
      cost += received.cost
      costOnConnection += received.costOnConnection
    }
    release(cost, costOnConnection)
  }

export const make = <Raw, A, E>({
  decode,
  maxTaken = 256,
  onTaken,
  onWaiting,
  schedule
}: Options<Raw, A, E>): Inbox<Raw, A, E> => {
  let messages: Array<Raw> = []
  let ended: Exit.Exit<void, E> | undefined
  let isDiscarding = false
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

  const discard = () => {
    isDiscarding = true
    const left = messages
    messages = []
    if (left.length > 0) {
      onTaken(left)
    }
  }

  const fail = (error: E) => {
    ended = Exit.fail(error)
    discard()
  }

  const takeSome = (): Chunk.Chunk<A> => {
    const taken = messages.length > maxTaken ? messages.splice(0, maxTaken) : messages
    if (taken === messages) {
      messages = []
    }
    onTaken(taken)
    const decoded: Array<A> = []
    for (const message of taken) {
      const result = decode(message)
      if (Either.isLeft(result)) {
        fail(result.left)
        break
      }
      decoded.push(result.right)
    }
    return Chunk.unsafeFromArray(decoded)
  }

  const take: Effect.Effect<Chunk.Chunk<A>, Option.Option<E>> = Effect.suspend(() => {
    if (messages.length > 0) {
      return Effect.succeed(takeSome())
    }
    if (ended !== undefined) {
      return Exit.isSuccess(ended)
        ? Effect.fail(Option.none())
        : Effect.mapError(Effect.failCause(ended.cause), Option.some)
    }
    onWaiting?.()
    // What is said there may bring a message at once.
    return messages.length > 0 || ended !== undefined ? take : Effect.zipRight(wakeUp, take)
  })

  return {
    push: (message) => {
      if (isDiscarding) {
        return onTaken([message])
      }
      messages.push(message)
      if (schedule === undefined) {
        wake()
      } else if (waiting !== undefined && messages.length === 1) {
        schedule(wake)
      }
    },
    end: (exit) => {
      ended ??= exit
      wake()
    },
    discard,
    stream: Stream.repeatEffectChunkOption(take)
  }
}
