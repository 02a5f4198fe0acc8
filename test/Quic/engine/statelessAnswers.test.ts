import { beforeAll, describe, expect, it } from "@effect/vitest"
import type { HostPort } from "../../../src/Quic/engine/QuicEngine.js"
import * as Quiche from "../../../src/Quic/engine/quiche.js"
import * as Refusal from "../../../src/Quic/engine/refusal.js"
import * as StatelessAnswers from "../../../src/Quic/engine/statelessAnswers.js"

const from = { host: "127.0.0.1", port: 1234 }
const source = new TextEncoder().encode("the client")

let quiche: Quiche.Quiche
beforeAll(async () => {
  quiche = await Quiche.load()
})

/** A packet that begins a connection, of which only the header is read here. */
const initial = (to: Buffer, token = Buffer.alloc(0), size = 1200) =>
  Refusal.seal({
    by: "client",
    keyId: to,
    to,
    from: source,
    token,
    number: 0,
    frames: Buffer.alloc(size - 16 - 4 - 2 - 8 - to.length - source.length - token.length)
  })

const open = (key?: string) => {
  const answers = StatelessAnswers.make(quiche, key)
  const sent: Array<Buffer> = []
  const socket = {
    send: (slab: Buffer, offset: number, length: number, to: HostPort) => {
      expect(to).toBe(from)
      sent.push(Buffer.from(slab.subarray(offset, offset + length)))
    }
  }
  return {
    sent,
    resetToken: answers.resetToken,
    initial: (packet: Buffer, mayBegin = true, remote = from) =>
      answers.initial(packet, remote, socket, () => mayBegin),
    refuse: (initial: StatelessAnswers.Initial) => answers.refuse(initial, from, socket, 2, "why"),
    reset: (packet: Buffer) => answers.reset(packet, from, socket)
  }
}

/** The id and the token of the Retry that was sent. */
const retryOf = (sent: ReadonlyArray<Buffer>) => {
  const [bytes = Buffer.alloc(0)] = sent
  const header = quiche.Header.fromSlice(bytes, Quiche.idLength)
  expect(header.ty).toBe(quiche.Type.Retry)
  return { id: Buffer.from(header.scid), token: Buffer.from(header.token ?? []) }
}

describe("a client's first packet", () => {
  const original = Buffer.from("12345678")

  it("begins a connection once the client has proved its address with the token of a Retry", () => {
    const { initial: read, sent } = open()
    expect(read(initial(original))).toBe(undefined)
    const { id, token } = retryOf(sent)
    expect(read(initial(id, token))).toEqual({ id, original, source })
    expect(sent).toHaveLength(1)
  })

  it("begins none from another address, with another id, or with the token of another listener, and is not answered", () => {
    const { initial: read, sent } = open()
    read(initial(original))
    const { id, token } = retryOf(sent)
    expect(read(initial(id, token), true, { host: "127.0.0.1", port: 1235 })).toBe(undefined)
    expect(read(initial(original, token))).toBe(undefined)
    const other = open()
    expect(other.initial(initial(id, token))).toBe(undefined)
    expect([sent.length, other.sent.length]).toEqual([1, 0])
  })

  it("is not answered where it is short, no Initial packet or no packet at all, or where the client may not begin", () => {
    const { initial: read, sent } = open()
    const handshake = initial(original)
    handshake[0] = 0xe0
    const longId = initial(original)
    longId[5] = 0xff
    const short = initial(original, Buffer.alloc(0), 1199)
    expect([initial(original).length, short.length]).toEqual([1200, 1199])
    for (const packet of [short, handshake, longId]) {
      expect(read(packet)).toBe(undefined)
    }
    expect(read(initial(original), false)).toBe(undefined)
    expect(sent.length).toBe(0)
  })

  it("of another version is answered with the ones that are spoken, whoever may begin", () => {
    const { initial: read, sent } = open()
    const packet = initial(original)
    packet.writeUInt32BE(0x1a2a3a4a, 1)
    expect(read(packet, false)).toBe(undefined)
    expect(sent).toHaveLength(1)
    expect(sent[0]?.readUInt32BE(1)).toBe(0)
  })

  it("that is refused is answered with a packet for the client's id", () => {
    const { refuse, sent } = open()
    refuse({ id: Buffer.from("abcdefgh"), original, source })
    const header = quiche.Header.fromSlice(sent[0] ?? Buffer.alloc(0), source.length)
    expect(header.dcid).toEqual(source)
    expect(Buffer.from(header.scid)).toEqual(Buffer.from("abcdefgh"))
  })
})

describe("a packet of a connection that is not known", () => {
  it("is answered with a reset that is shorter, unless it is too short itself", () => {
    const { reset, resetToken, sent } = open("key")
    reset(Buffer.alloc(42, 0x40))
    expect(sent).toEqual([])
    reset(Buffer.alloc(43, 0x40))
    const [bytes] = sent
    expect(bytes).toHaveLength(42)
    expect((bytes?.[0] ?? 0) & 0xc0).toBe(0x40)
    expect(bytes?.subarray(26)).toEqual(resetToken(Buffer.alloc(8, 0x40)))
  })

  it("is reset with the token of the listener before that had the same key", () => {
    const id = Buffer.from("12345678")
    expect(open("key").resetToken(id)).toEqual(open("key").resetToken(id))
    expect(open("key").resetToken(id)).not.toEqual(open("other").resetToken(id))
    expect(open().resetToken(id)).not.toEqual(open().resetToken(id))
  })
})
