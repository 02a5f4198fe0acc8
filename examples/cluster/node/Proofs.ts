import * as Effect from "effect/Effect"
import * as Stream from "effect/Stream"
import { History } from "./History.js"
import * as Pace from "./Pace.js"
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

/** Has a peer verify this node's history all the time. */
export const withPeer = (peer: Peers.Peer, peers: number) =>
  Effect.all(
    [
      Peers.forever(peer, prove(peer), Pace.pause(30, peers)),
      Peers.forever(peer, proveBatch(peer), Pace.pause(3, peers))
    ],
    { concurrency: "unbounded" }
  )
