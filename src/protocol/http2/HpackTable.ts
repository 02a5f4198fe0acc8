/** The tables of HPACK: RFC 7541 section 2.3. */
import { type Field, type Fields, sizeOf } from "../Fields.js"

/** The size of a dynamic table before a peer's SETTINGS say another one, in bytes: RFC 9113 section 6.5.2. */
export const defaultTableSize = 4096

/** The static table of appendix A, in its order. The first entry has the index 1. */
export const hpackTable: Fields = [
  [":authority", ""],
  [":method", "GET"],
  [":method", "POST"],
  [":path", "/"],
  [":path", "/index.html"],
  [":scheme", "http"],
  [":scheme", "https"],
  [":status", "200"],
  [":status", "204"],
  [":status", "206"],
  [":status", "304"],
  [":status", "400"],
  [":status", "404"],
  [":status", "500"],
  ["accept-charset", ""],
  ["accept-encoding", "gzip, deflate"],
  ["accept-language", ""],
  ["accept-ranges", ""],
  ["accept", ""],
  ["access-control-allow-origin", ""],
  ["age", ""],
  ["allow", ""],
  ["authorization", ""],
  ["cache-control", ""],
  ["content-disposition", ""],
  ["content-encoding", ""],
  ["content-language", ""],
  ["content-length", ""],
  ["content-location", ""],
  ["content-range", ""],
  ["content-type", ""],
  ["cookie", ""],
  ["date", ""],
  ["etag", ""],
  ["expect", ""],
  ["expires", ""],
  ["from", ""],
  ["host", ""],
  ["if-match", ""],
  ["if-modified-since", ""],
  ["if-none-match", ""],
  ["if-range", ""],
  ["if-unmodified-since", ""],
  ["last-modified", ""],
  ["link", ""],
  ["location", ""],
  ["max-forwards", ""],
  ["proxy-authenticate", ""],
  ["proxy-authorization", ""],
  ["range", ""],
  ["referer", ""],
  ["refresh", ""],
  ["retry-after", ""],
  ["server", ""],
  ["set-cookie", ""],
  ["strict-transport-security", ""],
  ["transfer-encoding", ""],
  ["user-agent", ""],
  ["vary", ""],
  ["via", ""],
  ["www-authenticate", ""]
]

/** The index of the latest entry of a dynamic table. */
export const firstDynamicIndex = hpackTable.length + 1

/** The dynamic table of a decoder, as its peer fills it. */
export interface DynamicTable {
  /** The entry of an index behind the static table. */
  readonly get: (index: number) => Field | undefined
  /** Makes room by evicting the oldest entries. A field that is larger than the table empties it. */
  readonly insert: (field: Field) => void
  readonly setCapacity: (size: number) => void
  readonly capacity: () => number
  /** The size of all entries, as RFC 7541 section 4.1 counts it. */
  readonly size: () => number
}

export const makeDynamicTable = (): DynamicTable => {
  /** A ring whose length is a power of two. */
  let ring: Array<Field | undefined> = new Array<Field | undefined>(16).fill(undefined)
  /** Where the next entry goes. */
  let head = 0
  let count = 0
  let size = 0
  let capacity = defaultTableSize

  const evictTo = (limit: number) => {
    while (size > limit) {
      const at = (head - count) & (ring.length - 1)
      const field = ring[at]
      size -= field === undefined ? size : sizeOf(field)
      ring[at] = undefined
      count -= 1
    }
  }

  const grow = () => {
    const old = ring
    ring = new Array<Field | undefined>(2 * old.length).fill(undefined)
    for (let i = 0; i < count; i++) {
      ring[i] = old[(head + i) & (old.length - 1)]
    }
    head = count
  }

  return {
    get: (index) => {
      const age = index - firstDynamicIndex
      return age < count ? ring[(head - 1 - age) & (ring.length - 1)] : undefined
    },
    insert: (field) => {
      const room = sizeOf(field)
      if (room > capacity) {
        evictTo(0)
        return
      }
      evictTo(capacity - room)
      if (count === ring.length) {
        grow()
      }
      ring[head] = field
      head = (head + 1) & (ring.length - 1)
      count += 1
      size += room
    },
    setCapacity: (limit) => {
      capacity = limit
      evictTo(limit)
    },
    capacity: () => capacity,
    size: () => size
  }
}
