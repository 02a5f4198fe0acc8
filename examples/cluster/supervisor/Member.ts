import * as Cause from "effect/Cause"
import * as Data from "effect/Data"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Stream from "effect/Stream"
import type { Listening, NodeEvent, Order, PeerAddress, Ready, Resting } from "../protocol.js"
import type { Host } from "./Host.js"

/** A node ended although nobody wanted it to. */
export class NodeLost extends Data.TaggedError("NodeLost")<{ readonly message: string }> {}

/** A node of the cluster that takes calls. */
export interface Member {
  readonly address: PeerAddress
  readonly port: number
  readonly order: (order: Order) => Effect.Effect<void>
  /** Completes when the node has what its peers have. */
  readonly ready: Effect.Effect<Ready, NodeLost>
  /** Completes when the node submits nothing new. */
  readonly resting: Effect.Effect<Resting, NodeLost>
  /** Ends it at once, and completes when everything that it said has been heard. */
  readonly kill: Effect.Effect<void>
  /** Lets it end by itself, for two seconds at most. */
  readonly leave: Effect.Effect<void>
}

interface Options {
  readonly host: Host
  readonly name: string
  readonly environment: Readonly<Record<string, string>>
  readonly hear: (event: NodeEvent) => Effect.Effect<void>
  /** Fails when the node ends by itself. */
  readonly lost: Deferred.Deferred<never, NodeLost>
}

const why = (name: string, exit: Exit.Exit<void>) =>
  Exit.match(exit, {
    onSuccess: () => `${name} ended, although nobody had ended it`,
    onFailure: (cause) => `${name} can't be understood: ${Cause.pretty(cause)}`
  })

/** Starts a node, and completes when it takes calls. */
export const start = ({ environment, hear, host, lost, name }: Options) =>
  Effect.gen(function* () {
    const listening = yield* Deferred.make<Listening>()
    const ready = yield* Deferred.make<Ready>()
    const resting = yield* Deferred.make<Resting>()
    const dismissed = yield* Deferred.make<void>()
    const node = yield* host(environment)

    const note = (event: NodeEvent): Effect.Effect<unknown> => {
      switch (event._tag) {
        case "Listening":
          return Deferred.succeed(listening, event)
        case "Ready":
          return Deferred.succeed(ready, event)
        case "Resting":
          return Deferred.succeed(resting, event)
        default:
          return Effect.void
      }
    }
    const hearing = yield* Stream.runForEach(node.events, (event) => Effect.zipRight(hear(event), note(event))).pipe(
      Effect.onExit((exit) =>
        Effect.unlessEffect(Deferred.fail(lost, new NodeLost({ message: why(name, exit) })), Deferred.isDone(dismissed))
      ),
      Effect.forkScoped
    )
    const dismiss = (end: Effect.Effect<void>) =>
      Deferred.succeed(dismissed, undefined).pipe(
        Effect.zipRight(end),
        Effect.zipRight(Fiber.await(hearing)),
        Effect.asVoid
      )
    const unlessLost = <A>(deferred: Deferred.Deferred<A>) =>
      Effect.raceFirst(Deferred.await(deferred), Deferred.await(lost))

    const { port } = yield* unlessLost(listening)
    return {
      address: { name, target: `127.0.0.1:${port}` },
      port,
      order: node.order,
      ready: unlessLost(ready),
      resting: unlessLost(resting),
      kill: dismiss(node.kill),
      leave: Effect.asVoid(Effect.timeoutOption(dismiss(node.release), "2 seconds"))
    }
  })
