/** Delivers the responses of one call to their requests, so that a slow reader holds up only its own stream. */

import type { FromServerEncoded } from "@effect/rpc/RpcMessage"
import * as Effect from "effect/Effect"
import * as FiberSet from "effect/FiberSet"
import type * as Scope from "effect/Scope"
import * as Fiber from "../../effect/Fiber.js"

/** Passes responses on to their requests. */
export interface Delivery {
  readonly deliver: (response: FromServerEncoded) => Effect.Effect<void>
  /** Nobody waits for the request's responses any more. */
  readonly abandon: (requestId: string) => void
}

/**
 * A chunk is delivered when its stream has room for it. Until then it holds up the end of that stream and nothing else,
 * or one that nobody reads from would keep all responses from a client.
 */
export const make = (
  deliver: (response: FromServerEncoded) => Effect.Effect<void>
): Effect.Effect<Delivery, never, Scope.Scope> =>
  Effect.map(FiberSet.makeRuntime(), (run) => {
    const chunks = new Map<string, Fiber.RuntimeFiber<void>>()
    /** Last chunks, whose streams end when those are delivered. */
    const ending = new WeakSet<Fiber.RuntimeFiber<void>>()

    const start = (requestId: string, chunk: Effect.Effect<void>) => {
      const fiber = run(chunk, { immediate: true })
      if (Fiber.pollUnsafe(fiber) === undefined) {
        chunks.set(requestId, fiber)
        fiber.addObserver(() => chunks.get(requestId) === fiber && chunks.delete(requestId))
      }
    }

    return {
      deliver: (response) => {
        if (response._tag !== "Chunk" && response._tag !== "Exit") {
          return deliver(response)
        }
        const { requestId } = response
        const before = chunks.get(requestId)
        if (response._tag === "Exit") {
          if (before === undefined) {
            return deliver(response)
          }
          // One end of a stream is all that there is.
          return Effect.sync(() => {
            if (!ending.has(before)) {
              ending.add(before)
              run(Effect.zipRight(Fiber.await(before), deliver(response)))
            }
          })
        }
        const next = Effect.sync(() => start(requestId, deliver(response)))
        // A server that waits for acks has one chunk of a stream under way.
        return before === undefined ? next : Effect.zipRight(Fiber.await(before), next)
      },
      abandon: (requestId) => Fiber.interruptUnsafe(chunks.get(requestId))
    }
  })
