import * as ConfigProvider from "effect/ConfigProvider"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Mailbox from "effect/Mailbox"
import * as Node from "../node/Node.js"
import * as Supervisor from "../node/Supervisor.js"
import type { NodeEvent, Order } from "../protocol.js"
import type { Host } from "./Host.js"

/** Runs a node as a fiber of this process. */
export const start: Host = (environment) =>
  Effect.gen(function* () {
    const events = yield* Mailbox.make<NodeEvent>()
    const orders = yield* Mailbox.make<Order>()
    const fiber = yield* Node.run.pipe(
      Effect.provide(Supervisor.layer((event) => events.offer(event), Mailbox.toStream(orders))),
      Effect.withConfigProvider(ConfigProvider.fromMap(new Map(Object.entries(environment)))),
      Effect.ensuring(events.end),
      Effect.forkScoped
    )
    return {
      events: Mailbox.toStream(events),
      order: (order) => orders.offer(order),
      release: orders.end,
      kill: Fiber.interrupt(fiber)
    }
  })
