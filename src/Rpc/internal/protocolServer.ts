/** The server protocol of @effect/rpc on the calls of its clients. */
import type { FromClientEncoded } from "@effect/rpc/RpcMessage"
import * as RpcSerialization from "@effect/rpc/RpcSerialization"
import * as RpcServer from "@effect/rpc/RpcServer"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Mailbox from "effect/Mailbox"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import * as Latch from "../../effect/Latch.js"
import * as Semaphore from "../../effect/Semaphore.js"
import type { Call } from "../../Transport/Call.js"
import * as Boundary from "../../Transport/internal/boundary.js"
import type { Peer } from "../../Transport/Peer.js"
import { type StatusError, Unavailable } from "../../Transport/TransportError.js"
import * as Carrier from "./carrier.js"
import * as ConnectedClient from "./connectedClient.js"
import type * as FrameScan from "./frameScan.js"

/** A client that is connected. */
interface Connected {
  readonly peer: Peer
  readonly client: ConnectedClient.ConnectedClient
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

export const make = (
  maxRequests: number,
  maxInterruptRate: number,
  gracePeriod: Duration.DurationInput,
  limits: FrameScan.Limits
): Effect.Effect<ProtocolServer, never, RpcSerialization.RpcSerialization | Scope.Scope> =>
  Effect.gen(function* () {
    const serialization = yield* RpcSerialization.RpcSerialization
    const boundary = yield* Boundary.make
    const disconnects = yield* Effect.acquireRelease(Mailbox.make<number>(), (mailbox) => mailbox.shutdown)
    const clients = new Map<number, Connected>()
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
          const client = yield* ConnectedClient.make(
            { serialization, boundary, maxRequests, maxInterruptRate, limits },
            call,
            (request) => onRequest(id, request)
          )
          yield* Effect.acquireRelease(
            Effect.sync(() => {
              clients.set(id, { peer: call.peer, client })
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
          yield* client.receive(requests)
          yield* Effect.forkScoped(Effect.zipRight(call.draining, client.drain))
          return Stream.concat(Stream.fromEffect(Effect.as(serving.await, Carrier.hello(maxRequests))), client.messages)
        })
      )

    const each = (f: (client: ConnectedClient.ConnectedClient) => Effect.Effect<void>) =>
      Effect.forEach([...clients.values()], ({ client }) => f(client), { concurrency: "unbounded", discard: true })

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
      send: (clientId, response) => clients.get(clientId)?.client.send(response) ?? Effect.void,
      end: (clientId) => clients.get(clientId)?.client.end ?? Effect.void,
      clientIds: Effect.sync(() => clientIds),
      initialMessage: Effect.succeedNone,
      supportsAck: true,
      supportsTransferables: false,
      supportsSpanPropagation: true
    })
    return { protocol, peerOf: (clientId) => clients.get(clientId)?.peer, connect }
  })
