import { ResponseDefectEncoded } from "@effect/rpc/RpcMessage"
import type * as RpcSerialization from "@effect/rpc/RpcSerialization"
import * as Chunk from "effect/Chunk"
import * as Either from "effect/Either"
import * as Stream from "effect/Stream"
import type * as Method from "../../Transport/Method.js"
import * as Service from "../../Transport/Service.js"

/** Frames that wait to be sent before who makes them has to wait. */
export const waiting = 64

/** The largest message: a longer frame goes in several, short ones share one. */
const maxMessage = 256 * 1024

/** The server's first message: the client is connected. */
export const hello = new Uint8Array(0)

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

/** What is sent instead of a response that can't be encoded: its request has failed, and no other. */
export const encodeDefect = (parser: RpcSerialization.Parser, requestId: string): Uint8Array => {
  const { defect } = ResponseDefectEncoded(new Error("the response can't be encoded"))
  const exit = { _tag: "Failure", cause: { _tag: "Die", defect } }
  return encode(parser, { _tag: "Exit", requestId, exit }) ?? hello
}

/** The frames in a message, or why there are none. */
export const decode = <A>(
  parser: RpcSerialization.Parser,
  message: Uint8Array
): Either.Either<ReadonlyArray<A>, string> =>
  Either.try({
    // The other end speaks the same protocol, or what it says means nothing to `@effect/rpc`.
    try: () => parser.decode(message) as ReadonlyArray<A>,
    catch: (cause) => `frames that can't be decoded: ${cause instanceof Error ? cause.message : cause}`
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
export const batched = <E>(
  { includesFraming }: RpcSerialization.RpcSerialization["Type"],
  frames: Stream.Stream<Uint8Array, E>
): Stream.Stream<Uint8Array, E> =>
  includesFraming
    ? Stream.mapChunks(frames, (chunk) => Chunk.unsafeFromArray(join(Chunk.toReadonlyArray(chunk))))
    : frames
