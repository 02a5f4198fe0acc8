/** What the peers of a listener make it keep, in bytes: one budget for all of its connections. */

/** The share of one connection. */
export interface Account {
  /** Says what the connection holds now. May close this connection, or another, before it returns. */
  readonly set: (bytes: number) => void
  /** The connection has ended. */
  readonly close: () => void
}

export interface MemoryBudget {
  /** `evict` closes the connection, and with that its account: it is the one that holds most when the budget is exceeded. */
  readonly open: (evict: () => void) => Account
  readonly held: () => number
}

interface Share {
  bytes: number
  readonly evict: () => void
}

export const make = (limit: number): MemoryBudget => {
  const shares = new Set<Share>()
  let held = 0

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
      held -= share.bytes
    }
  }

  return {
    held: () => held,
    open: (evict) => {
      const share: Share = { bytes: 0, evict }
      shares.add(share)
      return {
        set: (bytes) => {
          if (!shares.has(share)) {
            return
          }
          held += bytes - share.bytes
          share.bytes = bytes
          while (held > limit) {
            const most = largest()
            if (most === undefined) {
              return
            }
            // What it holds is free when it ends, which may take until later.
            remove(most)
            most.evict()
          }
        },
        close: () => remove(share)
      }
    }
  }
}
