/** Where a scan of MessagePack is in its frame: what is still to come at each depth, and what has been counted. */
import { type Limits, maxDepth, tooDeep, tooLarge, tooMany } from "./frameScan.js"

/** What the values at one depth are. */
export enum Kind {
  Values,
  /** The names of a record, after which as many values follow. */
  Names,
  /** What msgpackr iterates over when it makes a Set or an Error: strings and bytes count by their length. */
  Iterated
}

export interface Nesting {
  readonly limits: Limits
  /** Bytes of the frame that have been gone past. */
  pos: number
  /** What is wrong with the frame. */
  error: string | undefined
  depth: number
  elements: number
  readonly remaining: Int32Array
  readonly kinds: Uint8Array
  readonly lengths: Int32Array
  /** The number of values of each record that the frame has defined, or -1. */
  readonly records: Int32Array
}

/** msgpackr compiles a function for each record that is used a few times. */
const recordElements = 64

/** Begins another frame. */
export const reset = (nesting: Nesting): void => {
  nesting.depth = 0
  nesting.pos = 0
  nesting.elements = 1
  nesting.remaining[0] = 1
  nesting.kinds[0] = Kind.Values
  nesting.records.fill(-1)
}

export const make = (limits: Limits): Nesting => {
  const nesting: Nesting = {
    limits,
    pos: 0,
    error: undefined,
    depth: 0,
    elements: 0,
    remaining: new Int32Array(maxDepth + 1),
    kinds: new Uint8Array(maxDepth + 1),
    lengths: new Int32Array(maxDepth + 1),
    records: new Int32Array(64)
  }
  reset(nesting)
  return nesting
}

const count = (nesting: Nesting, elements: number) => {
  nesting.elements += elements
  if (nesting.elements > nesting.limits.maxFrameElements) {
    nesting.error = tooMany
  }
}

/** One value of those at the current depth has come. */
const take = ({ depth, remaining }: Nesting) => {
  remaining[depth] = (remaining[depth] ?? 0) - 1
}

/** A value that is no container, of which `length` bytes follow its header. */
export const scalar = (nesting: Nesting, header: number, length: number): void => {
  take(nesting)
  if (nesting.kinds[nesting.depth] === Kind.Iterated) {
    count(nesting, length)
  }
  nesting.pos += header + length
  if (nesting.pos > nesting.limits.maxFrameSize) {
    nesting.error = tooLarge
  }
}

/** A value that holds so many others, which come next. */
export const container = (nesting: Nesting, header: number, length: number, kind: Kind): void => {
  const { kinds, lengths, remaining } = nesting
  if (kinds[nesting.depth] === Kind.Names) {
    nesting.error = "a record whose names are none"
    return
  }
  take(nesting)
  nesting.pos += header
  count(nesting, kind === Kind.Names ? 2 * length + recordElements : length)
  if (nesting.depth === maxDepth) {
    nesting.error = tooDeep
  } else if (length > 0 && nesting.error === undefined) {
    nesting.depth += 1
    remaining[nesting.depth] = length
    lengths[nesting.depth] = length
    kinds[nesting.depth] = kind
  }
}

/** Leaves the containers all of whose values have come. Returns whether that was the last value of the frame. */
export const unwind = (nesting: Nesting): boolean => {
  const { kinds, lengths, remaining } = nesting
  while (remaining[nesting.depth] === 0) {
    if (nesting.depth === 0) {
      return true
    }
    if (kinds[nesting.depth] === Kind.Names) {
      kinds[nesting.depth] = Kind.Values
      remaining[nesting.depth] = lengths[nesting.depth] ?? 0
    } else {
      nesting.depth -= 1
    }
  }
  return false
}
