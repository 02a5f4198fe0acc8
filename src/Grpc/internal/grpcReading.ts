/** What the peer sends, read as far as it begins no more streams in one turn of the event loop than others can bear. */
import * as Effect from "effect/Effect"
import * as Liveness from "../../Connections/Liveness.js"
import * as Deferred from "../../effect/Deferred.js"
import * as State from "./grpcState.js"

export interface Reading<O> {
  readonly self: State.GrpcState<O>
  /** Whether a chunk is this end's own, which others do not overwrite: the rest of it may wait for the next turn. */
  readonly mayKeep: boolean
  /** Streams of the peer that have begun in this turn of the event loop. */
  begun: number
  /** What came in this turn behind the last stream that may begin in it. */
  rest: Buffer | undefined
  isTurnAwaited: boolean
  readonly onTurn: () => void
}

/** A flood of calls must not keep other connections waiting. */
const maxStreamsPerTurn = 64

export const make = <O>(self: State.GrpcState<O>, mayKeep: boolean): Reading<O> => {
  const reading: Reading<O> = {
    self,
    mayKeep,
    begun: 0,
    rest: undefined,
    isTurnAwaited: false,
    onTurn: () => onTurn(reading)
  }
  return reading
}

const awaitTurn = <O>(reading: Reading<O>): void => {
  if (!reading.isTurnAwaited) {
    reading.isTurnAwaited = true
    setImmediate(reading.onTurn)
  }
}

/** A stream of the peer begins. */
export const onRequest = <O>(reading: Reading<O>): void => {
  awaitTurn(reading)
  reading.begun += 1
}

const take = <O>(reading: Reading<O>, chunk: Buffer): void => {
  const { mayKeep, self } = reading
  const { http2, link, liveness, socket, writer } = self
  const now = performance.now()
  liveness.lastReceived = now
  try {
    const maxStreams = mayKeep ? maxStreamsPerTurn - reading.begun : Number.POSITIVE_INFINITY
    const taken = http2.receive(chunk, now, maxStreams)
    if (State.isEnded(self)) {
      return
    }
    // A listener that refuses this end sends its GOAWAY right behind its SETTINGS.
    if (self.hasSettings && self.goaway === undefined) {
      Deferred.doneUnsafe(self.ready, Effect.void)
    }
    link.account()
    Liveness.onRead(liveness, http2.isMidFrame())
    writer.flush()
    // Streams that were refused count among those for which it stops, and are not in `begun`.
    if (taken < chunk.length || (mayKeep && reading.begun >= maxStreamsPerTurn)) {
      socket.pause()
      reading.rest = chunk.subarray(taken)
      awaitTurn(reading)
    }
    State.closeWhenIdle(self)
    State.checkIdle(self)
  } catch (cause) {
    State.fail(self, "socket", cause)
  }
}

/** A chunk came from the socket. */
export const onData = <O>(reading: Reading<O>, chunk: Buffer): void => {
  const { rest, self } = reading
  if (State.isEnded(self)) {
    return
  }
  if (rest === undefined) {
    take(reading, chunk)
  } else {
    reading.rest = Buffer.concat([rest, chunk])
  }
}

/** The next turn of the event loop: reads on where the last one stopped. */
const onTurn = <O>(reading: Reading<O>): void => {
  const { rest, self } = reading
  reading.isTurnAwaited = false
  reading.begun = 0
  reading.rest = undefined
  if (rest === undefined || State.isEnded(self)) {
    return
  }
  if (rest.length > 0) {
    take(reading, rest)
  }
  if (reading.rest === undefined) {
    try {
      self.socket.resume()
    } catch (cause) {
      State.fail(self, "socket", cause)
    }
  }
}
