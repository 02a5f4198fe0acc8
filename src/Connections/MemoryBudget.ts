/** One budget for all connections of a listener: the bytes that its peers make it keep. */

/** The share of one connection. */
export interface Account {
  /** Sets the bytes that the connection holds now. May close this connection, or another, before it returns. */
  readonly set: (bytes: number) => void
  /** The connection has ended. */
  readonly close: () => void
}

/** The budget of one listener. */
export interface MemoryBudget {
  /**
   * Opens an account. `evict` closes the connection and its account: called if it holds most when the budget is
   * exceeded.
   */
  readonly open: (evict: () => void) => Account
  readonly used: () => number
}

interface Share {
  bytes: number
  readonly evict: () => void
}

/** A budget of so many bytes. */
export const make = (limit: number): MemoryBudget => {
  const shares = new Set<Share>()
  let used = 0

  const largest = (): Share | undefined => {
    let most: Share | undefined
    for (const share of shares) {
      if (most === undefined || share.bytes > most.bytes) {
        most = share
      }
    }
    return most
  }

  const remove = (share: Share) => {
    if (shares.delete(share)) {
      used -= share.bytes
    }
  }

  return {
    used: () => used,
    open: (evict) => {
      const share: Share = { bytes: 0, evict }
      shares.add(share)
      return {
        set: (bytes) => {
          if (!shares.has(share)) {
            return
          }
          used += bytes - share.bytes
          share.bytes = bytes
          while (used > limit) {
            const most = largest()
            if (most === undefined) {
              return
            }
            // Its bytes count no more from now on, although they may be freed later.
            remove(most)
            most.evict()
          }
        },
        close: () => remove(share)
      }
    }
  }
}
