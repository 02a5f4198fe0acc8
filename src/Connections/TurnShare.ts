/**
 * How many calls a peer begins and gives up in one turn of the event loop: fewer where turns are long. The connections of an
 * identity share then, so that a peer of one connection is served beside one of fifty.
 */
import * as Option from "effect/Option"
import * as EventLoop from "../Transport/internal/eventLoop.js"
import type { Peer } from "../Transport/Peer.js"

/** The most that a connection may do in a turn; in a long one, all connections of an identity together. */
export const mostPerTurn = 64

/** Where that begins, because it is not known yet what calls cost, and how far long turns bring it down. */
const firstPerTurn = 16
const fewPerTurn = 4

/** What every connection may do in a turn, however long that is. */
export const leastPerTurn = 1

/** How long a turn may be before connections have to share, in milliseconds, and how much of it an identity gets then. */
const longMillis = 5

/** Turns that took longer, with all that their calls began, are followed by shorter ones. */
const tooLongMillis = 20

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

let most = firstPerTurn
let began: number | undefined

const onTurnOver = (since: number) => {
  const isTooLong = performance.now() - since > tooLongMillis
  most = isTooLong ? Math.max(fewPerTurn, most >> 1) : Math.min(mostPerTurn, 2 * most)
  began = undefined
  groups.clear()
}

const beginTurn = (since: number) => {
  if (began === undefined) {
    began = since
    setImmediate(onTurnOver, since)
  }
}

const groupOf = (key: string | undefined): Group => {
  const group = (key === undefined ? undefined : groups.get(key)) ?? { came: 0, millis: 0 }
  if (key !== undefined) {
    groups.set(key, group)
  }
  return group
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

  const isUsedUp = () =>
    came >= most ||
    (EventLoop.isLong(longMillis) && group !== undefined && (group.came >= most || group.millis >= longMillis))

  return {
    left: () => {
      const isOver = isUsedUp()
      return came < leastPerTurn ? leastPerTurn - came : isOver ? 0 : Math.min(step, most - came)
    },
    count: (calls, millis) => {
      if (calls === 0) {
        return
      }
      if (group === undefined) {
        beginTurn(performance.now() - millis)
        group = groupOf(key)
        setImmediate(turn)
      }
      came += calls
      group.came += calls
      group.millis += millis
    }
  }
}
