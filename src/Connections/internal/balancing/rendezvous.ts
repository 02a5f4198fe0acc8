/**
 * Rendezvous hashing: each endpoint has a score for a key, and the highest wins. Where an endpoint goes, only its keys move.
 *
 * Source: Thaler and Ravishankar, "Using name-based mappings to increase hit rates" (1998).
 */

export interface Hashed {
  /** The hash of what tells it from all others. */
  readonly hash: number
  readonly weight: number
}

/** FNV-1a, with the last steps of MurmurHash3, so that names that differ in one digit are far apart. */
export const hash = (text: string): number => {
  let h = 0x811c9dc5
  for (let i = 0; i < text.length; i++) {
    h = Math.imul(h ^ text.charCodeAt(i), 0x01000193)
  }
  return mix(h)
}

const mix = (value: number): number => {
  let h = value
  h = Math.imul(h ^ (h >>> 16), 0x85ebca6b)
  h = Math.imul(h ^ (h >>> 13), 0xc2b2ae35)
  return (h ^ (h >>> 16)) >>> 0
}

/** The score of an endpoint for a key, by its weight: of equal weights the higher hash wins. */
const scoreOf = ({ hash, weight }: Hashed, key: number): number => {
  const uniform = (mix(hash ^ Math.imul(key, 0x9e3779b1)) + 0.5) / 2 ** 32
  return weight === 1 ? -1 / Math.log(uniform) : -weight / Math.log(uniform)
}

/** The endpoint of a key. */
export const best = <C extends Hashed>(candidates: Iterable<C>, key: number): C | undefined => {
  let winner: C | undefined
  let highest = Number.NEGATIVE_INFINITY
  for (const candidate of candidates) {
    const score = scoreOf(candidate, key)
    if (score > highest) {
      winner = candidate
      highest = score
    }
  }
  return winner
}

/** All endpoints, from the highest score for a key to the lowest, whatever their weights. */
export const rank = <C extends Hashed>(candidates: Iterable<C>, key: number): ReadonlyArray<C> =>
  Array.from(candidates, (candidate) => ({ candidate, score: scoreOf({ hash: candidate.hash, weight: 1 }, key) }))
    .sort((a, b) => b.score - a.score)
    .map(({ candidate }) => candidate)
