/** The server protocol of @effect/rpc on the calls of its clients. */
import type { FromClientEncoded, FromServerEncoded } from "@effect/rpc/RpcMessage"
import * as RpcSerialization from "@effect/rpc/RpcSerialization"
import * as RpcServer from "@effect/rpc/RpcServer"
import * as Cause from "effect/Cause"
import * as Context from "effect/Context"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as LogLevel from "effect/LogLevel"
import * as Mailbox from "effect/Mailbox"
import * as Metric from "effect/Metric"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import * as Fiber from "../../effect/Fiber.js"
import * as Latch from "../../effect/Latch.js"
import * as Semaphore from "../../effect/Semaphore.js"
import { type Call, CurrentCall } from "../../Transport/Call.js"
import * as Boundary from "../../Transport/internal/boundary.js"
import type { Peer } from "../../Transport/Peer.js"
import { InvalidArgument, ResourceExhausted, type StatusError, Unavailable } from "../../Transport/TransportError.js"
import * as TransportMetrics from "../../Transport/TransportMetrics.js"
import * as Carrier from "./carrier.js"
import type * as FrameScan from "./frameScan.js"
import * as Frames from "./frames.js"

/** A client that is connected. */
interface Client {
  readonly peer: Peer
  readonly send: (response: FromServerEncoded) => Effect.Effect<void>
  readonly end: Effect.Effect<void>
  /** Takes no further requests, and ends when those that it has are answered. */
  readonly drain: Effect.Effect<void>
  readonly fail: (error: StatusError) => Effect.Effect<void>
}

/** A server protocol, and the handler of the call that carries it. */
export interface ProtocolServer {
  readonly protocol: RpcServer.Protocol["Type"]
  readonly peerOf: (clientId: number) => Peer | undefined
  readonly connect: (
    requests: Stream.Stream<Uint8Array, StatusError>,
    call: Call
  ) => Stream.Stream<Uint8Array, StatusError>
}

const refused = Metric.tagged(TransportMetrics.rpcFramesRefused, "side", "server")

/** A defect that a request of the peer's has caused: it may quote all of that. */
const maxDefectLength = 1000

const shorten = (defect: unknown) =>
  typeof defect === "string" && defect.length > maxDefectLength ? `${defect.slice(0, maxDefectLength)}...` : defect

export const make = (
  maxRequests: number,
  maxInterruptRate: number,
  gracePeriod: Duration.DurationInput,
  limits: FrameScan.Limits
): Effect.Effect<ProtocolServer, never, RpcSerialization.RpcSerialization | Scope.Scope> =>
  Effect.gen(function* () {
    const serialization = yield* RpcSerialization.RpcSerialization
    const format = Frames.formatOf(serialization)
    const boundary = yield* Boundary.make
    const disconnects = yield* Effect.acquireRelease(Mailbox.make<number>(), (mailbox) => mailbox.shutdown)
    const clients = new Map<number, Client>()
    const clientIds = new Set<number>()
    /** Open for as long as an `RpcServer` runs. */
    const serving = Latch.makeUnsafe()
    const empty = Latch.makeUnsafe()
    let lastId = 0
    let onRequest: (clientId: number, request: FromClientEncoded) => Effect.Effect<void> = () => Effect.void

    const connect = (requests: Stream.Stream<Uint8Array, StatusError>, call: Call) =>
      Stream.unwrapScoped(
        Effect.gen(function* () {
          lastId += 1
          const id = lastId
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
          /** What may be interrupted before the budget of a second is spent, and since when that is known. */
          let interrupts = maxInterruptRate
          let interruptsSince = performance.now()
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

          yield* Effect.acquireRelease(
            Effect.sync(() => {
              const end = Effect.asVoid(outbox.end)
              clients.set(id, { peer: call.peer, send, end, drain, fail: (error) => outbox.fail(error) })
              clientIds.add(id)
            }),
            () =>
              Effect.suspend(() => {
                clients.delete(id)
                clientIds.delete(id)
                if (clients.size === 0) {
                  empty.unsafeOpen()
                }
                return disconnects.offer(id)
              })
          )

          const take = (request: FromClientEncoded): Effect.Effect<void, ResourceExhausted> => {
            passing = undefined
            if (request._tag === "Interrupt") {
              const now = performance.now()
              interrupts =
                Math.min(maxInterruptRate, interrupts + ((now - interruptsSince) / 1000) * maxInterruptRate) - 1
              interruptsSince = now
              if (interrupts < 0) {
                boundary.log(
                  LogLevel.Warning,
                  "rpc-interrupts",
                  `ending the RPC connection of ${peer}: too many interrupts`
                )
                return new ResourceExhausted({ message: `more than ${maxInterruptRate} interrupts in a second` })
              }
            }
            if (request._tag === "Request") {
              if (unanswered.size >= maxRequests) {
                return new ResourceExhausted({ message: `more than ${maxRequests} requests in flight` })
              }
              // As it will stand in the response.
              passing = String(BigInt(request.id))
              unanswered.add(passing)
            }
            return onRequest(id, request)
          }
          const receive = (bytes: Uint8Array) =>
            Effect.withFiberRuntime<void, StatusError>((fiber) => {
              receiver = fiber
              return Carrier.pass(reader, bytes, take, refuse)
            })
          yield* Stream.runForEach(requests, receive).pipe(
            // What `@effect/rpc` stumbles over: ids and headers that are none.
            Effect.catchAllDefect(
              (defect) => new InvalidArgument({ message: "a frame that is malformed", cause: defect })
            ),
            Effect.matchCauseEffect({ onFailure: (cause) => outbox.failCause(cause), onSuccess: () => outbox.end }),
            // Handlers inherit this context, and would find there what was provided to the listener.
            (serve) => Fiber.withContextAlone(serve, Context.make(CurrentCall, call)),
            Effect.forkScoped
          )
          yield* Effect.forkScoped(Effect.zipRight(call.draining, drain))
          return Stream.concat(
            Stream.fromEffect(Effect.as(serving.await, Carrier.hello(maxRequests))),
            Carrier.messages(serialization, outbox)
          )
        })
      )

    const each = (f: (client: Client) => Effect.Effect<void>) =>
      Effect.forEach([...clients.values()], f, { concurrency: "unbounded", discard: true })

    /**
     * An `RpcServer` that closes interrupts its handlers, and would interrupt who waits for them at the clients. So they
     * may answer before it does, and fail after that.
     */
    const close = Effect.suspend(() => {
      serving.unsafeClose()
      if (clients.size === 0) {
        return Effect.void
      }
      empty.unsafeClose()
      return Effect.zipRight(
        Effect.timeoutOption(
          Effect.interruptible(
            Effect.zipRight(
              each(({ drain }) => drain),
              empty.await
            )
          ),
          gracePeriod
        ),
        each(({ fail }) => fail(new Unavailable({ message: "the peer shut down" })))
      )
    })

    const one = Semaphore.makeUnsafe(1)
    const protocol = RpcServer.Protocol.of({
      run: (f) =>
        one.withPermits(1)(
          Effect.suspend(() => {
            onRequest = f
            serving.unsafeOpen()
            return Effect.onExit(Effect.never, () => close)
          })
        ),
      disconnects,
      send: (clientId, response) => clients.get(clientId)?.send(response) ?? Effect.void,
      end: (clientId) => clients.get(clientId)?.end ?? Effect.void,
      clientIds: Effect.sync(() => clientIds),
      initialMessage: Effect.succeedNone,
      supportsAck: true,
      supportsTransferables: false,
      supportsSpanPropagation: true
    })
    return { protocol, peerOf: (clientId) => clients.get(clientId)?.peer, connect }
  })
