/** The handshakes of a listener that have not ended, and what they may take of it together. */
import type * as Admission from "../../Handshake/HandshakeAdmission.js"

/** Ids of handshakes that were refused, for as long as they could come again. */
const maxRefused = 65_536

/** Each has the connection id that its packets come with. */
export interface Handshakes {
  readonly size: () => number
  readonly begin: (id: string, place: Admission.Place) => void
  /**
   * Counts what has come for a handshake that has not ended. Returns the one that has taken most, and has ended now, where
   * that is too much for all.
   */
  readonly count: (id: string, bytes: number) => string | undefined
  /** The handshake has succeeded, or its connection has ended. */
  readonly end: (id: string) => void
  /** What else comes for a handshake that took too much begins no other, for as long as the Retry's token is good. */
  readonly refuse: (id: string) => void
  readonly isRefused: (id: string) => boolean
}

interface Handshake {
  readonly place: Admission.Place
  /** What has come for it. */
  bytes: number
}

export const make = (maxTotalBytes: number): Handshakes => {
  const handshakes = new Map<string, Handshake>()
  const refused = new Set<string>()
  let total = 0

  const end = (id: string) => {
    const handshake = handshakes.get(id)
    if (handshake !== undefined) {
      total -= handshake.bytes
      handshakes.delete(id)
      handshake.place.leave()
    }
  }

  const largest = (id: string) => {
    let [largest, bytes] = [id, 0]
    for (const [each, handshake] of handshakes) {
      if (handshake.bytes > bytes) {
        ;[largest, bytes] = [each, handshake.bytes]
      }
    }
    return largest
  }

  return {
    size: () => handshakes.size,
    begin: (id, place) => {
      handshakes.set(id, { place, bytes: 0 })
    },
    count: (id, bytes) => {
      const handshake = handshakes.get(id)
      if (handshake === undefined) {
        return undefined
      }
      if (handshake.bytes > 0) {
        handshake.place.speak()
      }
      handshake.bytes += bytes
      total += bytes
      if (total <= maxTotalBytes) {
        return undefined
      }
      const ended = largest(id)
      end(ended)
      return ended
    },
    end,
    refuse: (id) => {
      if (refused.size >= maxRefused) {
        refused.clear()
      }
      refused.add(id)
    },
    isRefused: (id) => refused.has(id)
  }
}
