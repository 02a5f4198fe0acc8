/** Messages to bytes and back within their limits; what a codec throws becomes the error of its call. */
import * as Either from "effect/Either"
import * as Exit from "effect/Exit"
import { constVoid } from "effect/Function"
import * as LogLevel from "effect/LogLevel"
import * as Bytes from "../protocol/Bytes.js"
import { type Boundary, count, describe, escapeText, onRejected } from "../Transport/internal/boundary.js"
import type { Where } from "../Transport/internal/where.js"
import type * as Method from "../Transport/Method.js"
import { Internal, ResourceExhausted, type Unimplemented } from "../Transport/TransportError.js"
import * as CallErrors from "./CallErrors.js"

/** What a message from a peer may cost. */
interface Limits {
  readonly maxReceiveMessageSize: number
  readonly maxMessageElements: number
}

/** A message that can't be encoded is this end's mistake, one that can't be decoded most often the peer's. */
const thrown = (
  boundary: Boundary,
  level: LogLevel.LogLevel,
  what: "encoded" | "decoded",
  { method, peer }: Where,
  cause: unknown
): void => {
  count("callback")
  boundary.log(
    level,
    `not ${what}: ${method}`,
    `a message of ${method} can't be ${what}, with ${escapeText(peer)}: ${describe(cause).text}`
  )
}

/** A message as bytes, no larger than the limit. What can't be encoded is the sender's own mistake. */
export const encode = <A>(
  codec: Method.Codec<A>,
  value: A,
  limit: number,
  where: Where,
  boundary: Boundary
): Either.Either<Uint8Array, Internal | ResourceExhausted> => {
  let bytes: Uint8Array
  try {
    const encoded = codec.encode(value)
    onRejected(encoded, constVoid)
    bytes = Bytes.plain(encoded)
  } catch (cause) {
    thrown(boundary, LogLevel.Error, "encoded", where, cause)
    return Either.left(new Internal({ message: "the message can't be encoded", cause, ...where }))
  }
  return bytes.length > limit
    ? Either.left(CallErrors.messageToSendTooLarge(bytes.length, limit, where))
    : Either.right(bytes)
}

/** A message from a peer's bytes. */
export const decode = <A>(
  codec: Method.Codec<never, A>,
  bytes: Uint8Array,
  { maxMessageElements, maxReceiveMessageSize }: Limits,
  where: Where,
  boundary: Boundary
): Either.Either<A, Internal | ResourceExhausted> => {
  if (bytes.length > maxReceiveMessageSize) {
    return Either.left(CallErrors.messageTooLarge(maxReceiveMessageSize, where))
  }
  try {
    const elements = codec.countElements === undefined ? 0 : codec.countElements(bytes, maxMessageElements)
    onRejected(elements, constVoid)
    if (elements > maxMessageElements) {
      const message = `the received message has more than the ${maxMessageElements} elements allowed`
      return Either.left(new ResourceExhausted({ message, ...where }))
    }
    if (elements < 0) {
      return Either.left(malformed(where))
    }
    const decoded = codec.decode(bytes)
    onRejected(decoded, constVoid)
    return Either.right(decoded)
  } catch (cause) {
    thrown(boundary, LogLevel.Warning, "decoded", where, cause)
    return Either.left(malformed(where, cause))
  }
}

const malformed = (where: Where, cause?: unknown) =>
  new Internal({ message: "the received message is malformed", cause, ...where })

/** The answer of a unary call, of which there has to be one. */
export const decodeReply = <A>(
  codec: Method.Codec<never, A>,
  bytes: Uint8Array | undefined,
  limits: Limits,
  where: Where,
  boundary: Boundary
): Exit.Exit<A, Internal | ResourceExhausted | Unimplemented> => {
  if (bytes === undefined) {
    return Exit.fail(CallErrors.noReply(where))
  }
  const decoded = decode(codec, bytes, limits, where, boundary)
  return Either.isLeft(decoded) ? Exit.fail(decoded.left) : Exit.succeed(decoded.right)
}
