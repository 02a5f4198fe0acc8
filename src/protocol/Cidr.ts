/** Ranges of addresses in the notation of RFC 4632 and RFC 4291 (`10.0.0.0/8`), and sets of them. */
import * as IpAddress from "./IpAddress.js"

/** The addresses that begin with the same bits. */
export interface Prefix {
  readonly address: IpAddress.IpAddress
  readonly length: number
}

/**
 * Reads `address/length`, or an address alone. The bits behind the prefix don't matter. A prefix of IPv4 addresses that
 * is written within IPv6 (`::ffff:10.0.0.0/104`) is that of IPv4. Undefined for any other text.
 */
export const parse = (text: string): Prefix | undefined => {
  const [, host = "", digits] = /^([0-9a-f:.]+)(?:\/([0-9]{1,3}))?$/i.exec(text) ?? []
  const address = IpAddress.parse(host)
  if (address === undefined) {
    return undefined
  }
  const length = digits === undefined ? address.bits : Number(digits)
  if (length > address.bits || (digits !== undefined && digits !== `${length}`)) {
    return undefined
  }
  const unmapped = IpAddress.unmapped(address)
  return unmapped.bits === address.bits || length < 96
    ? { address, length }
    : { address: unmapped, length: length - 96 }
}

/** Addresses from the first to the last one. */
interface Range {
  readonly first: bigint
  last: bigint
}

const rangeOf = ({ address: { bits, value }, length }: Prefix): Range => {
  const rest = BigInt(bits - length)
  const first = (value >> rest) << rest
  return { first, last: first + (1n << rest) - 1n }
}

/** The ranges from low to high, those that meet as one. */
const merge = (ranges: ReadonlyArray<Range>): ReadonlyArray<Range> => {
  const merged: Array<Range> = []
  for (const range of [...ranges].sort((a, b) => (a.first < b.first ? -1 : a.first > b.first ? 1 : 0))) {
    const previous = merged.at(-1)
    if (previous !== undefined && range.first <= previous.last + 1n) {
      if (range.last > previous.last) {
        previous.last = range.last
      }
    } else {
      merged.push({ ...range })
    }
  }
  return merged
}

const includes = (ranges: ReadonlyArray<Range>, value: bigint): boolean => {
  let [low, high] = [0, ranges.length]
  while (low < high) {
    const middle = (low + high) >>> 1
    const { first, last } = ranges[middle] ?? { first: 0n, last: -1n }
    if (value < first) {
      high = middle
    } else if (value > last) {
      low = middle + 1
    } else {
      return true
    }
  }
  return false
}

/** Tells whether an address has one of the prefixes. IPv6 prefixes hold for IPv6 alone: `::/0` has no IPv4 address in it. */
export type Matcher = (address: IpAddress.IpAddress) => boolean

/** A matcher that takes as many steps as a binary search in the list. */
export const matcher = (prefixes: ReadonlyArray<Prefix>): Matcher => {
  const of = (bits: number) => merge(prefixes.filter(({ address }) => address.bits === bits).map(rangeOf))
  const [ipv4, ipv6] = [of(32), of(128)]
  return (address) => {
    const { bits, value } = IpAddress.unmapped(address)
    return includes(bits === 32 ? ipv4 : ipv6, value)
  }
}
