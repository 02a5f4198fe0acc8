import * as Cause from "effect/Cause"
import * as Context from "effect/Context"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as FiberRef from "effect/FiberRef"
import * as HashMap from "effect/HashMap"
import * as HashSet from "effect/HashSet"
import * as Layer from "effect/Layer"
import * as Logger from "effect/Logger"
import * as Stream from "effect/Stream"
import { Log, type NodeEvent, type Order, type PeerAddress } from "../protocol.js"

interface SupervisorService {
  readonly report: (event: NodeEvent) => Effect.Effect<void>
  /** Completes when the peers are known. */
  readonly peers: Effect.Effect<ReadonlyArray<PeerAddress>>
  /** Completes when this node shall begin to submit. */
  readonly work: Effect.Effect<void>
  /** Completes when this node shall submit nothing new. */
  readonly rest: Effect.Effect<void>
  /** Completes when this node shall end. */
  readonly end: Effect.Effect<void>
}

/** Whoever started this node: hears what happens, and says when to begin and to stop. */
export class Supervisor extends Context.Tag("cluster/Supervisor")<Supervisor, SupervisorService>() {}

const logger = (report: SupervisorService["report"]) =>
  Logger.make(({ annotations, cause, logLevel, message }) => {
    const text = Array.isArray(message) ? message.join(" ") : String(message)
    const event = new Log({
      level: logLevel.label,
      message: Cause.isEmpty(cause) ? text : `${text}\n${Cause.pretty(cause)}`,
      annotations: Object.fromEntries(HashMap.toEntries(annotations))
    })
    Effect.runSync(report(event))
  })

/** A supervisor that is reached by a function and heard on a stream. It gets what the node logs, and nobody else does. */
export const layer = (report: SupervisorService["report"], orders: Stream.Stream<Order>) => {
  const service = Effect.gen(function* () {
    const peers = yield* Deferred.make<ReadonlyArray<PeerAddress>>()
    const work = yield* Deferred.make<void>()
    const rest = yield* Deferred.make<void>()
    const obey = (order: Order) => {
      switch (order._tag) {
        case "Join":
          return Deferred.succeed(peers, order.peers)
        case "Work":
          return Deferred.succeed(work, undefined)
        case "Rest":
          return Deferred.succeed(rest, undefined)
      }
    }
    const obeying = yield* Effect.forkScoped(Stream.runForEach(orders, obey))
    return {
      report,
      peers: Deferred.await(peers),
      work: Deferred.await(work),
      rest: Deferred.await(rest),
      end: Fiber.join(obeying)
    }
  })
  const onlyLogger = Effect.locallyScoped(FiberRef.currentLoggers, HashSet.make(logger(report)))
  return Layer.merge(Layer.scoped(Supervisor, service), Layer.scopedDiscard(onlyLogger))
}
