/** What a file of an admission may hold: its options as data. */
import * as Duration from "effect/Duration"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import type { AdmissionOptions, Gradient } from "../../../Transport/AdmissionRules.js"
import { HandshakeReason } from "../../../Transport/TransportError.js"

/** Milliseconds, or a text as `"2 seconds"`: of the types of such texts one stands for all. */
const Time = Schema.Union(
  Schema.NonNegative,
  Schema.String.pipe(
    Schema.filter((text): text is `${number} millis` => Option.isSome(Duration.decodeUnknown(text)), {
      message: () => 'no duration, as "2 seconds" is one'
    })
  )
)

const Count = Schema.NonNegative

const Rate = Schema.Union(Count, Schema.Struct({ rate: Count, burst: Count }))

const Pattern = Schema.Union(Schema.String, Schema.Array(Schema.String))

const optional = Schema.optional

const Limits = Schema.Struct({
  connections: optional(Count),
  callsInFlight: optional(Count),
  streams: optional(Count),
  callsPerSecond: optional(Rate),
  bytesInPerSecond: optional(Rate),
  bytesOutPerSecond: optional(Rate),
  costPerSecond: optional(Rate)
})

const Match = Schema.Struct({
  spiffeId: optional(Pattern),
  san: optional(Pattern),
  fingerprint: optional(Pattern),
  method: optional(Pattern),
  source: optional(Pattern),
  size: optional(Schema.Struct({ min: optional(Count), max: optional(Count) })),
  metadata: optional(Schema.Record({ key: Schema.String, value: Schema.String }))
})

const Rule = Schema.Struct({
  name: optional(Schema.NonEmptyString),
  match: Match,
  limits: optional(Limits),
  per: optional(Schema.Literal("identity", "all")),
  across: optional(Schema.Literal("node", "nodes")),
  deny: optional(Schema.Boolean)
})

const PriorityRule = Schema.Struct({
  match: Match,
  level: Schema.Literal("low", "normal", "high", "critical")
})

const Sources = Schema.Struct({
  allow: optional(Schema.Array(Schema.String)),
  deny: optional(Schema.Array(Schema.String)),
  connections: optional(Count),
  connectionsPerSecond: optional(Rate),
  handshakes: optional(Count),
  handshakesPerSecond: optional(Rate),
  penalty: optional(
    Schema.Struct({
      refusals: optional(Count),
      time: optional(Time),
      reasons: optional(
        Schema.Array(Schema.Union(HandshakeReason, Schema.Literal("TooMuch", "HandshakeTimeout", "ConnectionRate")))
      )
    })
  ),
  proxyProtocol: optional(Schema.Struct({ from: Schema.Array(Schema.String), timeout: optional(Time) }))
})

const GradientFields = Schema.Struct({
  min: optional(Count),
  max: optional(Count),
  initial: optional(Count),
  tolerance: optional(Count),
  smoothing: optional(Count)
})

const Listener = Schema.Struct({
  callsInFlight: optional(Schema.Union(Count, Schema.Struct({ gradient: GradientFields }))),
  queue: optional(Count),
  maxWait: optional(Time),
  memory: optional(Count),
  shed: optional(
    Schema.Union(Schema.Literal(false), Schema.Struct({ eventLoopDelay: optional(Time), memory: optional(Count) }))
  )
})

/** The contents of a file. */
export const File = Schema.Struct({
  sources: optional(Sources),
  identities: optional(Limits),
  listener: optional(Listener),
  rules: optional(Schema.Array(Rule)),
  priorities: optional(Schema.Array(PriorityRule))
})

export type File = typeof File.Type

/** The options that a file says. */
export const toOptions = (
  { listener, ...rest }: File,
  gradient: (options: Partial<Omit<Gradient, "_tag">>) => Gradient
): AdmissionOptions => {
  if (listener === undefined) {
    return rest
  }
  const { callsInFlight, ...others } = listener
  if (callsInFlight === undefined) {
    return { ...rest, listener: others }
  }
  const limit = typeof callsInFlight === "number" ? callsInFlight : gradient(given(callsInFlight.gradient))
  return { ...rest, listener: { ...others, callsInFlight: limit } }
}

/** Without the fields that are undefined. */
const given = (fields: typeof GradientFields.Type): Partial<Omit<Gradient, "_tag">> =>
  Object.fromEntries(Object.entries(fields).filter(([, value]) => value !== undefined))
