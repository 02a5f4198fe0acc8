/** Whether an endpoint has failed so often, or is so slow, that it should get no calls for a while. No clock, no timers. */

export interface Settings {
  readonly consecutiveFailures: number
  readonly latencyFactor: number
  readonly ejectionMillis: number
  readonly maxEjectionMillis: number
}

/** What is remembered of an endpoint's calls. */
export interface Record {
  failures: number
  /** Whether all of these failures were those of a connection, so that another one makes them good. */
  isConnection: boolean
  /** The mean of the latest latencies, in milliseconds, and how many there were. */
  latency: number
  samples: number
  /** How often in a row it was found to be slow. */
  slow: number
  /** Ejections in a row. */
  ejections: number
}

export const make = (): Record => ({ failures: 0, isConnection: true, latency: 0, samples: 0, slow: 0, ejections: 0 })

const smoothing = 0.1
const minSamples = 64
const minOthers = 2

/** A difference that nobody minds, in milliseconds. */
const minDifference = 50

/** So often in a row it has to be slow: what only happened to it at the same time is no trait of its. */
const slowLooks = 3

/** A call has succeeded. A stream has no latency. */
export const succeeded = (record: Record, latency: number | undefined): void => {
  record.failures = 0
  record.isConnection = true
  if (record.samples >= minSamples) {
    record.ejections = 0
  }
  if (latency !== undefined) {
    record.samples += 1
    record.latency += (latency - record.latency) * Math.max(smoothing, 1 / record.samples)
  }
}

/** A call has failed for a reason that may lie with the endpoint. Returns whether there were too many. */
export const failed = (record: Record, isConnection: boolean, { consecutiveFailures }: Settings): boolean => {
  record.isConnection = record.failures === 0 ? isConnection : record.isConnection && isConnection
  record.failures += 1
  return record.failures >= consecutiveFailures
}

const median = (values: ReadonlyArray<number>): number => {
  const sorted = [...values].sort((a, b) => a - b)
  return sorted[Math.floor((sorted.length - 1) / 2)] ?? 0
}

/** Whether an endpoint has been much slower than others for some time. To be asked from time to time. */
export const isSlow = (record: Record, others: ReadonlyArray<Record>, settings: Settings): boolean => {
  record.slow = isSlowNow(record, others, settings) ? record.slow + 1 : 0
  return record.slow >= slowLooks
}

const isSlowNow = (record: Record, others: ReadonlyArray<Record>, { latencyFactor }: Settings): boolean => {
  if (record.samples < minSamples || latencyFactor === Number.POSITIVE_INFINITY) {
    return false
  }
  const known = others.filter(({ samples }) => samples >= minSamples).map(({ latency }) => latency)
  const usual = median(known)
  return known.length >= minOthers && record.latency > usual * latencyFactor && record.latency - usual > minDifference
}

/** Whether one more of so many may be ejected: one of three goes on, and at least one. */
export const mayEject = (ejected: number, all: number): boolean => ejected + 1 <= all - Math.max(1, Math.floor(all / 3))

/** How long the next ejection lasts, in milliseconds. */
export const nextEjection = (record: Record, { ejectionMillis, maxEjectionMillis }: Settings): number =>
  Math.min(maxEjectionMillis, ejectionMillis * 2 ** Math.min(record.ejections, 32))

/** The endpoint is ejected: what was measured counts no more. */
export const ejected = (record: Record): void => {
  record.ejections += 1
  record.latency = 0
  record.samples = 0
  record.slow = 0
}

/** It gets calls again. The next failure of calls, if those were why, ejects it at once. */
export const readmitted = (record: Record, { consecutiveFailures }: Settings): void => {
  record.failures = Math.max(0, Math.min(record.failures, consecutiveFailures - 1))
}
