import type { MessageInitShape } from "@bufbuild/protobuf"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Schedule from "effect/Schedule"
import * as Stream from "effect/Stream"
import type { GossipMessage, GossipMessageSchema } from "../../gen/dag/v1/dag_pb.js"
import { Ledger } from "./Ledger.js"
import { NodeConfig } from "./NodeConfig.js"
import * as Peers from "./Peers.js"
import { Stats } from "./Stats.js"

type Body = NonNullable<MessageInitShape<typeof GossipMessageSchema>["body"]>

const say = (body: Body) => Effect.map(NodeConfig, ({ name }) => ({ from: name, body }))

/** Each block that this node makes, at once. */
const blocks = Stream.unwrap(Effect.map(Ledger, (ledger) => ledger.produced)).pipe(
  Stream.mapEffect((block) => say({ case: "block", value: block }))
)

/** The newest blocks by name, again and again: who lacks one of them knows that it has a gap. */
const announcements = Stream.repeatEffectWithSchedule(Ledger.tips, Schedule.spaced("500 millis")).pipe(
  Stream.flattenIterables,
  Stream.mapEffect(({ hash, height }) => say({ case: "announcement", value: { hash, height } }))
)

/** What this node tells its peers. */
export const news = Stream.merge(blocks, announcements)

/** What a peer tells this node. */
export const receive = ({ body }: GossipMessage) => {
  switch (body.case) {
    case "block":
      return Effect.asVoid(Ledger.add(body.value))
    case "announcement":
      return Ledger.announce(body.value.hash, body.value.height)
    case "transaction":
      return Effect.asVoid(Ledger.accept(body.value))
    default:
      return Effect.void
  }
}

/** Talks with a peer for as long as it is there, and again when it is back. Of two nodes the lesser name calls. */
export const withPeer = (peer: Peers.Peer) =>
  Effect.gen(function* () {
    const { name } = yield* NodeConfig
    const stats = yield* Stats
    const talk = stats
      .attemptStream(peer.dag.gossip(news, { timeout: Duration.infinity }))
      .pipe(Stream.retry(Peers.retryPolicy), Stream.onStart(stats.count({ calls: 1 })), Stream.runForEach(receive))
    if (name < peer.name) {
      yield* Peers.forever(peer, talk, "200 millis")
    }
  })
