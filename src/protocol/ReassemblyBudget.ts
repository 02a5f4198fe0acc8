/**
 * Which large messages of a connection may begin, so that those that have begun and not ended fit the peer's budget for
 * them. Both wires that send messages in pieces have this rule.
 */

export interface ReassemblyBudget<A> {
  /** Messages that have begun and not ended, and their sizes together. */
  begun: number
  size: number
  /** The message that is the next to begin, where it has to wait for others to end. */
  next: A | undefined
}

export const make = <A>(): ReassemblyBudget<A> => ({ begun: 0, size: 0, next: undefined })

/**
 * Whether a message may begin now: where those that have begun leave room for it, or there is none, and no other waits.
 * If not, it is the next to begin, unless another is that already, so that small ones can't keep a large one waiting.
 */
export const mayBegin = <A>(budget: ReassemblyBudget<A>, message: A, size: number, limit: number): boolean => {
  const { next } = budget
  if (next !== undefined && next !== message) {
    return false
  }
  if (budget.begun === 0 || budget.size + size <= limit) {
    return true
  }
  budget.next = message
  return false
}

/** A message begins. */
export const begin = <A>(budget: ReassemblyBudget<A>, size: number): void => {
  budget.begun += 1
  budget.size += size
}

/** A message that has begun is over. */
export const end = <A>(budget: ReassemblyBudget<A>, size: number): void => {
  budget.begun -= 1
  budget.size -= size
}

/** A message waits no longer: it has begun, or is no longer wanted. */
export const leave = <A>(budget: ReassemblyBudget<A>, message: A): void => {
  if (budget.next === message) {
    budget.next = undefined
  }
}
