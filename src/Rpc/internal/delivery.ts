import type { FromServerEncoded } from "@effect/rpc/RpcMessage"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Runtime from "effect/Runtime"

/** Passes responses on to their requests. */
export type Deliver = (response: FromServerEncoded) => Effect.Effect<void>

/**
 * A chunk is delivered when its stream has room for it. Until then it holds up the end of that stream and nothing else,
 * or one that nobody reads from would keep all responses from a client.
 */
export const make = (runtime: Runtime.Runtime<never>, deliver: Deliver): Deliver => {
  const runFork = Runtime.runFork(runtime)
  const chunks = new Map<string, Fiber.RuntimeFiber<void>>()

  const start = (requestId: string, chunk: Effect.Effect<void>) => {
    const fiber = runFork(chunk, { immediate: true })
    if (fiber.unsafePoll() === null) {
      chunks.set(requestId, fiber)
      fiber.addObserver(() => chunks.get(requestId) === fiber && chunks.delete(requestId))
    }
  }

  return (response) => {
    switch (response._tag) {
      case "Chunk": {
        const before = chunks.get(response.requestId)
        const next = Effect.sync(() => start(response.requestId, deliver(response)))
        // A server that waits for acks has one chunk of a stream under way.
        return before === undefined ? next : Effect.zipRight(Fiber.await(before), next)
      }
      case "Exit": {
        const before = chunks.get(response.requestId)
        if (before === undefined) {
          return deliver(response)
        }
        chunks.delete(response.requestId)
        return Effect.sync(() => void runFork(Effect.zipRight(Fiber.await(before), deliver(response))))
      }
      default:
        return deliver(response)
    }
  }
}
