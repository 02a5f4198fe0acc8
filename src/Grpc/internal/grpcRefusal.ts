/**
 * How a listener tells a peer that it refuses it: the TLS handshake is over by then and Node sends no alert, so that it
 * goes into the first HTTP/2 frames, SETTINGS and then GOAWAY with the reason as debug data (RFC 9113, sections 3.4
 * and 6.8). Any HTTP/2 client understands these; ours reads the reason.
 */
import * as Option from "effect/Option"
import { HandshakeReason } from "../../Transport/TransportError.js"

const prefix = "effect-transport refused: "
const frameHeaderSize = 9
const settingsType = 0x4
const goawayType = 0x7
/** RFC 9113, section 7. */
const enhanceYourCalm = 0xb
const inadequateSecurity = 0xc
const noError = 0x0

const frame = (type: number, payload: Buffer): Buffer => {
  const header = Buffer.alloc(frameHeaderSize)
  header.writeUIntBE(payload.length, 0, 3)
  header.writeUInt8(type, 3)
  return Buffer.concat([header, payload])
}

const goawayFrames = (errorCode: number, debugData: string): Buffer => {
  const goaway = Buffer.alloc(8)
  goaway.writeUInt32BE(errorCode, 4)
  return Buffer.concat([
    frame(settingsType, Buffer.alloc(0)),
    frame(goawayType, Buffer.concat([goaway, Buffer.from(debugData)]))
  ])
}

/** What the debug data of a GOAWAY says that refuses a peer. */
export const text = (reason: HandshakeReason): string => prefix + reason

/** The bytes that refuse a peer. */
export const encode = (reason: HandshakeReason): Buffer => goawayFrames(inadequateSecurity, text(reason))

/** The bytes that turn away a peer that comes when the listener closes already. It may come again. */
export const goingAway: Buffer = goawayFrames(noError, "")

/** The bytes that turn away a peer which may come again, with why. */
export const turnedAway = (why: string): Buffer => goawayFrames(enhanceYourCalm, why)

/** Whether the bytes begin as an HTTP/2 server does, with a SETTINGS frame. */
export const isHttp2 = (bytes: Uint8Array): boolean => bytes[3] === undefined || bytes[3] === settingsType

const isReason = (text: string): text is HandshakeReason => HandshakeReason.literals.some((reason) => reason === text)

/** The reason, where the debug data of a GOAWAY refuses this peer. */
export const reasonOf = (text: string): HandshakeReason | undefined => {
  const reason = text.slice(prefix.length)
  return text.startsWith(prefix) && isReason(reason) ? reason : undefined
}

/** What the GOAWAY among the first bytes of a server says, if there is one. */
const goawayOf = (bytes: Buffer): { readonly code: number; readonly text: string } | undefined => {
  let offset = 0
  while (offset + frameHeaderSize <= bytes.length) {
    const payload = bytes.subarray(offset + frameHeaderSize, offset + frameHeaderSize + bytes.readUIntBE(offset, 3))
    if (bytes[offset + 3] === goawayType && payload.length >= 8) {
      return { code: payload.readUInt32BE(4), text: payload.subarray(8).toString("latin1") }
    }
    offset += frameHeaderSize + payload.length
  }
  return undefined
}

/** The reason, where the first bytes of a server refuse this peer. */
export const decode = (bytes: Buffer): Option.Option<HandshakeReason> =>
  Option.flatMapNullable(Option.fromNullable(goawayOf(bytes)), ({ text }) => reasonOf(text))

/** What the first bytes of a server say that turns this peer away for now. */
export const turnedAwayText = (bytes: Buffer): string | undefined => {
  const goaway = goawayOf(bytes)
  return goaway?.code === enhanceYourCalm ? goaway.text : undefined
}
