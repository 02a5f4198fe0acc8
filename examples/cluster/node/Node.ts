import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Schedule from "effect/Schedule"
import { Credentials, Health, RetryPolicy, Transport } from "effect-transport"
import { transports } from "../../shared/transports.js"
import { Listening, Ready, Report, Resting } from "../protocol.js"
import { DagHandlers } from "./DagHandlers.js"
import * as Gossip from "./Gossip.js"
import { History } from "./History.js"
import { Ledger } from "./Ledger.js"
import { NodeConfig } from "./NodeConfig.js"
import * as Peers from "./Peers.js"
import { PohHandlers } from "./PohHandlers.js"
import * as Proofs from "./Proofs.js"
import * as Repair from "./Repair.js"
import { RepairHandlers } from "./RepairHandlers.js"
import { Stats } from "./Stats.js"
import { Supervisor } from "./Supervisor.js"
import * as Traffic from "./Traffic.js"

/** What this node serves. A node that returns may find its port still in use for a moment. */
const NodeLive = Layer.unwrapEffect(
  Effect.map(NodeConfig, ({ host, port }) =>
    Transport.serve([DagHandlers, PohHandlers, RepairHandlers, Health.handlers], {
      host,
      port,
      gracePeriod: "500 millis"
    })
  )
).pipe(Layer.retry(RetryPolicy.exponential({ initial: "200 millis", times: 5, on: ["BindError"] })))

const TransportLive = Layer.unwrapEffect(Effect.map(NodeConfig, ({ transport }) => transports[transport].layer))

const State = Layer.mergeAll(Ledger.Default, History.Default, Stats.Default, Health.layer)

const makeBlocks = (peers: number) => Effect.repeat(Ledger.produce, Schedule.spaced(Duration.seconds((peers + 1) / 12)))

const report = Effect.gen(function* () {
  const supervisor = yield* Supervisor
  const stats = yield* Stats
  yield* supervisor.report(new Report({ activity: yield* stats.take }))
})

const reportActivity = Effect.ensuring(Effect.repeat(report, Schedule.spaced("250 millis")), report)

/** What this node wants of its peers, until its supervisor has it rest. */
const work = (peers: ReadonlyArray<Peers.Peer>) =>
  Effect.gen(function* () {
    const supervisor = yield* Supervisor
    const withPeer = (peer: Peers.Peer) => [Traffic.withPeer(peer, peers.length), Proofs.withPeer(peer, peers.length)]
    yield* supervisor.work
    yield* Effect.raceFirst(Effect.all(peers.flatMap(withPeer), { concurrency: "unbounded" }), supervisor.rest)
    yield* supervisor.report(new Resting())
  })

/** Becomes one of the cluster: first gets what the others have, then does what they do. */
const takePart = Effect.gen(function* () {
  const supervisor = yield* Supervisor
  const health = yield* Health.Health
  const addresses = yield* supervisor.peers
  const peers = yield* Effect.forEach(addresses, Peers.connect, { concurrency: "unbounded" })
  const anyPeer = yield* Peers.anyOf(addresses)
  const [duration] = yield* Effect.timed(Repair.catchUp(anyPeer))
  yield* health.set("", "SERVING")
  yield* supervisor.report(new Ready({ ...(yield* Ledger.size), millis: Duration.toMillis(duration) }))
  yield* Effect.all(
    [work(peers), makeBlocks(peers.length), Repair.whenNeeded(anyPeer), reportActivity, ...peers.map(Gossip.withPeer)],
    {
      concurrency: "unbounded",
      discard: true
    }
  )
})

/** Reads its configuration from the environment, and is part of the cluster until its supervisor ends it. */
export const run = Effect.gen(function* () {
  const supervisor = yield* Supervisor
  const health = yield* Health.Health
  const { address } = yield* Transport.Listener
  yield* health.set("", "NOT_SERVING")
  yield* supervisor.report(new Listening({ port: address.port }))
  yield* Effect.raceFirst(takePart, supervisor.end)
}).pipe(
  Effect.scoped,
  Effect.provide(NodeLive),
  Effect.provide(Layer.merge(State, TransportLive)),
  Effect.provide(Layer.merge(NodeConfig.Default, Credentials.layerConfig())),
  Effect.tapErrorCause((cause) => Effect.logFatal("the node failed", cause))
)
