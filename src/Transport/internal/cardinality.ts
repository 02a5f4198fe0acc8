/** The rule that a direction which does not stream has exactly one message. */
import * as Chunk from "effect/Chunk"
import * as Effect from "effect/Effect"
import * as Stream from "effect/Stream"
import { Unimplemented } from "../TransportError.js"

/**
 * The one message of a direction that does not stream. It waits for the end, for only then there can't be another.
 *
 * Source: "statuscodes.md" of gRPC: a cardinality violation is UNIMPLEMENTED on both sides.
 */
export const exactlyOne = <A, E, R>(
  messages: Stream.Stream<A, E, R>,
  what: "request" | "response",
  method: string
): Effect.Effect<A, E | Unimplemented, R> =>
  Effect.flatMap(Stream.runCollect(Stream.take(messages, 2)), (chunk) =>
    chunk.length === 1
      ? Effect.succeed(Chunk.unsafeHead(chunk))
      : Effect.fail(
          new Unimplemented({
            message: `${method} takes one ${what} message, ${chunk.length === 0 ? "none" : "more"} came`,
            method
          })
        )
  )
