/**
 * The header by which a proxy tells whose connection it passes on: version 2 of the PROXY protocol.
 *
 * Source: "The PROXY protocol, versions 1 & 2" of HAProxy, section 2.2.
 */
import * as IpAddress from "../IpAddress.js"
import * as Crc32c from "./Crc32c.js"

/** The longest header: what every path carries in one TCP segment. */
export const maxSize = 536

const signature = Uint8Array.of(0x0d, 0x0a, 0x0d, 0x0a, 0x00, 0x0d, 0x0a, 0x51, 0x55, 0x49, 0x54, 0x0a)

/** Up to where the addresses begin. */
const fixedSize = 16

const version = 2
const command = { local: 0, proxy: 1 }
const family = { unspecified: 0, inet: 1, inet6: 2, unix: 3 }
const protocol = { unspecified: 0, stream: 1, datagram: 2 }

/** What addresses and ports, or paths, of a family take. */
const addressSizes = new Map([
  [family.inet, 12],
  [family.inet6, 36],
  [family.unix, 216]
])

/** PP2_TYPE_CRC32C */
const checksumType = 0x03

/** An end of the connection that the proxy passes on. */
export interface Endpoint {
  readonly host: string
  readonly port: number
}

/** What the first bytes of a connection are. */
export type Outcome =
  | { readonly _tag: "Incomplete" }
  /**
   * A header of `size` bytes. Without a source the connection is the proxy's own (`LOCAL`: it looks whether this side is
   * well), or comes from somewhere that has no IP address.
   */
  | { readonly _tag: "Header"; readonly size: number; readonly source: Endpoint | undefined }
  | { readonly _tag: "Invalid"; readonly why: string }

const incomplete: Outcome = { _tag: "Incomplete" }

const invalid = (why: string): Outcome => ({ _tag: "Invalid", why })

const uint16 = (bytes: Uint8Array, at: number): number => ((bytes[at] ?? 0) << 8) | (bytes[at + 1] ?? 0)

/** What is wrong with the TLVs from `at` on; undefined if nothing is. */
const checkTlvs = (header: Uint8Array, from: number): string | undefined => {
  let checksumAt: number | undefined
  let at = from
  while (at < header.length) {
    const end = at + 3 + uint16(header, at + 1)
    if (at + 3 > header.length || end > header.length) {
      return "a TLV is cut off"
    }
    if (header[at] === checksumType) {
      if (checksumAt !== undefined || end !== at + 7) {
        return "its checksum is not one of four bytes"
      }
      checksumAt = at + 3
    }
    at = end
  }
  return checksumAt === undefined || Crc32c.isRight(header, checksumAt) ? undefined : "its checksum is wrong"
}

const endpoint = (header: Uint8Array, size: 4 | 16): Endpoint => ({
  host: IpAddress.format(IpAddress.unmapped(IpAddress.fromBytes(header.subarray(fixedSize, fixedSize + size)))),
  port: uint16(header, fixedSize + 2 * size)
})

const readWhole = (header: Uint8Array): Outcome => {
  const size = header.length
  const [given, kind] = [(header[13] ?? 0) >> 4, (header[13] ?? 0) & 0xf]
  if (((header[12] ?? 0) & 0xf) === command.local) {
    return { _tag: "Header", size, source: undefined }
  }
  const addressSize = addressSizes.get(given) ?? 0
  if (size < fixedSize + addressSize) {
    return invalid("its addresses are cut off")
  }
  const why = checkTlvs(header, fixedSize + addressSize)
  if (why !== undefined) {
    return invalid(why)
  }
  const isStream = kind === protocol.stream
  const source =
    isStream && given === family.inet
      ? endpoint(header, 4)
      : isStream && given === family.inet6
        ? endpoint(header, 16)
        : undefined
  return { _tag: "Header", size, source }
}

/** Reads the header at the beginning of a connection, of which so much has come. */
export const read = (bytes: Uint8Array): Outcome => {
  for (let i = 0; i < signature.length && i < bytes.length; i++) {
    if (bytes[i] !== signature[i]) {
      return invalid("it does not begin with the signature")
    }
  }
  const [, , , , , , , , , , , , first, second] = bytes
  if (first !== undefined && (first >> 4 !== version || (first & 0xf) > command.proxy)) {
    return invalid("its version or its command is not known")
  }
  if (second !== undefined && (second >> 4 > family.unix || (second & 0xf) > protocol.datagram)) {
    return invalid("its address family or its protocol is not known")
  }
  if (bytes.length < fixedSize) {
    return incomplete
  }
  const size = fixedSize + uint16(bytes, 14)
  return size > maxSize
    ? invalid(`it has ${size} bytes`)
    : bytes.length < size
      ? incomplete
      : readWhole(bytes.subarray(0, size))
}
