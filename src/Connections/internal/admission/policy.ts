/** The options of an admission, checked and made ready to be asked. */
import * as Duration from "effect/Duration"
import { malformed as malformedSources } from "../../../Handshake/HandshakeAdmission.js"
import {
  AdmissionError,
  type AdmissionOptions,
  type Gradient,
  type Limits,
  type Priority,
  type Rate,
  type ShedOptions
} from "../../../Transport/AdmissionRules.js"
import * as Match from "./match.js"
import { ranks } from "./pressure.js"

/** A rule that is ready. */
export interface Rule {
  readonly name: string
  readonly match: Match.Compiled
  readonly limits: Limits
  readonly isShared: boolean
  readonly isDenying: boolean
  /** Whether nodes share its rate of calls. */
  readonly isAcross: boolean
}

export interface Policy {
  readonly options: AdmissionOptions
  /** What applies where no rule does. */
  readonly base: Rule
  readonly rules: ReadonlyArray<Rule>
  readonly priorities: ReadonlyArray<{ readonly match: Match.Compiled; readonly rank: number }>
  readonly callsInFlight: number | Gradient
  readonly queue: number
  readonly maxWaitMillis: number
  readonly memory: number
  readonly shed: false | ShedOptions | undefined
}

export const defaultLimits = {
  connections: 1024,
  callsInFlight: 1024,
  streams: 1024,
  callsPerSecond: Number.POSITIVE_INFINITY,
  bytesInPerSecond: Number.POSITIVE_INFINITY,
  bytesOutPerSecond: Number.POSITIVE_INFINITY,
  costPerSecond: 200_000
} satisfies Limits

/** The name of what applies where no rule does. */
export const baseName = "identities"

const malformed = (message: string): AdmissionError => new AdmissionError({ message, reason: "Malformed" })

const counts = ["connections", "callsInFlight", "streams"] as const
const rates = ["callsPerSecond", "bytesInPerSecond", "bytesOutPerSecond", "costPerSecond"] as const

const isCount = (value: unknown): boolean => typeof value === "number" && value >= 0

const isRate = (value: Rate): boolean =>
  typeof value === "number"
    ? isCount(value)
    : typeof value === "object" && value !== null && isCount(value.rate) && isCount(value.burst)

const checkLimits = (where: string, limits: Limits) => {
  const fields: ReadonlyArray<string> = [...counts, ...rates]
  const unknown = Object.keys(limits).find((field) => !fields.includes(field))
  if (unknown !== undefined) {
    throw malformed(`${where} has no limit ${JSON.stringify(unknown)}`)
  }
  for (const field of counts) {
    if (limits[field] !== undefined && !isCount(limits[field])) {
      throw malformed(`${where}: ${field} is no number of 0 or more`)
    }
  }
  for (const field of rates) {
    const rate = limits[field]
    if (rate !== undefined && !isRate(rate)) {
      throw malformed(`${where}: ${field} is no rate: a number of 0 or more, or { rate, burst }`)
    }
  }
}

const compileMatch = (where: string, match: Parameters<typeof Match.compile>[0]): Match.Compiled => {
  try {
    return Match.compile(match)
  } catch (cause) {
    throw cause instanceof Match.Malformed ? malformed(`${where}: ${cause.message}`) : cause
  }
}

const rulesOf = (options: AdmissionOptions): ReadonlyArray<Rule> => {
  const names = new Set([baseName])
  return (options.rules ?? []).map((rule, i) => {
    const name = rule.name ?? `rule-${i + 1}`
    if (names.has(name)) {
      throw malformed(`rules[${i}]: another rule has the name ${JSON.stringify(name)}`)
    }
    names.add(name)
    checkLimits(`rules[${i}]`, rule.limits ?? {})
    return {
      name,
      match: compileMatch(`rules[${i}]`, rule.match),
      limits: rule.limits ?? {},
      isShared: rule.per === "all",
      isDenying: rule.deny === true,
      isAcross: rule.across === "nodes"
    }
  })
}

/** Health and reflection go last of all: who can't ask how a node is takes it for dead. */
const always = {
  match: Match.compile({ method: ["/grpc.health.v1.Health/*", "/grpc.reflection.*"] }),
  rank: ranks.critical
}

const prioritiesOf = (options: AdmissionOptions): Policy["priorities"] => [
  ...(options.priorities ?? []).map(({ level, match }, i) => {
    const rank: number | undefined = ranks[level satisfies Priority]
    if (rank === undefined) {
      throw malformed(`priorities[${i}]: there is no level ${JSON.stringify(level)}`)
    }
    return { match: compileMatch(`priorities[${i}]`, match), rank }
  }),
  always
]

const checkGradient = ({ initial, max, min, smoothing, tolerance }: Gradient) => {
  if (!(min >= 1 && max >= min && initial >= 1 && tolerance >= 1 && smoothing > 0 && smoothing <= 1)) {
    throw malformed("listener.callsInFlight: of a gradient 1 <= min <= max, 1 <= tolerance and 0 < smoothing <= 1")
  }
}

const countOf = (name: string, value: number | undefined, fallback: number): number => {
  const count = value ?? fallback
  if (!isCount(count)) {
    throw malformed(`listener.${name} is no number of 0 or more`)
  }
  return count
}

const checkShed = (shed: false | ShedOptions | undefined) => {
  if (shed === false || shed === undefined) {
    return
  }
  const { eventLoopDelay = 250, memory = 0.9 } = shed
  if (!(Duration.toMillis(eventLoopDelay) > 0) || !(memory > 0 && memory < 1)) {
    throw malformed("listener.shed: the delay is more than 0, and the part of memory between 0 and 1")
  }
}

const compileUnsafe = (options: AdmissionOptions): Policy => {
  const { identities = {}, listener = {} } = options
  checkLimits("identities", identities)
  checkShed(listener.shed)
  const source = options.sources === undefined ? undefined : malformedSources(options.sources)
  if (source !== undefined) {
    throw malformed(source)
  }
  const callsInFlight = listener.callsInFlight ?? 20_000
  if (typeof callsInFlight === "object") {
    checkGradient(callsInFlight)
  } else {
    countOf("callsInFlight", callsInFlight, 0)
  }
  return {
    options,
    base: {
      name: baseName,
      match: Match.compile({}),
      limits: { ...defaultLimits, ...identities },
      isShared: false,
      isDenying: false,
      isAcross: false
    },
    rules: rulesOf(options),
    priorities: prioritiesOf(options),
    callsInFlight,
    queue: countOf("queue", listener.queue, 1000),
    maxWaitMillis: Duration.toMillis(listener.maxWait ?? "1 second"),
    memory: countOf("memory", listener.memory, 256 * 1024 * 1024),
    shed: listener.shed
  }
}

/** The options ready to be asked, or what is wrong with them. */
export const compile = (options: AdmissionOptions): Policy | AdmissionError => {
  try {
    return compileUnsafe(options)
  } catch (cause) {
    return cause instanceof AdmissionError ? cause : malformed(`the options can't be read: ${String(cause)}`)
  }
}
