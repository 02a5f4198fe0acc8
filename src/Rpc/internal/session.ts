/** Sends requests on one call, no more at a time than its server allows. */
import type { FromClientEncoded } from "@effect/rpc/RpcMessage"
import type * as RpcSerialization from "@effect/rpc/RpcSerialization"
import * as Effect from "effect/Effect"
import { constVoid } from "effect/Function"
import type * as Mailbox from "effect/Mailbox"
import * as Deadlines from "../../Calls/Deadlines.js"
import * as StreamQuota from "../../Calls/StreamQuota.js"
import * as Carrier from "./carrier.js"

/** The requests on one call. */
export interface Session {
  /** Sends a frame; a request waits until the server takes one more. */
  readonly send: (frame: FromClientEncoded) => Effect.Effect<void>
  /** To be told of each request that is answered. */
  readonly answered: (requestId: string) => void
}

export const make = (
  maxRequests: number,
  parser: RpcSerialization.Parser,
  outbox: Mailbox.Mailbox<Uint8Array>
): Session => {
  const unanswered = new Set<string>()
  const mayEnter = () => unanswered.size < maxRequests
  const quota = StreamQuota.make(mayEnter, () => false, Deadlines.make(), constVoid)

  const answered = (requestId: string) => {
    if (unanswered.delete(requestId)) {
      quota.advance()
    }
  }

  const encode = (frame: FromClientEncoded) => {
    try {
      return Carrier.encode(parser, frame)
    } catch (defect) {
      if (frame._tag === "Request") {
        answered(frame.id)
      }
      throw defect
    }
  }

  /** A request that is given up before it is sent is never answered. */
  const unlessSent = (requestId: string, sending: Effect.Effect<void>) =>
    Effect.onInterrupt(sending, () => Effect.sync(() => answered(requestId)))

  const offer = (frame: FromClientEncoded) =>
    Effect.suspend(() => {
      const bytes = encode(frame)
      if (bytes === undefined || outbox.unsafeOffer(bytes)) {
        return Effect.void
      }
      const offered = Effect.asVoid(outbox.offer(bytes))
      return frame._tag === "Request" ? unlessSent(frame.id, offered) : offered
    })

  const enter = (requestId: string) =>
    Effect.async<void>((resume) => {
      const start = () => {
        unanswered.add(requestId)
        resume(Effect.void)
      }
      return Effect.sync(quota.acquire({ method: "", peer: "" }, Number.POSITIVE_INFINITY, start, constVoid))
    })

  return {
    answered,
    send: (frame) =>
      Effect.suspend(() => {
        if (frame._tag !== "Request") {
          return offer(frame)
        }
        if (mayEnter()) {
          unanswered.add(frame.id)
          return offer(frame)
        }
        return unlessSent(frame.id, Effect.zipRight(enter(frame.id), offer(frame)))
      })
  }
}
