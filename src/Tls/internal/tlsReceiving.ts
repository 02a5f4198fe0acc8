/** What the peer sends, read as far as it begins no more calls in one turn of the event loop than others can bear. */
import * as Liveness from "../../Connections/Liveness.js"
import * as State from "./tlsState.js"

export interface Receiving {
  readonly self: State.TlsState
  /** Whether a chunk is this end's own, which others do not overwrite. */
  readonly mayKeep: boolean
  /** Calls of the peer that have begun in this turn of the event loop. */
  begun: number
  /** What came in this turn behind the last call that may begin in it. */
  rest: Buffer | undefined
  readonly onTurn: () => void
}

/** A flood of calls must not keep other connections waiting. */
const maxCallsPerTurn = 64

export const make = (self: State.TlsState, mayKeep: boolean): Receiving => {
  const receiving: Receiving = {
    self,
    mayKeep,
    begun: 0,
    rest: undefined,
    onTurn: () => onTurn(receiving)
  }
  return receiving
}

/** A call of the peer begins. */
export const onOpen = (receiving: Receiving): void => {
  if (receiving.mayKeep) {
    if (receiving.begun === 0) {
      setImmediate(receiving.onTurn)
    }
    receiving.begun += 1
  }
}

const take = (receiving: Receiving, chunk: Buffer): void => {
  const { mayKeep, self } = receiving
  const { liveness, socket, wire } = self
  const now = performance.now()
  liveness.lastReceived = now
  try {
    const maxCalls = mayKeep ? maxCallsPerTurn - receiving.begun : Number.POSITIVE_INFINITY
    const taken = wire.receive(chunk, now, mayKeep, maxCalls)
    State.account(self)
    Liveness.onRead(liveness, wire.isMidFrame())
    State.flush(self)
    if (receiving.begun >= maxCallsPerTurn && !State.isEnded(self)) {
      socket.pause()
      receiving.rest = chunk.subarray(taken)
    }
  } catch (cause) {
    State.fail(self, "socket", cause)
  }
}

/** A chunk came from the socket. */
export const onData = (receiving: Receiving, chunk: Buffer): void => {
  const { rest, self } = receiving
  if (State.isEnded(self)) {
    return
  }
  if (rest === undefined) {
    take(receiving, chunk)
  } else {
    receiving.rest = Buffer.concat([rest, chunk])
  }
}

/** The next turn of the event loop: reads on where the last one stopped. */
const onTurn = (receiving: Receiving): void => {
  const { rest, self } = receiving
  receiving.begun = 0
  receiving.rest = undefined
  if (rest === undefined || State.isEnded(self)) {
    return
  }
  if (rest.length > 0) {
    take(receiving, rest)
  }
  if (receiving.rest === undefined) {
    try {
      self.socket.resume()
    } catch (cause) {
      State.fail(self, "socket", cause)
    }
  }
}
