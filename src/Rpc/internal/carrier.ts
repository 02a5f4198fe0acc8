/** The one streaming call that carries all requests of an @effect/rpc client, and the messages on it. */
import { ResponseDefectEncoded } from "@effect/rpc/RpcMessage"
import type * as RpcSerialization from "@effect/rpc/RpcSerialization"
import * as Channel from "effect/Channel"
import * as Chunk from "effect/Chunk"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import type * as Mailbox from "effect/Mailbox"
import * as Stream from "effect/Stream"
import type * as Method from "../../Transport/Method.js"
import * as Service from "../../Transport/Service.js"
import type * as Frames from "./frames.js"

/** Frames that wait to be sent before who makes them has to wait. */
export const waiting = 64

/** The largest message: a longer frame goes in several, short ones share one. */
const maxMessage = 256 * 1024

/** The server's first message: the client is connected, and may have so many requests in flight. */
export const hello = (maxRequests: number): Uint8Array => {
  const message = new Uint8Array(4)
  new DataView(message.buffer).setUint32(0, maxRequests)
  return message
}

/** How many requests a first message allows, or undefined where it is no hello. */
export const readHello = (message: Uint8Array): number | undefined =>
  message.length === 4 ? new DataView(message.buffer, message.byteOffset).getUint32(0) : undefined

/** What a server says that takes no further requests: the empty message. */
export const goodbye = new Uint8Array(0)

const bytes: Method.Codec<Uint8Array, Uint8Array> = { encode: (bytes) => bytes, decode: (bytes) => bytes }

/** The contract of the call that carries requests and responses, encoded by an `RpcSerialization`. */
export type Contract = ReturnType<typeof service>

export const service = (name = "Connect") =>
  Service.make("effect.rpc.v1.Rpc", {
    connect: { path: `/effect.rpc.v1.Rpc/${name}`, shape: "bidiStreaming", input: bytes, output: bytes }
  })

const text = new TextEncoder()

export const encode = (parser: RpcSerialization.Parser, frame: unknown): Uint8Array | undefined => {
  const encoded = parser.encode(frame)
  return typeof encoded === "string" ? text.encode(encoded) : encoded
}

/** The response to a request that has failed with a defect, and no other request with it. */
export const died = (requestId: string, defect: unknown) => ({
  _tag: "Exit" as const,
  requestId,
  exit: { _tag: "Failure" as const, cause: { _tag: "Die" as const, defect } }
})

/** What is sent instead of a response that can't be encoded. */
export const unencodable = (requestId: string) =>
  died(requestId, ResponseDefectEncoded(new Error("the response can't be encoded")).defect)

/** Frames that are passed on at a time. */
const portion = 16

/** Bytes of frames that are passed on at a time. */
const portionBytes = 64 * 1024

/**
 * Passes on the frames in a message. After every few, or a large one, those whom they wake have their turn, and what they
 * send is on its way before the next: one end works while the other does, where they would else wait for each other.
 */
export const pass = <A, E, E2>(
  reader: Frames.Reader<A>,
  message: Uint8Array,
  passOne: (frame: A) => Effect.Effect<void, E>,
  refuse: (reason: string) => E2
): Effect.Effect<void, E | E2> =>
  Effect.suspend(() => {
    reader.push(message)
    let passed = 0
    let unread = reader.unread()
    let next = reader.next()
    const loop: Effect.Effect<void, E> = Effect.whileLoop({
      while: () => Either.isRight(next) && next.right !== undefined,
      body: () => {
        const one = Either.isRight(next) && next.right !== undefined ? passOne(next.right) : Effect.void
        passed += 1
        const read = unread - reader.unread()
        if (passed % portion !== 0 && read < portionBytes) {
          return one
        }
        unread = reader.unread()
        return Effect.zipRight(one, Effect.yieldNow())
      },
      step: () => {
        next = reader.next()
      }
    })
    return Effect.flatMap(loop, () => (Either.isLeft(next) ? Effect.fail(refuse(next.left)) : Effect.void))
  })

const join = (frames: ReadonlyArray<Uint8Array>): ReadonlyArray<Uint8Array> => {
  if (frames.length === 1 && (frames[0]?.length ?? 0) <= maxMessage) {
    return frames
  }
  const all = Buffer.concat(frames)
  const messages: Array<Uint8Array> = []
  for (let at = 0; at < all.length; at += maxMessage) {
    messages.push(all.subarray(at, at + maxMessage))
  }
  return messages
}

/** Frames as messages. Where the serialization tells by itself where a frame ends, those that wait together go together. */
export const messages = <E>(
  { includesFraming }: RpcSerialization.RpcSerialization["Type"],
  frames: Mailbox.ReadonlyMailbox<Uint8Array, E>
): Stream.Stream<Uint8Array, E> => {
  const pack = (waiting: Chunk.Chunk<Uint8Array>) => {
    if (!includesFraming) {
      return Channel.write(waiting)
    }
    const all = Chunk.toReadonlyArray(waiting)
    return Channel.write(
      Chunk.unsafeFromArray(
        all.includes(goodbye) ? [goodbye, ...join(all.filter((one) => one !== goodbye))] : join(all)
      )
    )
  }
  // As `Mailbox.toStream` does it, and `Stream.mapChunks` after it, which would cost as much again.
  const loop: Channel.Channel<Chunk.Chunk<Uint8Array>, unknown, E> = Channel.flatMap(
    Channel.fromEffect(frames.takeAll),
    ([waiting, isDone]) =>
      isDone ? (Chunk.isEmpty(waiting) ? Channel.void : pack(waiting)) : Channel.zipRight(pack(waiting), loop)
  )
  return Stream.fromChannel(loop)
}
