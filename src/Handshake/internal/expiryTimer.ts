/** One timer for many things that expire by the wall clock, which may be set while the timer runs. */

/** Something that is valid until a time, in milliseconds since 1970, which may be `Infinity`. */
export interface Expiring {
  readonly validUntil: number
}

/** The timer of a set of them. It keeps no process alive. */
export interface ExpiryTimer {
  /** Something in the set is valid until then. */
  readonly arm: (at: number) => void
  readonly stop: () => void
}

/** A timer doesn't notice that the wall clock was set, so it fires at least this often. */
const maxTimerMillis = 60_000

/** Calls `onExpired` with what has expired in the set, each time that something has. */
export const make = <E extends Expiring>(
  all: ReadonlySet<E>,
  onExpired: (expired: ReadonlyArray<E>) => void
): ExpiryTimer => {
  let timer: NodeJS.Timeout | undefined
  let next = Number.POSITIVE_INFINITY

  const arm = (at: number) => {
    if (at < next || (timer === undefined && at < Number.POSITIVE_INFINITY)) {
      next = Math.min(next, at)
      clearTimeout(timer)
      timer = setTimeout(onTimer, Math.min(Math.max(0, next - Date.now() + 1), maxTimerMillis)).unref()
    }
  }

  const onTimer = () => {
    timer = undefined
    next = Number.POSITIVE_INFINITY
    const now = Date.now()
    const expired: Array<E> = []
    let earliest = Number.POSITIVE_INFINITY
    for (const each of all) {
      if (each.validUntil < now) {
        expired.push(each)
      } else {
        earliest = Math.min(earliest, each.validUntil)
      }
    }
    arm(earliest)
    if (expired.length > 0) {
      onExpired(expired)
    }
  }

  return { arm, stop: () => clearTimeout(timer) }
}
