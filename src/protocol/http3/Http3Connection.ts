/**
 * What one end of an HTTP/3 connection says and hears beside its requests: the control stream and those of QPACK. It
 * knows no socket, no clock and no Effect. What is implemented is described in docs/http3.md.
 */

import * as Varint from "../quic/Varint.js"
import { codes, onConnection } from "./Http3Error.js"
import * as Frames from "./Http3Frames.js"
import { Type } from "./Http3Frames.js"
import * as Qpack from "./Qpack.js"

/** The ALPN protocol. */
export const alpnProtocol = "h3"

export const Setting = {
  qpackMaxTableCapacity: 0x01,
  maxFieldSectionSize: 0x06,
  qpackBlockedStreams: 0x07,
  h3Datagram: 0x33
} as const

/** Settings of HTTP/2 that HTTP/3 has not: RFC 9114 section 11.2.2. */
const reservedSettings = new Set([0x00, 0x02, 0x03, 0x04, 0x05])

const StreamType = { control: 0x00, push: 0x01, encoder: 0x02, decoder: 0x03 } as const

/** A SETTINGS frame holds a few pairs; this many bytes are ten times what anybody sends. */
const maxSettingsLength = 1024

/** Larger than any request stream that there will be: a GOAWAY that only announces another. */
export const noStreamYet = Number.MAX_SAFE_INTEGER - 3

/** What one end is ready to take. */
export interface Settings {
  /** The largest header or trailer section; `Infinity` where none is said. */
  readonly maxFieldSectionSize: number
  readonly datagrams: boolean
}

export interface Events {
  /** The other end has spoken: it accepted this end. */
  readonly onSettings: (settings: Settings) => void
  /**
   * The other end goes away. A client's requests on streams from `id` on were not processed; to a server the number
   * says nothing, for it pushes nothing.
   */
  readonly onGoaway: (id: number) => void
  /** A frame, or a stream, that brings nothing. */
  readonly onUseless?: (() => void) | undefined
}

export interface Http3Connection {
  /** The first bytes of the three streams that this end opens before all others: control, QPACK encoder and decoder. */
  readonly opening: readonly [control: Buffer, encoder: Buffer, decoder: Buffer]
  readonly peerSettings: () => Settings | undefined
  /**
   * Takes the bytes of a unidirectional stream that the other end opened, `fin` with the last. Gives the code with which
   * the rest is to be refused (STOP_SENDING), if that is so: the stream is forgotten then. Throws a `Http3Violation`;
   * nothing may be received then. The chunk is not kept.
   */
  readonly receive: (streamId: number, chunk: Buffer, fin: boolean) => number | undefined
  /** The other end has reset a unidirectional stream that it opened. Throws where it is one that must stay open. */
  readonly onReset: (streamId: number) => void
  /** The other end does not read a unidirectional stream of this end: all of them must stay open, so that it throws. */
  readonly onStopped: () => never
  /**
   * The bytes for the control stream which say that requests on streams from `streamId` on are not processed. A later
   * call may only lower the number; one that does not gives nothing to send.
   */
  readonly goaway: (streamId: number) => Buffer
  /** Whether a request on this stream came before the GOAWAY of this end; if not, it is H3_REQUEST_REJECTED. */
  readonly accepts: (streamId: number) => boolean
}

/** A unidirectional stream of the other end. */
interface Incoming {
  /** Its type, -1 before it is known. */
  type: number
  readonly reader: Varint.Reader
}

const closed = () => onConnection("H3_CLOSED_CRITICAL_STREAM", "the end of a stream that must stay open")
const unexpected = (text: string) => onConnection("H3_FRAME_UNEXPECTED", text)
const wrongId = (text: string) => onConnection("H3_ID_ERROR", text)

const readSettings = (values: ReadonlyArray<number>): Settings => {
  const settings = new Map<number, number>()
  for (let i = 0; i < values.length; i += 2) {
    const id = values[i] ?? 0
    const value = values[i + 1]
    if (value === undefined) {
      throw onConnection("H3_FRAME_ERROR", "a setting without a value")
    }
    if (reservedSettings.has(id) || settings.has(id)) {
      throw onConnection("H3_SETTINGS_ERROR", `setting ${id} twice, or one that belongs to HTTP/2`)
    }
    settings.set(id, value)
  }
  const datagrams = settings.get(Setting.h3Datagram) ?? 0
  if (datagrams > 1) {
    throw onConnection("H3_SETTINGS_ERROR", "SETTINGS_H3_DATAGRAM is neither 0 nor 1")
  }
  return {
    maxFieldSectionSize: settings.get(Setting.maxFieldSectionSize) ?? Number.POSITIVE_INFINITY,
    datagrams: datagrams === 1
  }
}

/** The bytes of a control stream of the other end. */
const makeControl = (role: "client" | "server", events: Events, onSettings: (settings: Settings) => void) => {
  const decoder = Frames.makeDecoder()
  let hasSettings = false
  let goaway = Number.POSITIVE_INFINITY
  let maxPushId = -1

  const onFrame = (type: number, length: number): Frames.Treatment => {
    if (!hasSettings && type !== Type.settings) {
      throw onConnection("H3_MISSING_SETTINGS", "the first frame is not SETTINGS")
    }
    if (hasSettings) {
      events.onUseless?.()
    }
    switch (type) {
      case Type.settings:
        if (hasSettings) {
          throw unexpected("a second SETTINGS frame")
        }
        if (length > maxSettingsLength) {
          throw onConnection("H3_EXCESSIVE_LOAD", `a SETTINGS frame of ${length} bytes`)
        }
        hasSettings = true
        return "whole"
      case Type.goaway:
      case Type.cancelPush:
      case Type.maxPushId:
        if (length > 8) {
          throw onConnection("H3_FRAME_ERROR", `a frame of type ${type} with ${length} bytes`)
        }
        return "whole"
      case Type.data:
      case Type.headers:
      case Type.pushPromise:
        throw unexpected(`a frame of type ${type} on the control stream`)
      default:
        if (Frames.isReserved(type)) {
          throw unexpected(`a frame of type ${type}, which belongs to HTTP/2`)
        }
        return "drop"
    }
  }

  const onId = (type: number, id: number) => {
    if (type === Type.goaway) {
      // A server names a request stream, a client a push.
      if (id > goaway || (role === "client" && id % 4 !== 0)) {
        throw wrongId("a GOAWAY with a number that rises, or is no request stream's")
      }
      goaway = id
      return events.onGoaway(id)
    }
    if (type === Type.cancelPush) {
      throw wrongId("a CANCEL_PUSH for a push that was not promised")
    }
    if (role === "client") {
      throw unexpected("a MAX_PUSH_ID from a server")
    }
    if (id < maxPushId) {
      throw wrongId("a MAX_PUSH_ID that falls")
    }
    maxPushId = id
  }

  const onWhole = (type: number, bytes: Buffer, start: number, end: number) => {
    const values = Frames.readIntegers(bytes, start, end)
    if (type === Type.settings) {
      return onSettings(readSettings(values))
    }
    const [id] = values
    if (id === undefined || values.length > 1) {
      throw onConnection("H3_FRAME_ERROR", `a frame of type ${type} that does not hold one integer`)
    }
    onId(type, id)
  }

  const handler: Frames.Handler<undefined> = { onFrame, onWhole, onPass: () => undefined }
  return (chunk: Buffer) => Frames.receive(decoder, handler, undefined, chunk)
}

export const make = (role: "client" | "server", settings: Settings, events: Events): Http3Connection => {
  const writer = Varint.makeWriter()
  const incoming = new Map<number, Incoming>()
  /** The control and QPACK streams of the other end that are open. */
  const critical = new Set<number>()
  let peer: Settings | undefined
  let goawaySent = Number.POSITIVE_INFINITY

  const onControl = makeControl(role, events, (theirs) => {
    peer = theirs
    events.onSettings(theirs)
  })
  const onDecoder = Qpack.makeDecoderStream()

  const opening = () => {
    const control = Varint.makeWriter()
    Varint.reserve(control, 1)
    control.buffer[control.at++] = StreamType.control
    const pairs: Array<number> = [Setting.qpackMaxTableCapacity, 0, Setting.qpackBlockedStreams, 0]
    if (Number.isFinite(settings.maxFieldSectionSize)) {
      pairs.push(Setting.maxFieldSectionSize, settings.maxFieldSectionSize)
    }
    if (settings.datagrams) {
      pairs.push(Setting.h3Datagram, 1)
    }
    Frames.writeIntegers(control, Type.settings, pairs)
    return [Varint.take(control), Buffer.of(StreamType.encoder), Buffer.of(StreamType.decoder)] as const
  }

  /** Whether the stream is read. */
  const begin = (type: number): boolean => {
    switch (type) {
      case StreamType.control:
      case StreamType.encoder:
      case StreamType.decoder:
        if (critical.has(type)) {
          throw onConnection("H3_STREAM_CREATION_ERROR", `a second stream of type ${type}`)
        }
        critical.add(type)
        return true
      case StreamType.push:
        throw role === "client"
          ? wrongId("a push, which this end did not allow")
          : onConnection("H3_STREAM_CREATION_ERROR", "a push stream from a client")
      default:
        return false
    }
  }

  const read = (type: number, chunk: Buffer) => {
    if (type === StreamType.control) {
      onControl(chunk)
    } else if (type === StreamType.encoder) {
      Qpack.checkEncoderStream(chunk)
    } else {
      onDecoder(chunk)
    }
  }

  const receive = (streamId: number, chunk: Buffer, fin: boolean) => {
    let stream = incoming.get(streamId)
    if (stream === undefined) {
      stream = { type: -1, reader: Varint.makeReader() }
      incoming.set(streamId, stream)
    }
    let at = 0
    if (stream.type < 0) {
      at = Varint.read(stream.reader, chunk, 0, chunk.length)
      if (stream.reader.missing !== 0) {
        if (fin) {
          incoming.delete(streamId)
        }
        return undefined
      }
      stream.type = stream.reader.value
      if (!begin(stream.type)) {
        incoming.delete(streamId)
        events.onUseless?.()
        return fin ? undefined : codes.H3_STREAM_CREATION_ERROR
      }
    }
    if (at < chunk.length) {
      read(stream.type, at === 0 ? chunk : chunk.subarray(at))
    }
    if (fin) {
      throw closed()
    }
    return undefined
  }

  return {
    opening: opening(),
    peerSettings: () => peer,
    receive,
    onReset: (streamId) => {
      const stream = incoming.get(streamId)
      incoming.delete(streamId)
      if (stream !== undefined && stream.type >= 0) {
        throw closed()
      }
    },
    onStopped: () => {
      throw closed()
    },
    goaway: (streamId) => {
      if (streamId < goawaySent) {
        goawaySent = streamId
        Frames.writeIntegers(writer, Type.goaway, [streamId])
      }
      return Varint.take(writer)
    },
    accepts: (streamId) => streamId < goawaySent
  }
}
