/**
 * `@effect/rpc` over any transport: groups of `RpcGroup` travel over whichever `Transport` is provided, with any
 * `RpcSerialization`. A client holds one call that streams both ways, and all its requests are on that.
 *
 * @since 0.1.0
 */
import * as RpcClient from "@effect/rpc/RpcClient"
import type { FromClientEncoded, FromServerEncoded } from "@effect/rpc/RpcMessage"
import * as RpcMiddleware from "@effect/rpc/RpcMiddleware"
import * as RpcSerialization from "@effect/rpc/RpcSerialization"
import * as RpcServer from "@effect/rpc/RpcServer"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Layer from "effect/Layer"
import * as Mailbox from "effect/Mailbox"
import * as Option from "effect/Option"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import type { Call } from "../Transport/Call.js"
import { CurrentPeer, type Peer } from "../Transport/Peer.js"
import { type BindError, type ConnectError, InvalidArgument, type StatusError } from "../Transport/TransportError.js"
import * as Transport from "../Transport.js"
import * as Carrier from "./internal/carrier.js"
import * as ProtocolClient from "./internal/protocolClient.js"

/**
 * Which of several protocols on one listener is meant.
 *
 * @since 0.1.0
 * @category models
 */
export interface ProtocolOptions {
  /** Letters and digits; the path of the call that carries the requests ends with it. Default `Connect`. */
  readonly name?: string | undefined
}

/**
 * Who the clients of a server protocol are.
 *
 * @since 0.1.0
 * @category tags
 */
export class Peers extends Context.Tag("effect-transport/RpcTransport/Peers")<
  Peers,
  {
    /** The peer behind the `clientId` that a middleware is given; none when it has disconnected. */
    readonly get: (clientId: number) => Option.Option<Peer>
  }
>() {}

/**
 * A middleware that gives the handlers of its group `Peer.CurrentPeer`. A request whose peer has gone is not handled.
 *
 * @since 0.1.0
 * @category middleware
 */
export class PeerMiddleware extends RpcMiddleware.Tag<PeerMiddleware>()(
  "effect-transport/RpcTransport/PeerMiddleware",
  {
    provides: CurrentPeer
  }
) {}

/**
 * @since 0.1.0
 * @category middleware
 */
export const layerPeerMiddleware: Layer.Layer<PeerMiddleware, never, Peers> = Layer.effect(
  PeerMiddleware,
  Effect.map(Peers, ({ get }) =>
    PeerMiddleware.of(({ clientId }) =>
      Option.match(get(clientId), { onNone: () => Effect.interrupt, onSome: Effect.succeed })
    )
  )
)

/**
 * A server protocol, with the handlers that a listener serves for it.
 *
 * @since 0.1.0
 * @category models
 */
export interface ProtocolServer {
  readonly protocol: RpcServer.Protocol["Type"]
  readonly peers: Peers["Type"]
  readonly handlers: Transport.Handlers<never>
}

interface Client {
  readonly peer: Peer
  readonly send: (response: FromServerEncoded) => Effect.Effect<void>
}

/**
 * A server protocol for a listener that the program opens itself.
 *
 * @since 0.1.0
 * @category server
 */
export const makeProtocolServer = (
  options: ProtocolOptions = {}
): Effect.Effect<ProtocolServer, never, RpcSerialization.RpcSerialization | Scope.Scope> =>
  Effect.gen(function* () {
    const serialization = yield* RpcSerialization.RpcSerialization
    const disconnects = yield* Effect.acquireRelease(Mailbox.make<number>(), (mailbox) => mailbox.shutdown)
    const clients = new Map<number, Client>()
    const clientIds = new Set<number>()
    let lastId = 0
    let onRequest: (clientId: number, request: FromClientEncoded) => Effect.Effect<void> = () => Effect.void

    const connect = (requests: Stream.Stream<Uint8Array, StatusError>, call: Call) =>
      Stream.unwrapScoped(
        Effect.gen(function* () {
          lastId += 1
          const id = lastId
          const parser = serialization.unsafeMake()
          const outbox = yield* Effect.acquireRelease(
            Mailbox.make<Uint8Array, StatusError>(Carrier.waiting),
            (mailbox) => mailbox.shutdown
          )
          const unanswered = new Set<string>()
          let isDraining = false
          const settle = Effect.suspend(() => (isDraining && unanswered.size === 0 ? outbox.end : Effect.void))

          const send = (response: FromServerEncoded) =>
            Effect.suspend(() => {
              if (response._tag === "Exit") {
                unanswered.delete(response.requestId)
              }
              const bytes = Carrier.encode(parser, response)
              return Effect.zipRight(bytes === undefined ? Effect.void : outbox.offer(bytes), settle)
            }).pipe(
              // What can't be encoded is the handler's mistake, and its alone.
              Effect.catchAllDefect((defect) =>
                response._tag === "Exit" || response._tag === "Chunk"
                  ? Effect.zipRight(
                      Effect.logError("an RPC's response can't be encoded", defect),
                      Effect.asVoid(outbox.offer(Carrier.encodeDefect(parser, response.requestId)))
                    )
                  : Effect.die(defect)
              )
            )
          yield* Effect.acquireRelease(
            Effect.sync(() => {
              clients.set(id, { peer: call.peer, send })
              clientIds.add(id)
            }),
            () =>
              Effect.suspend(() => {
                clients.delete(id)
                clientIds.delete(id)
                return disconnects.offer(id)
              })
          )
          const handle = (request: FromClientEncoded) => {
            if (request._tag === "Request") {
              unanswered.add(request.id)
            }
            return onRequest(id, request)
          }
          const receive = (bytes: Uint8Array) =>
            Carrier.decode<FromClientEncoded>(parser, bytes).pipe(
              Either.mapLeft((message) => new InvalidArgument({ message })),
              Effect.flatMap((frames) => Effect.forEach(frames, handle, { discard: true }))
            )
          yield* Stream.runForEach(requests, receive).pipe(
            Effect.matchCauseEffect({ onFailure: outbox.failCause, onSuccess: () => outbox.end }),
            Effect.forkScoped
          )
          // Requests in flight are answered before a listener that closes lets go of its client.
          yield* call.draining.pipe(
            Effect.zipRight(
              Effect.sync(() => {
                isDraining = true
              })
            ),
            Effect.zipRight(settle),
            Effect.forkScoped
          )
          return Stream.concat(Stream.succeed(Carrier.hello), Carrier.batched(serialization, Mailbox.toStream(outbox)))
        })
      )

    const protocol = yield* RpcServer.Protocol.make((writeRequest) => {
      onRequest = writeRequest
      return Effect.succeed({
        disconnects,
        send: (clientId, response) => clients.get(clientId)?.send(response) ?? Effect.void,
        end: () => Effect.void,
        clientIds: Effect.sync(() => clientIds),
        initialMessage: Effect.succeedNone,
        supportsAck: true,
        supportsTransferables: false,
        supportsSpanPropagation: true
      })
    })
    return {
      protocol,
      peers: { get: (clientId) => Option.map(Option.fromNullable(clients.get(clientId)), ({ peer }) => peer) },
      handlers: Transport.handlers(Carrier.service(options.name), { connect })
    }
  })

/**
 * Where to listen, and what else to serve there.
 *
 * @since 0.1.0
 * @category models
 */
export interface ServerOptions<H extends ReadonlyArray<Transport.Handlers<unknown>>>
  extends ProtocolOptions,
    Transport.ListenOptions {
  /** Services of other contracts, on the same listener. */
  readonly handlers?: H | undefined
}

/**
 * A server protocol on a listener of its own, for `RpcServer.layer`.
 *
 * @since 0.1.0
 * @category server
 */
export const layerProtocolServer = <const H extends ReadonlyArray<Transport.Handlers<unknown>> = readonly []>(
  options: ServerOptions<H> = {}
): Layer.Layer<
  RpcServer.Protocol | Transport.Listener | Peers,
  BindError,
  Transport.Transport | RpcSerialization.RpcSerialization | Transport.RequirementsOf<H>
> =>
  Layer.scopedContext(
    Effect.gen(function* () {
      const { handlers, peers, protocol } = yield* makeProtocolServer(options)
      const others = (options.handlers ?? []) as H
      const listener = yield* Transport.listen<readonly [Transport.Handlers<never>, ...H]>(
        [handlers, ...others],
        options
      )
      return Context.make(RpcServer.Protocol, protocol).pipe(
        Context.add(Transport.Listener, listener),
        Context.add(Peers, peers)
      )
    })
  )

/**
 * A client protocol to a peer. It comes back by itself when it is lost; requests that were in flight then fail with
 * `RpcClientError`, whose cause is the error of the transport.
 *
 * @since 0.1.0
 * @category client
 */
export const makeProtocolClient = (
  peer: string,
  options: ProtocolOptions = {}
): Effect.Effect<
  RpcClient.Protocol["Type"],
  ConnectError,
  Transport.Transport | RpcSerialization.RpcSerialization | Scope.Scope
> =>
  Effect.flatMap(Transport.client(Carrier.service(options.name), peer), (client) =>
    ProtocolClient.make(peer, Effect.succeed(client))
  )

/**
 * A client protocol to a peer, for `RpcClient.make`.
 *
 * @since 0.1.0
 * @category client
 */
export const layerProtocolClient = (
  peer: string,
  options?: ProtocolOptions
): Layer.Layer<RpcClient.Protocol, ConnectError, Transport.Transport | RpcSerialization.RpcSerialization> =>
  Layer.scoped(RpcClient.Protocol, makeProtocolClient(peer, options))
