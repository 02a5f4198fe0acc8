/** The streams that this end opens: their ids, and how many more the peer lets it open (RFC 9000, sections 2.1 and 4.6). */

export interface LocalStreams {
  nextBidi: number
  nextUni: number
  /** Streams that may be opened, of those that the peer was known to allow. */
  bidiLeft: number
  /** The owner waits for more. */
  isWaiting: boolean
}

export const make = (role: "client" | "server"): LocalStreams => ({
  nextBidi: role === "client" ? 0 : 1,
  nextUni: role === "client" ? 2 : 3,
  bidiLeft: 0,
  isWaiting: false
})

/** Whether the peer takes one more; if not, the owner waits. `askPeer` tells what the peer allows by now. */
export const mayOpenBidi = (local: LocalStreams, askPeer: () => number): boolean => {
  local.bidiLeft ||= askPeer()
  local.isWaiting = local.bidiLeft === 0
  return !local.isWaiting
}

/** Whether the owner has waited, and need not any more. */
export const stopWaiting = (local: LocalStreams, askPeer: () => number): boolean => {
  if (!local.isWaiting || askPeer() === 0) {
    return false
  }
  local.isWaiting = false
  return true
}

export const openBidi = (local: LocalStreams): number => {
  const id = local.nextBidi
  local.nextBidi += 4
  local.bidiLeft = Math.max(0, local.bidiLeft - 1)
  return id
}

export const openUni = (local: LocalStreams): number => {
  const id = local.nextUni
  local.nextUni += 4
  return id
}
