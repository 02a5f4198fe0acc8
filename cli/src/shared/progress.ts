/** A progress bar on stderr, where that is a terminal. */
import * as Effect from "effect/Effect"
import * as Schedule from "effect/Schedule"
import { paint } from "./output.js"

/** How far something has come. */
export interface Shown {
  /** From 0 to 1. */
  readonly done: number
  readonly text: string
}

const width = 30

const line = ({ done, text }: Shown): string => {
  const filled = Math.round(Math.min(Math.max(done, 0), 1) * width)
  return `[${"#".repeat(filled)}${" ".repeat(width - filled)}] ${text}`
}

/** Shows how far an effect has come while it runs, and takes the bar away when it ends. */
export const withBar = <A, E, R>(
  effect: Effect.Effect<A, E, R>,
  isWanted: boolean,
  shown: () => Shown
): Effect.Effect<A, E, R> => {
  if (!isWanted || process.stderr.isTTY !== true) {
    return effect
  }
  const draw = Effect.sync(() => {
    const columns = process.stderr.columns ?? 80
    process.stderr.write(`\r\u001b[2K${paint("cyan", line(shown()).slice(0, columns - 1), process.stderr)}`)
  })
  return Effect.raceFirst(
    effect,
    Effect.zipRight(Effect.repeat(draw, Schedule.spaced("200 millis")), Effect.never)
  ).pipe(Effect.ensuring(Effect.sync(() => void process.stderr.write("\r\u001b[2K"))))
}
