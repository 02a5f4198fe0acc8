import * as Arr from "effect/Array"
import * as Effect from "effect/Effect"
import type { DevCa } from "effect-transport"
import { Progress } from "../../shared/Progress.js"
import { type TransportName, transports } from "../../shared/transports.js"
import type { Log } from "../protocol.js"
import * as Cluster from "./Cluster.js"
import * as Observer from "./Observer.js"
import * as Summary from "./Summary.js"
import * as Tally from "./Tally.js"
import * as Ticker from "./Ticker.js"

interface Options {
  readonly ca: DevCa.DevCa
  readonly transport: TransportName
  readonly nodes: number
  readonly seconds: number
}

/** What a node logs, but for the retries of its calls to a peer that is away, which are told together. */
const told = ({ line, trouble }: Progress["Type"], who: string, { annotations, message }: Log) => {
  const { peer, ...others } = annotations
  if (typeof peer === "string" && /^(retry|gave up): /.test(message)) {
    return trouble({ who, peer, text: message, isGivenUp: message.startsWith("gave up") })
  }
  const details = Object.entries(peer === undefined ? others : annotations).map(([key, value]) => `  ${key}=${value}`)
  return line(who, `${message}${details.join("")}`)
}

/** Runs a cluster for a while. In the middle one node is killed, is missed, returns, and gets what it has missed. */
export const run = ({ ca, nodes, seconds, transport }: Options) =>
  Effect.gen(function* () {
    const progress = yield* Progress
    const { line } = progress
    const { nodes: kind, title } = transports[transport]
    const names = Arr.makeBy(nodes, (i) => `node-${i + 1}`)
    const victim = `node-${nodes}`
    const tally = Tally.make(names)

    yield* line("cluster", `starts ${nodes} nodes as ${kind}, which talk over ${title}`)
    const cluster = yield* Cluster.make({
      ca,
      transport,
      names,
      hear: (name, event) =>
        Effect.zipRight(
          Effect.sync(() => tally.hear(name, event)),
          event._tag === "Log" ? told(progress, name, event) : Effect.void
        )
    })
    yield* line("cluster", "is complete, and goes to work")
    yield* Effect.forkScoped(Ticker.run(tally, cluster.addresses[0]))

    const story = Effect.gen(function* () {
      yield* Effect.sleep(`${seconds * 0.35} seconds`)
      yield* cluster.kill(victim)
      yield* line(victim, "WAS KILLED", "bad")
      yield* Effect.sleep(`${seconds * 0.15} seconds`)
      yield* line(victim, "is started again, with nothing but its name and port")
      const { blocks, millis, transactions } = yield* cluster.restart(victim)
      yield* line(
        victim,
        `IS BACK: ${blocks} blocks with ${transactions} transactions repaired in ${Math.round(millis)} ms`,
        "good"
      )
      yield* Effect.sleep(`${seconds * 0.5} seconds`)
    })
    yield* Effect.raceFirst(story, cluster.lost)

    yield* cluster.rest
    yield* line("cluster", `rests; are all ${tally.acknowledged.size} acknowledged transactions on all nodes?`)
    const { ledgers, problems } = yield* Observer.verify(cluster.addresses, tally.acknowledged)
    yield* cluster.leave
    return Summary.make(transport, tally, ledgers, problems)
  }).pipe(Effect.scoped)
