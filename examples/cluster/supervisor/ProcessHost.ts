import { fileURLToPath } from "node:url"
import * as Command from "@effect/platform/Command"
import * as Effect from "effect/Effect"
import * as Mailbox from "effect/Mailbox"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"
import { NodeEvent, Order } from "../protocol.js"
import type { Host, RunningNode } from "./Host.js"

const program = fileURLToPath(new URL("../node/main.ts", import.meta.url))

const encode = Schema.encodeSync(Schema.parseJson(Order))
const decode = Schema.decode(Schema.parseJson(NodeEvent))

/** Runs a node as a process of its own, which ends when its stdin does: also when this process is gone. */
export const start: Host = (environment) =>
  Effect.gen(function* () {
    const orders = yield* Mailbox.make<Order>()
    const lines = Stream.map(Mailbox.toStream(orders), (order) => `${encode(order)}\n`)
    const child = yield* Command.make(process.execPath, ...process.execArgv, program).pipe(
      Command.env(environment),
      Command.stdin(Stream.encodeText(lines)),
      Command.stderr("inherit"),
      Command.start
    )
    const kill = Effect.ignore(child.kill("SIGKILL"))
    yield* Effect.addFinalizer(() => kill)
    const node: RunningNode = {
      events: child.stdout.pipe(Stream.decodeText(), Stream.splitLines, Stream.mapEffect(decode), Stream.orDie),
      order: (order) => orders.offer(order),
      release: orders.end,
      kill
    }
    return node
  }).pipe(Effect.orDie)
