import * as Duration from "effect/Duration"
import * as Schema from "effect/Schema"
import { IntruderName } from "./model.js"
import { TransportName } from "./transports.js"

/** The most that is taken of each input. */
export const limits = {
  /** Characters in a query, which has to fit in the 16 KiB that Node takes for all headers. */
  queryMessage: 1024,
  /** Characters in a body. */
  bodyMessage: 65_536,
  /** Bytes of a body: the longest message with each character escaped. */
  body: 512 * 1024,
  delayMillis: 10_000,
  timeoutMillis: 10_000,
  failures: 20,
  attempts: 10,
  concurrency: 256,
  loadMillis: 5_000,
  latencyMillis: 500,
  lossPercent: 50,
  calls: 200,
  streamCount: 1_000,
  streamMillis: 60_000,
  initialBackoffMillis: 2000,
  /** The cap of the retry policy: the longest that any one delay may become. */
  maxBackoffMillis: 2000
} as const

const message = (max: number) =>
  Schema.String.annotations({ message: () => ({ message: "msg is text", override: false }) }).pipe(
    Schema.minLength(1, { message: () => "msg is empty" }),
    Schema.maxLength(max, { message: () => `msg is longer than ${max} characters` }),
    Schema.filter((text) => text.isWellFormed(), { message: () => "msg has half of a surrogate pair" })
  )

const whole = (field: string, min: number, max: number) => {
  const text = `${field} is a whole number from ${min} to ${max}`
  const message = () => ({ message: text, override: true })
  return {
    message,
    schema: Schema.Number.annotations({ message }).pipe(Schema.int({ message }), Schema.between(min, max, { message }))
  }
}

const fromText = (field: string, min: number, max: number) => {
  const { message, schema } = whole(field, min, max)
  return Schema.compose(Schema.NumberFromString.annotations({ message }), schema)
}

/** All that is wrong is told, not only what is found first. */
const all = { parseOptions: { errors: "all" } } as const

export const EchoQuery = Schema.Struct({
  msg: message(limits.queryMessage),
  delayMillis: Schema.optional(fromText("delayMillis", 0, limits.delayMillis)),
  timeoutMillis: Schema.optional(fromText("timeoutMillis", 1, limits.timeoutMillis))
}).annotations(all)

export const EchoBody = Schema.Struct({
  msg: message(limits.bodyMessage),
  delayMillis: Schema.optional(whole("delayMillis", 0, limits.delayMillis).schema),
  timeoutMillis: Schema.optional(whole("timeoutMillis", 1, limits.timeoutMillis).schema)
}).annotations({
  identifier: "EchoRequest",
  message: () => "the body is a JSON object with msg",
  ...all
})

export type EchoInput = typeof EchoBody.Type

const backoff = `initialBackoff is milliseconds or a duration as "100 millis", from 1 to ${limits.initialBackoffMillis} ms`

/** Milliseconds, or what Effect reads as a duration. */
const InitialBackoff = Schema.Union(Schema.Number, Schema.String)
  .annotations({ description: backoff, message: () => ({ message: backoff, override: true }) })
  .pipe(
    Schema.filter(
      (input) => {
        const millis = toMillis(input)
        return millis !== undefined && millis >= 1 && millis <= limits.initialBackoffMillis
      },
      { message: () => backoff }
    )
  )

/** Undefined for text that is not a duration. */
export const toMillis = (input: number | string): number | undefined =>
  typeof input === "number"
    ? input
    : Schema.is(DurationText)(input)
      ? Duration.toMillis(Duration.decode(input))
      : undefined

const DurationText = Schema.TemplateLiteral(Schema.Number, " ", Schema.Literal("milli", "millis", "second", "seconds"))

export const RetryBody = Schema.Struct({
  failures: whole("failures", 0, limits.failures).schema,
  maxAttempts: whole("maxAttempts", 1, limits.attempts).schema,
  initialBackoff: InitialBackoff,
  jitter: Schema.optional(Schema.Boolean).annotations({
    description: "Default false, so that delays are the formula's"
  }),
  transport: Schema.optional(TransportName).annotations({ description: "Default grpc" })
}).annotations({
  identifier: "RetryRequest",
  message: () => "the body is a JSON object with failures, maxAttempts and initialBackoff",
  ...all
})

export type RetryInput = typeof RetryBody.Type

export const NodesQuery = Schema.Struct({
  since: Schema.optional(fromText("since", 0, Number.MAX_SAFE_INTEGER))
})

export const EchoPath = Schema.Struct({ transport: TransportName })

export const IntruderPath = Schema.Struct({ transport: TransportName, intruder: IntruderName })

export const LoadBody = Schema.Struct({
  concurrency: whole("concurrency", 1, limits.concurrency).schema,
  millis: whole("millis", 100, limits.loadMillis).schema
}).annotations({
  identifier: "LoadRequest",
  message: () => "the body is a JSON object with concurrency and millis",
  ...all
})

export type LoadInput = typeof LoadBody.Type

export const NetworkBody = Schema.Struct({
  latencyMillis: whole("latencyMillis", 0, limits.latencyMillis).schema,
  lossPercent: whole("lossPercent", 0, limits.lossPercent).schema,
  calls: whole("calls", 1, limits.calls).schema
}).annotations({
  identifier: "NetworkRequest",
  message: () => "the body is a JSON object with latencyMillis, lossPercent and calls",
  ...all
})

export type NetworkInput = typeof NetworkBody.Type

export const StreamQuery = Schema.Struct({
  count: fromText("count", 1, limits.streamCount),
  intervalMillis: fromText("intervalMillis", 0, limits.delayMillis),
  timeoutMillis: fromText("timeoutMillis", 1, limits.streamMillis)
}).annotations(all)
