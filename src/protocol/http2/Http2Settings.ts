/** SETTINGS of HTTP/2: what each end says it is ready to take. RFC 9113 section 6.5. */

import { type Http2Code, Http2Violation } from "./Http2Error.js"
import { maxPayload, maxWindow } from "./Http2Frames.js"

export const Id = {
  headerTableSize: 1,
  enablePush: 2,
  maxConcurrentStreams: 3,
  initialWindowSize: 4,
  maxFrameSize: 5,
  maxHeaderListSize: 6
} as const

export interface Settings {
  readonly headerTableSize: number
  readonly isPushEnabled: boolean
  readonly maxConcurrentStreams: number
  readonly initialWindowSize: number
  readonly maxFrameSize: number
  readonly maxHeaderListSize: number
}

/** What a stream's window is, and the connection's, while nobody says otherwise. */
export const defaultWindow = 65_535

/** What holds before a peer's SETTINGS have come. Without a value there is no limit. */
export const defaults: Settings = {
  headerTableSize: 4096,
  isPushEnabled: true,
  maxConcurrentStreams: Number.POSITIVE_INFINITY,
  initialWindowSize: defaultWindow,
  maxFrameSize: maxPayload,
  maxHeaderListSize: Number.POSITIVE_INFINITY
}

/** The largest SETTINGS_MAX_FRAME_SIZE. */
const maxFrameSizes = 2 ** 24 - 1

const maxUint32 = 0xffff_ffff

const check = (isAllowed: boolean, code: Http2Code, id: number, value: number) => {
  if (!isAllowed) {
    throw new Http2Violation(code, `a setting ${id} of ${value}`)
  }
}

/**
 * Reads the entries between the two positions into settings that hold after them. Of several for one setting the last
 * counts, so that thousands cost no more than their reading; `onHeaderTableSize` hears of each, since HPACK must answer the
 * smallest (RFC 7541 section 4.2).
 */
export const read = (
  bytes: Buffer,
  start: number,
  end: number,
  before: Settings,
  isServerRole: boolean,
  onHeaderTableSize: (size: number) => void
): Settings => {
  let { headerTableSize, initialWindowSize, isPushEnabled, maxConcurrentStreams, maxFrameSize, maxHeaderListSize } =
    before
  for (let at = start; at < end; at += 6) {
    const id = bytes.readUInt16BE(at)
    const value = bytes.readUInt32BE(at + 2)
    switch (id) {
      case Id.headerTableSize:
        headerTableSize = value
        onHeaderTableSize(value)
        break
      case Id.enablePush:
        check(value === 0 || (value === 1 && isServerRole), "PROTOCOL_ERROR", id, value)
        isPushEnabled = value === 1
        break
      case Id.maxConcurrentStreams:
        maxConcurrentStreams = value
        break
      case Id.initialWindowSize:
        check(value <= maxWindow, "FLOW_CONTROL_ERROR", id, value)
        initialWindowSize = value
        break
      case Id.maxFrameSize:
        check(value >= maxPayload && value <= maxFrameSizes, "PROTOCOL_ERROR", id, value)
        maxFrameSize = value
        break
      case Id.maxHeaderListSize:
        maxHeaderListSize = value
        break
      default:
        // Unknown ones are ignored.
        break
    }
  }
  return { headerTableSize, isPushEnabled, maxConcurrentStreams, initialWindowSize, maxFrameSize, maxHeaderListSize }
}

/** What an end says of itself: only what differs from the defaults. */
export const entries = (
  role: "client" | "server",
  own: { readonly maxConcurrentStreams: number; readonly streamWindow: number; readonly maxHeaderListSize: number }
): ReadonlyArray<readonly [id: number, value: number]> => {
  const all: Array<readonly [number, number]> = [
    role === "client" ? [Id.enablePush, 0] : [Id.maxConcurrentStreams, own.maxConcurrentStreams],
    [Id.maxHeaderListSize, own.maxHeaderListSize]
  ]
  if (own.streamWindow !== defaultWindow) {
    all.push([Id.initialWindowSize, own.streamWindow])
  }
  return all.map(([id, value]) => [id, Math.min(value, maxUint32)])
}
