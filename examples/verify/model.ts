import * as Schema from "effect/Schema"
import { TransportName } from "./transports.js"

/** What a certificate says, as whoever was shown it has verified. */
export const Certificate = Schema.Struct({
  subject: Schema.String,
  names: Schema.Array(Schema.String),
  spiffeId: Schema.optional(Schema.String),
  fingerprint: Schema.String.annotations({ description: "SHA-256 of the DER, lower case hex" }),
  notAfter: Schema.String.annotations({ description: "When it expires, ISO 8601" })
}).annotations({ identifier: "Certificate" })

export type Certificate = typeof Certificate.Type

export const NodeView = Schema.Struct({
  transport: TransportName,
  title: Schema.String,
  wire: Schema.String,
  status: Schema.Literal("up", "down", "absent"),
  access: Schema.Literal("allowed", "revoked").annotations({ description: "Whether the app may call it" }),
  since: Schema.String.annotations({ description: "When it came to that, ISO 8601" }),
  reason: Schema.optional(Schema.String.annotations({ description: "Why it is absent" })),
  target: Schema.optional(Schema.String.annotations({ description: "Where it listens, or did" })),
  certificate: Schema.optional(
    Certificate.annotations({ description: "The node's own. The app has pinned it, and calls nobody else" })
  ),
  caller: Schema.optional(Certificate.annotations({ description: "The app's, as the node saw it with the first call" }))
}).annotations({ identifier: "Node" })

export type NodeView = typeof NodeView.Type

export const NodesView = Schema.Struct({
  version: Schema.Number.annotations({
    description: "Grows with each change; give it as `since` to wait for the next"
  }),
  nodes: Schema.Array(NodeView)
}).annotations({ identifier: "Nodes" })

export type NodesView = typeof NodesView.Type

export const EchoAnswer = Schema.Struct({
  echo: Schema.String,
  transport: TransportName,
  timings: Schema.Struct({
    totalMillis: Schema.Number.annotations({ description: "From the HTTP request to this answer" }),
    callMillis: Schema.Number.annotations({ description: "Of these, the call over the transport" }),
    handlerMillis: Schema.Number.annotations({ description: "Of these, the node's handler" })
  })
}).annotations({ identifier: "Echo" })

/** One attempt, in milliseconds since the first one began. */
export const Attempt = Schema.Struct({
  attempt: Schema.Number,
  startMillis: Schema.Number,
  endMillis: Schema.Number,
  outcome: Schema.String.annotations({ description: '"Success", or the tag of the error' }),
  delayMillis: Schema.optional(Schema.Number.annotations({ description: "How long the policy waits after it" }))
}).annotations({ identifier: "Attempt" })

export type Attempt = typeof Attempt.Type

const retried = {
  message: Schema.String,
  transport: TransportName,
  attempts: Schema.Array(Attempt),
  totalMillis: Schema.Number
}

export const RetryAnswer = Schema.Struct({ echo: Schema.String, ...retried }).annotations({ identifier: "Retried" })

export const RetriesExhausted = Schema.Struct({
  _tag: Schema.Literal("RetriesExhausted"),
  ...retried,
  lastError: Schema.Struct({ _tag: Schema.String, message: Schema.String })
}).annotations({ identifier: "RetriesExhausted" })

export const HealthView = Schema.Struct({
  status: Schema.Literal("ok", "degraded"),
  transports: Schema.Record({ key: Schema.String, value: Schema.Literal("up", "down", "absent") })
}).annotations({ identifier: "Health" })

/** Who tries to get in. */
export const IntruderName = Schema.Literal(
  "noCertificate",
  "otherCa",
  "wrongName",
  "expired",
  "revoked",
  "notAuthorized",
  "plainText"
).annotations({ identifier: "IntruderName" })

export type IntruderName = typeof IntruderName.Type

export const Attempted = Schema.Struct({
  transport: TransportName,
  intruder: IntruderName,
  admitted: Schema.Boolean,
  reason: Schema.String.annotations({ description: "The reason of HandshakeFailed, or the tag of another error" }),
  refusedBy: Schema.optional(
    Schema.Literal("local", "remote").annotations({ description: "Which side refused, as the caller sees it" })
  ),
  message: Schema.String,
  millis: Schema.Number
}).annotations({ identifier: "Attempted" })

export type Attempted = typeof Attempted.Type

/** What became of many calls. */
export const Measured = Schema.Struct({
  transport: TransportName,
  calls: Schema.Number.annotations({ description: "Those that succeeded" }),
  failures: Schema.Record({ key: Schema.String, value: Schema.Number }).annotations({ description: "By tag" }),
  perSecond: Schema.Number,
  p50Millis: Schema.Number,
  p99Millis: Schema.Number
}).annotations({ identifier: "Measured" })

export type Measured = typeof Measured.Type

export const TenantName = Schema.Literal("tenant-greedy", "tenant-modest")

export type TenantName = typeof TenantName.Type

export const TenantsAnswer = Schema.Struct({
  transport: TransportName,
  perSecond: Schema.Number.annotations({ description: "Calls a second that each may make" }),
  tenants: Schema.Array(
    Schema.Struct({
      tenant: TenantName,
      asked: Schema.Number,
      answered: Schema.Number,
      refusals: Schema.Record({ key: Schema.String, value: Schema.Number }).annotations({ description: "By tag" }),
      p50Millis: Schema.Number,
      p99Millis: Schema.Number
    })
  )
}).annotations({ identifier: "Tenants" })

/** The app's connection to a node, as `Transport.connection` tells of it. */
export const ConnectionView = Schema.Struct({
  transport: TransportName,
  state: Schema.Literal("idle", "connecting", "ready", "backingOff", "unhealthy", "ejected", "draining"),
  reason: Schema.optional(Schema.String)
}).annotations({ identifier: "Connection" })

export type ConnectionView = typeof ConnectionView.Type
