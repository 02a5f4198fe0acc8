/** Callbacks that wait until a connection has room to send again, run in the order in which they came. */
/** What waits with an answer until its peer has read of those before. */
export interface Waiting {
  readonly add: (again: () => void) => void
  /** What it would be called for is no longer wanted. */
  readonly remove: (again: (() => void) | undefined) => void
  /** Goes on with what waits, in its order, for as long as there is room. */
  readonly onRoom: () => void
}

export const make = (isFull: () => boolean): Waiting => {
  const waiting = new Set<() => void>()
  return {
    add: (again) => {
      waiting.add(again)
    },
    remove: (again) => {
      if (again !== undefined) {
        waiting.delete(again)
      }
    },
    onRoom: () => {
      if (waiting.size === 0 || isFull()) {
        return
      }
      for (const again of [...waiting]) {
        if (isFull()) {
          return
        }
        if (waiting.delete(again)) {
          again()
        }
      }
    }
  }
}
