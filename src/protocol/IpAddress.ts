/** IP addresses as numbers: read from text and bytes, and written as RFC 5952 has them. */

/** An IPv4 address of 32 bits, or an IPv6 address of 128. */
export interface IpAddress {
  readonly bits: 32 | 128
  readonly value: bigint
}

/** The longest text of an address (`INET6_ADDRSTRLEN` without its last byte). */
const maxTextLength = 45

/** What may stand behind an address of a link (RFC 6874, section 2). */
const zone = /^[\w.~-]{1,64}$/

const octet = "(25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])"
const dotted = new RegExp(`^${octet}\\.${octet}\\.${octet}\\.${octet}$`)
const group = /^[0-9a-f]{1,4}$/i

/** Without zeros in front of a number, which some read as octal (RFC 6943, section 3.1.1). */
const parseIpv4 = (text: string): bigint | undefined => {
  const match = dotted.exec(text)
  return match === null ? undefined : match.slice(1).reduce((value, each) => (value << 8n) | BigInt(each), 0n)
}

/** The groups of one side of `::`; undefined where one is none. */
const groupsOf = (text: string): ReadonlyArray<bigint> | undefined => {
  const groups = text === "" ? [] : text.split(":")
  return groups.every((each) => group.test(each)) ? groups.map((each) => BigInt(`0x${each}`)) : undefined
}

/** The last 32 bits may be written as an IPv4 address (RFC 4291, section 2.2). */
const withoutDots = (text: string): string | undefined => {
  const at = text.lastIndexOf(":") + 1
  const ipv4 = text.includes(".") ? parseIpv4(text.slice(at)) : undefined
  if (ipv4 === undefined) {
    return text.includes(".") ? undefined : text
  }
  return `${text.slice(0, at)}${(ipv4 >> 16n).toString(16)}:${(ipv4 & 0xffffn).toString(16)}`
}

const parseIpv6 = (text: string): bigint | undefined => {
  const parts = withoutDots(text)?.split("::") ?? []
  const [head, tail] = parts.map(groupsOf)
  if (head === undefined || parts.length > 2 || (parts.length === 2 && tail === undefined)) {
    return undefined
  }
  const count = head.length + (tail?.length ?? 0)
  // `::` stands for a group at the least.
  if (parts.length === 2 ? count > 7 : count !== 8) {
    return undefined
  }
  const zeros = Array.from({ length: 8 - count }, () => 0n)
  return [...head, ...zeros, ...(tail ?? [])].reduce((value, each) => (value << 16n) | each, 0n)
}

/** An address without its zone (`fe80::1%eth0`); undefined for any other text. */
export const parse = (text: string): IpAddress | undefined => {
  const zoneAt = text.indexOf("%")
  const bare = zoneAt < 0 ? text : text.slice(0, zoneAt)
  if (bare.length > maxTextLength || (zoneAt >= 0 && !zone.test(text.slice(zoneAt + 1)))) {
    return undefined
  }
  if (!bare.includes(":")) {
    const value = zoneAt < 0 ? parseIpv4(bare) : undefined
    return value === undefined ? undefined : { bits: 32, value }
  }
  const value = parseIpv6(bare)
  return value === undefined ? undefined : { bits: 128, value }
}

/** The address in 4 or 16 bytes of network order. */
export const fromBytes = (bytes: Uint8Array): IpAddress => ({
  bits: bytes.length === 4 ? 32 : 128,
  value: bytes.reduce((value, each) => (value << 8n) | BigInt(each), 0n)
})

const ipv4Prefix = 0xffffn

/** An IPv4 address that is written within IPv6 (RFC 4291, section 2.5.5.2) as what it is. */
export const unmapped = (address: IpAddress): IpAddress =>
  address.bits === 128 && address.value >> 32n === ipv4Prefix
    ? { bits: 32, value: address.value & 0xffff_ffffn }
    : address

const translatorPrefix = 0x64_ff9b_0000_0000_0000_0000n

/** The IPv4 address behind a translator (RFC 6052, section 2.1); undefined for other addresses. */
export const translated = (address: IpAddress): IpAddress | undefined =>
  address.bits === 128 && address.value >> 32n === translatorPrefix
    ? { bits: 32, value: address.value & 0xffff_ffffn }
    : undefined

const formatIpv4 = (value: bigint): string =>
  [24n, 16n, 8n, 0n].map((shift) => ((value >> shift) & 0xffn).toString()).join(".")

/** Where the longest run of two zeros and more is, of runs of one length the first (RFC 5952, section 4.2). */
const longestZeros = (groups: ReadonlyArray<string>) => {
  let longest = { at: 0, length: 1 }
  for (let at = 0; at < groups.length; at++) {
    let end = at
    while (groups[end] === "0") {
      end += 1
    }
    if (end - at > longest.length) {
      longest = { at, length: end - at }
    }
    at = Math.max(at, end)
  }
  return longest
}

/** The one text of an address (RFC 5952). */
export const format = ({ bits, value }: IpAddress): string => {
  if (bits === 32) {
    return formatIpv4(value)
  }
  if (value >> 32n === ipv4Prefix) {
    return `::ffff:${formatIpv4(value & 0xffff_ffffn)}`
  }
  const groups = Array.from({ length: 8 }, (_, i) => ((value >> BigInt(112 - 16 * i)) & 0xffffn).toString(16))
  const { at, length } = longestZeros(groups)
  return length < 2 ? groups.join(":") : `${groups.slice(0, at).join(":")}::${groups.slice(at + length).join(":")}`
}
