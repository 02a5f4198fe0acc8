/**
 * How many calls a peer begins and gives up in one turn of the event loop. In a long turn its connections share what one may,
 * so that a peer of one connection is served beside one of fifty.
 */
import * as Option from "effect/Option"
import * as EventLoop from "../Transport/internal/eventLoop.js"
import type { Peer } from "../Transport/Peer.js"

/** Of a connection, and in a long turn of all connections of an identity. */
export const mostPerTurn = 64

/** What every connection may do in a turn, however long that is. */
export const leastPerTurn = 1

/** How long a turn may be before connections have to share, in milliseconds, and how much of it an identity gets then. */
const longMillis = 5

/** So many at a time, before the time is looked at again. */
const step = 16

export interface TurnShare {
  /** How many more may come before this is asked again; 0 where the rest has to wait for the next turn. */
  readonly left: () => number
  /** So many came, and took so long. */
  readonly count: (calls: number, millis: number) => void
}

/** What all connections of an identity have done in this turn. */
interface Group {
  came: number
  millis: number
}

/** Of this turn, by SPIFFE id, or by the fingerprint of the certificate. */
const groups = new Map<string, Group>()

const groupOf = (key: string | undefined): Group => {
  const made = (key === undefined ? undefined : groups.get(key)) ?? { came: 0, millis: 0 }
  if (key !== undefined) {
    if (groups.size === 0) {
      setImmediate(() => groups.clear())
    }
    groups.set(key, made)
  }
  return made
}

/** `onTurn` is called in the next turn after one in which something came. */
export const make = ({ identity }: Pick<Peer, "identity">, onTurn: () => void): TurnShare => {
  const key = Option.getOrUndefined(
    Option.map(identity, ({ fingerprint, spiffeId }) => Option.getOrElse(spiffeId, () => fingerprint))
  )
  let came = 0
  let group: Group | undefined

  const turn = () => {
    came = 0
    group = undefined
    onTurn()
  }

  return {
    left: () => {
      const isLong = EventLoop.isLong(longMillis)
      if (came < leastPerTurn) {
        return leastPerTurn - came
      }
      if (
        came >= mostPerTurn ||
        (isLong && group !== undefined && (group.came >= mostPerTurn || group.millis >= longMillis))
      ) {
        return 0
      }
      return Math.min(step, mostPerTurn - came)
    },
    count: (calls, millis) => {
      if (calls === 0) {
        return
      }
      if (group === undefined) {
        group = groupOf(key)
        setImmediate(turn)
      }
      came += calls
      group.came += calls
      group.millis += millis
    }
  }
}
