/** The addresses of names as endpoints: one endpoint for each address, or one with both where there is one of each IP version. */
import * as Net from "node:net"
import * as Peer from "../../../Transport/Peer.js"
import type { Input } from "./endpoints.js"

const isV6 = (address: string): boolean => Net.isIP(address) === 6

/**
 * The endpoints of a name. One address of each IP version is one host that has both: the first that works is used (RFC
 * 8305). Of several nobody can tell which belong together, so that each is an endpoint.
 */
export const endpointsOf = (
  addresses: ReadonlyArray<string>,
  port: number,
  rest: Omit<Input, "address" | "alternatives">
): ReadonlyArray<Input> => {
  const all = [...new Set(addresses)].map((host) => ({ host, address: Peer.formatAddress({ host, port }) }))
  const [first, second] = all
  return first !== undefined && second !== undefined && all.length === 2 && isV6(first.host) !== isV6(second.host)
    ? [{ ...rest, address: first.address, alternatives: [second.address] }]
    : all.map(({ address }) => ({ ...rest, address }))
}

/** All addresses of a name as one endpoint, for a name that stands for one host. */
export const endpointOf = (
  addresses: ReadonlyArray<string>,
  port: number,
  rest: Omit<Input, "address" | "alternatives">
): ReadonlyArray<Input> => {
  const [first, ...others] = [...new Set(addresses)].map((host) => Peer.formatAddress({ host, port }))
  return first === undefined ? [] : [{ ...rest, address: first, alternatives: others }]
}
