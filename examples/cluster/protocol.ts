import * as Schema from "effect/Schema"
import { Activity } from "./Activity.js"

/** A node that others can call. */
export const PeerAddress = Schema.Struct({ name: Schema.String, target: Schema.String })

export type PeerAddress = typeof PeerAddress.Type

/** The node takes calls, on the port that the system chose. */
export class Listening extends Schema.TaggedClass<Listening>()("Listening", { port: Schema.Number }) {}

/** The node has everything that its peers have, and takes part from now on. */
export class Ready extends Schema.TaggedClass<Ready>()("Ready", {
  blocks: Schema.Number,
  transactions: Schema.Number,
  millis: Schema.Number
}) {}

/** Two nodes hold these transactions: from now on none of them may be lost. */
export class Acknowledged extends Schema.TaggedClass<Acknowledged>()("Acknowledged", {
  txIds: Schema.Array(Schema.String)
}) {}

/** What the node did since the last report. */
export class Report extends Schema.TaggedClass<Report>()("Report", { activity: Activity }) {}

/** The node submits nothing new, and has said everything about what it did submit. */
export class Resting extends Schema.TaggedClass<Resting>()("Resting", {}) {}

/** What the node logs. */
export class Log extends Schema.TaggedClass<Log>()("Log", {
  level: Schema.String,
  message: Schema.String,
  annotations: Schema.Record({ key: Schema.String, value: Schema.Unknown })
}) {}

/** What a node tells its supervisor. */
export const NodeEvent = Schema.Union(Listening, Ready, Acknowledged, Report, Resting, Log)

export type NodeEvent = typeof NodeEvent.Type

/** These are your peers. */
export class Join extends Schema.TaggedClass<Join>()("Join", { peers: Schema.Array(PeerAddress) }) {}

/** All of you are ready: begin. */
export class Work extends Schema.TaggedClass<Work>()("Work", {}) {}

/** Submit nothing new; answer calls and make blocks as before. */
export class Rest extends Schema.TaggedClass<Rest>()("Rest", {}) {}

/** What a supervisor tells a node. When there is no more to come, the node ends. */
export const Order = Schema.Union(Join, Work, Rest)

export type Order = typeof Order.Type
