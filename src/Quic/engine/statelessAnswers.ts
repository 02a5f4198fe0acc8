/** What a listener answers to packets of no connection, of which it keeps nothing: a version, a Retry, a refusal, a reset. */
import { hkdfSync, randomBytes } from "node:crypto"
import * as Rate from "../../protocol/Rate.js"
import type { HostPort } from "./QuicEngine.js"
import * as Quiche from "./quiche.js"
import * as Refusal from "./refusal.js"
import * as RetryToken from "./retryToken.js"
import type { UdpSocket } from "./udpSocket.js"

/** Clients have to fill up the packet that begins a connection (RFC 9000, section 14.1). */
const minInitialSize = 1200

/** A client has to choose an id of eight bytes at the least (RFC 9000, section 7.2). */
const minIdLength = 8

/** The shortest packet that is answered with a reset, and the length of that (RFC 9000, section 10.3). */
const minResettable = 43
const resetSize = 42

/** Answers of each kind that go out in a second to all together, so that forged addresses get no more of them. */
const maxRate = 20_000

/** The same for refusals before an address is proved: each is encrypted. They are shorter than what they answer. */
const maxRefusalRate = 1000

const version1 = 1

/** A client that begins a connection, and receives at the address that it sends from. */
export interface Initial {
  /** The connection id that it came with, and the one that it had chosen before the Retry. */
  readonly id: Buffer
  readonly original: Buffer
  /** The client's own id. */
  readonly source: Uint8Array
}

export interface StatelessAnswers {
  /**
   * Reads a packet of a client that begins a connection. Undefined where it begins none: it was answered, or is dropped.
   * `mayBegin` is asked before an answer to one that speaks this version. It may call `refuse` where the client shall know why
   * not.
   */
  readonly initial: (
    packet: Buffer,
    from: HostPort,
    socket: Socket,
    mayBegin: (refuse: (code: number, why: string) => void) => boolean
  ) => Initial | undefined
  /** Refuses the connection. */
  readonly refuse: (initial: Initial, from: HostPort, socket: Socket, code: number, why: string) => void
  /** Tells a peer that its connection is not known here any more. Shorter than what it answers, so that two ends can't loop. */
  readonly reset: (packet: Buffer, from: HostPort, socket: Socket) => void
  /** The token with which the connection of this id is reset. */
  readonly resetToken: (id: Uint8Array) => Buffer
}

type Socket = Pick<UdpSocket, "send">

/** `certificateKey`: a listener that comes back with the same can tell the peers of the one before that it knows them no more. */
export const make = (quiche: Quiche.Quiche, certificateKey: string | Buffer | undefined): StatelessAnswers => {
  const retryKey = randomBytes(32)
  const resetKey = Buffer.from(
    hkdfSync("sha256", certificateKey ?? retryKey, "", "effect-transport stateless reset", 32)
  )
  const isTooMany = {
    version: Rate.make(maxRate),
    retry: Rate.make(maxRate),
    reset: Rate.make(maxRate),
    refusal: Rate.make(maxRefusalRate)
  }
  const mayAnswer = (kind: keyof typeof isTooMany) => !isTooMany[kind](performance.now())
  const out = Buffer.allocUnsafeSlow(1500)
  const send = (bytes: Buffer, to: HostPort, socket: Socket) => socket.send(bytes, 0, bytes.length, to)
  const copy = (length: number) => Buffer.from(out.subarray(0, length))
  const resetToken = (id: Uint8Array) => Quiche.resetToken(resetKey, id)

  /** Undefined where it can't be read. */
  const headerOf = (packet: Buffer) => {
    try {
      return quiche.Header.fromSlice(packet, Quiche.idLength)
    } catch {
      return undefined
    }
  }

  const refuse: StatelessAnswers["refuse"] = ({ id, source }, from, socket, code, why) =>
    send(Refusal.make(id, source, code, why), from, socket)

  return {
    initial: (packet, from, socket, mayBegin) => {
      const header = packet.length < minInitialSize ? undefined : headerOf(packet)
      if (header === undefined) {
        return undefined
      }
      if (!quiche.versionIsSupported(header.version)) {
        if (mayAnswer("version")) {
          send(copy(quiche.negotiateVersion(header.scid, header.dcid, out)), from, socket)
        }
        return undefined
      }
      if (header.ty !== quiche.Type.Initial) {
        return undefined
      }
      const refuseAtOnce = (code: number, why: string) => {
        if (header.dcid.length >= minIdLength && mayAnswer("refusal")) {
          const id = Buffer.from(header.dcid)
          refuse({ id, original: id, source: header.scid }, from, socket, code, why)
        }
      }
      if (!mayBegin(refuseAtOnce)) {
        return undefined
      }
      const token = header.token ?? new Uint8Array(0)
      if (token.length === 0) {
        if (mayAnswer("retry")) {
          const id = Quiche.newId()
          const issued = RetryToken.make(retryKey, from, id, header.dcid, Date.now())
          send(copy(quiche.retry(header.scid, header.dcid, id, issued, version1, out)), from, socket)
        }
        return undefined
      }
      const id = Buffer.from(header.dcid)
      const original = RetryToken.read(retryKey, from, id, token, Date.now())
      return original === undefined || id.length !== Quiche.idLength ? undefined : { id, original, source: header.scid }
    },
    refuse,
    reset: (packet, from, socket) => {
      if (packet.length >= minResettable && mayAnswer("reset")) {
        const bytes = randomBytes(resetSize)
        bytes[0] = ((bytes[0] ?? 0) & 0x3f) | 0x40
        resetToken(packet.subarray(1, 1 + Quiche.idLength)).copy(bytes, resetSize - 16)
        send(bytes, from, socket)
      }
    },
    resetToken
  }
}
