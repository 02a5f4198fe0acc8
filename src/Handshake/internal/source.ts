/** What counts as one source of connections. */
import * as IpAddress from "../../protocol/IpAddress.js"

/** Peers without an address, such as those of a unix socket, which only the limits of the listener hold. */
export const exempt = ""

/**
 * The source that an address counts as: an IPv4 address, written as such or within IPv6 (RFC 4291, section 2.5.5.2; RFC
 * 6052, section 2.1), or the /64 of an IPv6 address, all of which one host can have (RFC 4291, section 2.5.1).
 */
export const sourceOf = (host: string | undefined): string => {
  const address = host?.includes(":") === true ? IpAddress.parse(host) : undefined
  if (address === undefined) {
    return host ?? exempt
  }
  const ipv4 = IpAddress.translated(address) ?? IpAddress.unmapped(address)
  return ipv4.bits === 32
    ? IpAddress.format(ipv4)
    : `${[112n, 96n, 80n, 64n].map((shift) => ((address.value >> shift) & 0xffffn).toString(16)).join(":")}::/64`
}
