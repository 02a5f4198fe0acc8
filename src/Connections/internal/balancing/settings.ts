/** The options of a client with several endpoints, with their defaults filled in. */
import * as Duration from "effect/Duration"
import type { Balance, BalanceOptions, OutlierOptions } from "../../../Transport/Balancing.js"
import * as TransportOptions from "../../TransportOptions.js"
import type * as Outlier from "./outlier.js"

export interface Settings {
  readonly isLazy: boolean
  readonly balance: Balance
  readonly subset: number
  /** The service whose health is asked for, if any is. */
  readonly health: string | undefined
  readonly outliers: Outlier.Settings
  readonly slowStartMillis: number
}

const millis = (name: string, input: Duration.DurationInput): number =>
  Duration.toMillis(TransportOptions.duration(name, input))

const never = Number.POSITIVE_INFINITY

const outliers = (options: OutlierOptions | false): Outlier.Settings =>
  options === false
    ? { consecutiveFailures: never, latencyFactor: never, ejectionMillis: 0, maxEjectionMillis: 0 }
    : {
        consecutiveFailures: Math.max(1, options.consecutiveFailures ?? 3),
        latencyFactor: Math.max(1, options.latencyFactor ?? 10),
        ejectionMillis: millis("ejection", options.ejection ?? "5 seconds"),
        maxEjectionMillis: millis("maxEjection", options.maxEjection ?? "5 minutes")
      }

/** Throws `RangeError` for a duration that is none, as the options of transports do. */
export const make = (options: BalanceOptions): Settings => {
  const { health = true } = options
  return {
    isLazy: options.connect === "lazy",
    balance: options.balance ?? "leastPending",
    subset: Math.max(1, options.subset ?? 32),
    health: health === false ? undefined : health === true ? "" : health,
    outliers: outliers(options.outliers ?? {}),
    slowStartMillis: millis("slowStart", options.slowStart ?? "2 seconds")
  }
}

/** Functions that make keys are compared by themselves. */
export const isSameBalance = ({ balance: one }: Settings, { balance: other }: Settings): boolean =>
  one === other || (typeof one === "object" && typeof other === "object" && one.byKey === other.byKey)

/** Settings as text, but for the function that makes keys, which is compared by itself. */
export const keyOf = ({ balance, ...settings }: Settings): string =>
  JSON.stringify([
    typeof balance === "string" ? balance : "",
    Object.entries(settings).map(([key, value]) => [key, value, String(value)])
  ])
