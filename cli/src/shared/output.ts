/** What is printed: results on stdout, everything else on stderr. */
import { inspect, stripVTControlCharacters } from "node:util"
import type * as Cause from "effect/Cause"
import * as Console from "effect/Console"
import * as Effect from "effect/Effect"
import * as Logger from "effect/Logger"
import * as LogLevel from "effect/LogLevel"
import * as Option from "effect/Option"
import { explainCause } from "./failure.js"
import { oneLine, printable } from "./text.js"

/**
 * Whether a stream gets colors: terminals do, unless NO_COLOR (no-color.org) or TERM=dumb say otherwise; FORCE_COLOR is for
 * those that are not known to be terminals.
 */
export const hasColor = ({ isTTY }: { readonly isTTY?: boolean }, env: NodeJS.ProcessEnv = process.env): boolean =>
  (env.NO_COLOR ?? "") !== ""
    ? false
    : (env.FORCE_COLOR ?? "") !== ""
      ? env.FORCE_COLOR !== "0"
      : isTTY === true && env.TERM !== "dumb"

const codes = { bold: 1, dim: 2, red: 31, green: 32, yellow: 33, cyan: 36 } as const

/** Text in a color, where stdout (or the given stream) has colors. */
export const paint = (color: keyof typeof codes, text: string, stream: NodeJS.WriteStream = process.stdout): string =>
  hasColor(stream) ? `\u001b[${codes[color]}m${text}\u001b[0m` : text

/** Prints a line on stdout. What comes from a peer or a file has to be `printable`. */
export const print = (text: string): Effect.Effect<void> => Effect.sync(() => void process.stdout.write(`${text}\n`))

/** Prints a line on stderr, for what is not the result. */
export const note = (text: string): Effect.Effect<void> => Effect.sync(() => void process.stderr.write(`${text}\n`))

const toJson = (_: string, value: unknown): unknown =>
  typeof value === "bigint"
    ? String(value)
    : value instanceof Uint8Array
      ? Buffer.from(value).toString("base64")
      : value

/** A value as JSON on one line; 64-bit integers are strings and bytes base64, as in ProtoJSON. */
export const json = (value: unknown): string => JSON.stringify(value, toJson)

/** Prints a value as JSON on one line. */
export const printJson = (value: unknown): Effect.Effect<void> => Effect.suspend(() => print(json(value)))

/** Prints the result of a command: as JSON where that is asked for, otherwise as text. */
export const result = <A>(asJson: boolean, value: A, text: (value: A) => string): Effect.Effect<void> =>
  Effect.suspend(() => (asJson ? printJson(value) : print(text(value))))

/** Says why a command failed: one line that says what to do, or with `--json` one object, on stderr. */
export const reportCause = (args: ReadonlyArray<string>, cause: Cause.Cause<unknown>): Effect.Effect<void> =>
  Option.match(explainCause(cause), {
    onNone: () => Effect.void,
    onSome: ({ exitCode, hint, message, silent, tag }) =>
      silent === true
        ? Effect.void
        : args.includes("--json")
          ? note(json({ error: { tag, message, hint, exitCode } }))
          : note(
              `${paint("red", "effect-transport:", process.stderr)} ${oneLine(message)}${hint === undefined ? "" : `; ${hint}`}`
            )
  })

const logger = Logger.make(({ date, logLevel, message }) => {
  const texts = (Array.isArray(message) ? message : [message]).map((each) =>
    typeof each === "string" ? each : inspect(each)
  )
  process.stderr.write(`${date.toISOString()} ${logLevel.label} ${printable(texts.join(" "))}\n`)
})

/** @effect/cli prints help with `log`, in colors, and errors with `error`, which `reportCause` says on one line. */
const withConsole = <A, E, R>(effect: Effect.Effect<A, E, R>): Effect.Effect<A, E, R> =>
  Effect.consoleWith((console) =>
    Effect.withConsole(effect, {
      ...console,
      [Console.TypeId]: Console.TypeId,
      log: (...parts) => {
        const text = parts.map(String).join(" ")
        return print(hasColor(process.stdout) ? text : stripVTControlCharacters(text))
      },
      error: () => Effect.void
    })
  )

/** Logs on stderr, from warnings on unless `--log-level` says otherwise. */
export const setUp = <A, E, R>(effect: Effect.Effect<A, E, R>): Effect.Effect<A, E, R> =>
  withConsole(effect).pipe(
    Logger.withMinimumLogLevel(LogLevel.Warning),
    Effect.provide(Logger.replace(Logger.defaultLogger, logger))
  )
