import * as NodeRuntime from "@effect/platform-node/NodeRuntime"
import * as NodeStream from "@effect/platform-node/NodeStream"
import * as Effect from "effect/Effect"
import { constVoid } from "effect/Function"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"
import { NodeEvent, Order } from "../protocol.js"
import * as Node from "./Node.js"
import * as Supervisor from "./Supervisor.js"

const encode = Schema.encodeSync(Schema.parseJson(NodeEvent))
const decode = Schema.decode(Schema.parseJson(Order))

const report = (event: NodeEvent) => Effect.sync(() => void process.stdout.write(`${encode(event)}\n`))

/** A line each. They end with the process that started this one, however it ends. */
const orders = NodeStream.stdin.pipe(Stream.decodeText(), Stream.splitLines, Stream.mapEffect(decode), Stream.orDie)

// Who started this process may be gone. Then stdin ends, which ends the node in good order.
process.stdout.on("error", constVoid)

/** A node as a process of its own: events on stdout, orders on stdin. */
Node.run.pipe(Effect.provide(Supervisor.layer(report, orders)), NodeRuntime.runMain({ disableErrorReporting: true }))
