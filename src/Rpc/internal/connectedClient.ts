/** A client of an RPC server: its requests on their way in, and the responses on their way out. */
import type { FromClientEncoded, FromServerEncoded } from "@effect/rpc/RpcMessage"
import type * as RpcSerialization from "@effect/rpc/RpcSerialization"
import * as Cause from "effect/Cause"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as LogLevel from "effect/LogLevel"
import * as Mailbox from "effect/Mailbox"
import * as Metric from "effect/Metric"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import * as Fiber from "../../effect/Fiber.js"
import { type Call, CurrentCall } from "../../Transport/Call.js"
import * as Boundary from "../../Transport/internal/boundary.js"
import { InvalidArgument, ResourceExhausted, type StatusError } from "../../Transport/TransportError.js"
import * as TransportMetrics from "../../Transport/TransportMetrics.js"
import * as Carrier from "./carrier.js"
import type * as FrameScan from "./frameScan.js"
import * as Frames from "./frames.js"

export interface ConnectedClient {
  readonly send: (response: FromServerEncoded) => Effect.Effect<void>
  readonly end: Effect.Effect<void>
  /** Takes no further requests, and ends when those that it has are answered. */
  readonly drain: Effect.Effect<void>
  readonly fail: (error: StatusError) => Effect.Effect<void>
  /** Passes on the requests that come, until they end or the scope does. */
  readonly receive: (requests: Stream.Stream<Uint8Array, StatusError>) => Effect.Effect<void, never, Scope.Scope>
  /** What is sent to it. */
  readonly messages: Stream.Stream<Uint8Array, StatusError>
}

export interface Options {
  readonly serialization: RpcSerialization.RpcSerialization["Type"]
  readonly boundary: Boundary.Boundary
  readonly maxRequests: number
  readonly maxInterruptRate: number
  readonly limits: FrameScan.Limits
}

const refused = Metric.tagged(TransportMetrics.rpcFramesRefused, "side", "server")

/** A defect that a request of the peer's has caused: it may quote all of that. */
const maxDefectLength = 1000

const shorten = (defect: unknown) =>
  typeof defect === "string" && defect.length > maxDefectLength ? `${defect.slice(0, maxDefectLength)}...` : defect

/** Spends from a budget that a second fills up. Returns whether there was enough. */
export const makeBudget = (limit: number, clock: () => number): (() => boolean) => {
  let left = limit
  let since = clock()
  return () => {
    const now = clock()
    left = Math.min(limit, left + ((now - since) / 1000) * limit) - 1
    since = now
    return left >= 0
  }
}

export const make = (
  { boundary, limits, maxInterruptRate, maxRequests, serialization }: Options,
  call: Call,
  onRequest: (request: FromClientEncoded) => Effect.Effect<void>
): Effect.Effect<ConnectedClient, never, Scope.Scope> =>
  Effect.gen(function* () {
    const format = Frames.formatOf(serialization)
    const parser = Frames.makeParser(serialization, format, limits)
    const reader = Frames.makeReader<FromClientEncoded>(serialization, format, parser, limits)
    const peer = Boundary.escapeText(call.peer.address)
    const refuse = (reason: string) => {
      refused.unsafeUpdate(1, [])
      boundary.log(LogLevel.Warning, "rpc-frame", `ending the RPC connection of ${peer}: ${reason}`)
      return new InvalidArgument({ message: `frames that can't be decoded: ${reason}` })
    }
    const outbox = yield* Effect.acquireRelease(
      Mailbox.make<Uint8Array, StatusError>(Carrier.waiting),
      (mailbox) => mailbox.shutdown
    )
    const unanswered = new Set<string>()
    const mayInterrupt = makeBudget(maxInterruptRate, () => performance.now())
    let isDraining = false
    const settle = Effect.suspend(() => (isDraining && unanswered.size === 0 ? outbox.end : Effect.void))

    /** The fiber that takes the requests, and the request that it is passing on. */
    let receiver: Fiber.RuntimeFiber<unknown, unknown> | undefined
    let passing: string | undefined

    const offer = (response: FromServerEncoded) =>
      Effect.suspend(() => {
        const bytes = Carrier.encode(parser, response)
        return bytes === undefined || outbox.unsafeOffer(bytes) ? Effect.void : outbox.offer(bytes)
      })

    const answer = (response: FromServerEncoded & { readonly requestId: string }) =>
      offer(response).pipe(
        // What can't be encoded is the handler's mistake, and its alone.
        Effect.catchAllDefect((defect) => {
          unanswered.delete(response.requestId)
          boundary.log(
            LogLevel.Error,
            "RPC response not encoded",
            "an RPC's response can't be encoded",
            {},
            Cause.die(defect)
          )
          return offer(Carrier.unencodable(response.requestId))
        }),
        Effect.zipRight(settle)
      )

    const send = (response: FromServerEncoded): Effect.Effect<void> =>
      Effect.withFiberRuntime((fiber) => {
        switch (response._tag) {
          case "Exit": {
            unanswered.delete(response.requestId)
            const { exit } = response
            // A payload that does not decode is quoted in what is wrong with it.
            return fiber === receiver && exit._tag === "Failure" && exit.cause._tag === "Die"
              ? answer(Carrier.died(response.requestId, shorten(exit.cause.defect)))
              : answer(response)
          }
          case "Chunk":
            return answer(response)
          case "Defect":
            // A request that reaches no handler, as one with an unknown tag, is at fault alone.
            if (fiber === receiver && passing !== undefined) {
              unanswered.delete(passing)
              return answer(Carrier.died(passing, response.defect))
            }
            // To its client it is the end of all that it asked for, and nobody would end their handlers.
            return Effect.zipRight(offer(response), outbox.end)
          default:
            return offer(response)
        }
      })

    const drain = Effect.suspend(() => {
      isDraining = true
      return Effect.zipRight(outbox.offer(Carrier.goodbye), settle)
    })

    const take = (request: FromClientEncoded): Effect.Effect<void, ResourceExhausted> => {
      passing = undefined
      if (request._tag === "Interrupt" && !mayInterrupt()) {
        boundary.log(LogLevel.Warning, "rpc-interrupts", `ending the RPC connection of ${peer}: too many interrupts`)
        return new ResourceExhausted({ message: `more than ${maxInterruptRate} interrupts in a second` })
      }
      if (request._tag === "Request") {
        if (unanswered.size >= maxRequests) {
          return new ResourceExhausted({ message: `more than ${maxRequests} requests in flight` })
        }
        // As it will stand in the response.
        passing = String(BigInt(request.id))
        unanswered.add(passing)
      }
      return onRequest(request)
    }

    return {
      send,
      end: Effect.asVoid(outbox.end),
      drain,
      fail: (error) => outbox.fail(error),
      receive: (requests) =>
        Stream.runForEach(requests, (bytes) =>
          Effect.withFiberRuntime<void, StatusError>((fiber) => {
            receiver = fiber
            return Carrier.pass(reader, bytes, take, refuse)
          })
        ).pipe(
          // What `@effect/rpc` stumbles over: ids and headers that are none.
          Effect.catchAllDefect(
            (defect) => new InvalidArgument({ message: "a frame that is malformed", cause: defect })
          ),
          Effect.matchCauseEffect({ onFailure: (cause) => outbox.failCause(cause), onSuccess: () => outbox.end }),
          // Handlers inherit this context, and would find there what was provided to the listener.
          (serve) => Fiber.withContextAlone(serve, Context.make(CurrentCall, call)),
          Effect.forkScoped,
          Effect.asVoid
        ),
      messages: Carrier.messages(serialization, outbox)
    }
  })
