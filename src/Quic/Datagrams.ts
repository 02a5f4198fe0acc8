/**
 * Unreliable datagrams beside the calls of `QuicLive`: each arrives once, or not at all, in any order, and never waits for
 * another. For gossip and other things whose next version is worth more than this one's retransmission.
 *
 * They are HTTP datagrams (RFC 9297) of one request for each connection, which docs/http3.md describes.
 *
 * @since 0.1.0
 */
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import type * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import type { CallConnection } from "../Transport/Call.js"
import * as Peer from "../Transport/Peer.js"
import { type CallError, type ConnectError, InvalidArgument, type Unavailable } from "../Transport/TransportError.js"

/**
 * The ability to send datagrams. `QuicLive` provides it, and no other transport does.
 *
 * @since 0.1.0
 * @category tags
 */
export class Datagrams extends Context.Tag("effect-transport/Datagrams")<Datagrams, DatagramsService>() {}

/**
 * What a transport implements. Programs use `connect`, `over` and `channels` instead.
 *
 * @since 0.1.0
 * @category models
 */
export interface DatagramsService {
  readonly connect: (target: Peer.Target) => Effect.Effect<Channel, ConnectError | CallError, Scope.Scope>
  readonly over: (connection: CallConnection) => Option.Option<Channel>
  readonly channels: Stream.Stream<Channel>
}

/**
 * The datagrams of one connection, both ways.
 *
 * @since 0.1.0
 * @category models
 */
export interface Channel {
  /** The other end. */
  readonly peer: Peer.Peer
  /**
   * Sends a datagram, without waiting for anything. It fails where the datagram can't be sent at all; one that finds the
   * queue full is dropped and counted, like one that is lost on the way but for the counting.
   */
  readonly send: (bytes: Uint8Array) => Effect.Effect<void, DatagramTooLarge | Unavailable>
  /**
   * What comes, while it is read: datagrams that find `maxDatagrams` or `maxDatagramBytes` waiting are dropped and counted,
   * and all that come before the program has the channel. Each goes to one reader. It ends with the channel.
   */
  readonly received: Stream.Stream<Uint8Array>
  /** The most bytes that `send` takes now. It depends on the path and on the peer. */
  readonly maxSize: Effect.Effect<number, Unavailable>
  /** How many this end has dropped so far, for want of room in a queue. */
  readonly dropped: Effect.Effect<{ readonly sending: number; readonly receiving: number }>
}

/**
 * A datagram does not fit into a packet on this path.
 *
 * @since 0.1.0
 * @category errors
 */
export class DatagramTooLarge extends Schema.TaggedError<DatagramTooLarge>("effect-transport/DatagramTooLarge")(
  "DatagramTooLarge",
  {
    message: Schema.String,
    peer: Schema.String,
    /** The bytes that were to be sent, and the most that can be. */
    size: Schema.Number,
    maxSize: Schema.Number
  }
) {}

/**
 * The datagrams of the connection to a peer, `"host:port"` or `"[v6]:port"`, which calls to it share. All who ask for
 * those of one peer have one channel, which ends with the last of them. When the connection is lost it is made again, and the channel goes on; until then `send` fails with `Unavailable`.
 *
 * @since 0.1.0
 * @category client
 */
export const connect = (peer: string): Effect.Effect<Channel, ConnectError | CallError, Datagrams | Scope.Scope> =>
  Effect.gen(function* () {
    const { connect } = yield* Datagrams
    return yield* connect(
      yield* Effect.mapError(Peer.parseTarget(peer), (message) => new InvalidArgument({ message, peer }))
    )
  })

/**
 * The datagrams of the connection over which a call came, where its client has opened a channel.
 *
 * @since 0.1.0
 * @category server
 */
export const over = (connection: CallConnection): Effect.Effect<Option.Option<Channel>, never, Datagrams> =>
  Effect.map(Datagrams, ({ over }) => over(connection))

/**
 * The channels that peers have open to the listeners of the transport: those that are there, and then each that comes.
 *
 * @since 0.1.0
 * @category server
 */
export const channels: Stream.Stream<Channel, never, Datagrams> = Stream.unwrap(
  Effect.map(Datagrams, ({ channels }) => channels)
)

/**
 * All datagrams of all channels that peers have open to the listeners of the transport, with whom they are from.
 *
 * @since 0.1.0
 * @category server
 */
export const received: Stream.Stream<{ readonly bytes: Uint8Array; readonly from: Channel }, never, Datagrams> =
  Stream.flatMap(channels, (from) => Stream.map(from.received, (bytes) => ({ bytes, from })), {
    concurrency: "unbounded"
  })
