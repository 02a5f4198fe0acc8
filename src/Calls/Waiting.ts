/** Callbacks that wait until a connection has room to send again, run in the order in which they came. */

/** What waits with an answer until its peer has read of those before. */
export interface Waiting<S> {
  readonly add: (again: () => void, stream: S) => void
  /** What it would be called for is no longer wanted. */
  readonly remove: (again: (() => void) | undefined) => void
  /** Goes on with what waits, in its order, where there is room for its stream. */
  readonly onRoom: () => void
}

export const make = <S>(isFull: (stream: S) => boolean): Waiting<S> => {
  const waiting = new Map<() => void, S>()
  return {
    add: (again, stream) => {
      waiting.set(again, stream)
    },
    remove: (again) => {
      if (again !== undefined) {
        waiting.delete(again)
      }
    },
    onRoom: () => {
      if (waiting.size === 0) {
        return
      }
      for (const [again, stream] of [...waiting]) {
        if (!isFull(stream) && waiting.delete(again)) {
          again()
        }
      }
    }
  }
}
