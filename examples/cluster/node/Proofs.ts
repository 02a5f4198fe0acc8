import * as Effect from "effect/Effect"
import * as Stream from "effect/Stream"
import { History } from "./History.js"
import * as Peers from "./Peers.js"
import { Stats } from "./Stats.js"

/** One claim, and the peer's verdict. */
const prove = (peer: Peers.Peer) =>
  Effect.gen(function* () {
    const stats = yield* Stats
    const claim = yield* History.advance
    const { valid } = yield* Peers.call(peer, peer.poh.prove(claim))
    yield* stats.count(valid ? { validProofs: 1 } : { invalidProofs: 1 })
  })

/** Ten claims in a call. */
const proveBatch = (peer: Peers.Peer) =>
  Effect.gen(function* () {
    const stats = yield* Stats
    const claims = yield* Effect.replicateEffect(History.advance, 10)
    const { invalid, valid } = yield* Peers.call(peer, peer.poh.proveBatch(Stream.fromIterable(claims)))
    yield* stats.count({ validProofs: valid, invalidProofs: invalid })
  })

/** Has a peer verify this node's history all the time. The more peers there are, the less each of them has to. */
export const withPeer = (peer: Peers.Peer, peers: number) =>
  Effect.all(
    [
      Peers.forever(peer, prove(peer), `${100 * peers} millis`),
      Peers.forever(peer, proveBatch(peer), `${peers} seconds`)
    ],
    { concurrency: "unbounded" }
  )
