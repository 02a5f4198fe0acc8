/** Options that several commands have. */
import * as Args from "@effect/cli/Args"
import * as HelpDoc from "@effect/cli/HelpDoc"
import * as Options from "@effect/cli/Options"
import * as ValidationError from "@effect/cli/ValidationError"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import { Metadata, Peer } from "effect-transport"

/** Fails with what is wrong with the value of an option. */
export const invalid = (message: string): ValidationError.ValidationError =>
  ValidationError.invalidValue(HelpDoc.p(message))

export const json = Options.boolean("json").pipe(
  Options.withDescription("Print JSON: one object, or one on each line of what goes on. Errors are JSON on stderr.")
)

const units: { readonly [unit: string]: number } = {
  ms: 1,
  s: 1000,
  m: 60_000,
  h: 3_600_000,
  d: 86_400_000,
  w: 604_800_000,
  y: 365 * 86_400_000
}

/** Reads `500ms`, `2s`, `1.5h`, `90d`, or as Effect writes it `2 seconds`. */
export const parseDuration = (text: string): Either.Either<Duration.Duration, string> => {
  const [, number = "", unit = ""] = /^(\d+(?:\.\d+)?)\s*(ms|s|m|h|d|w|y)$/.exec(text.trim()) ?? []
  const factor = units[unit]
  const decoded =
    factor === undefined
      ? /^\d+(\.\d+)? (milli|second|minute|hour|day|week)s?$/.test(text.trim())
        ? Duration.decode(text.trim().replace(/^(\S+) milli.*$/, "$1 millis") as Duration.DurationInput)
        : undefined
      : Duration.millis(Number(number) * factor)
  return decoded === undefined || !Number.isFinite(Duration.toMillis(decoded))
    ? Either.left(`${JSON.stringify(text)} is no duration: write 500ms, 2s, 5m, 1h or 90d`)
    : Either.right(decoded)
}

/** An option for a duration. */
export const duration = (name: string): Options.Options<Duration.Duration> =>
  Options.text(name).pipe(
    Options.withPseudoName("duration"),
    Options.mapEffect((text) => Effect.mapError(parseDuration(text), (problem) => invalid(`--${name}: ${problem}`)))
  )

export const timeout = duration("timeout").pipe(
  Options.withDefault(Duration.seconds(10)),
  Options.withDescription("How long to connect, and the deadline of each call: 500ms, 2s, 5m. Default: 10s.")
)

/** Refuses numbers that are too small, or none. */
export const atLeast =
  (name: string, least: number) =>
  (option: Options.Options<number>): Options.Options<number> =>
    Options.mapEffect(option, (value) =>
      value >= least ? Effect.succeed(value) : Effect.fail(invalid(`--${name}: ${value} is less than ${least}`))
    )

/** The wires of the library that leave the process. */
export type Wire = "grpc" | "quic" | "tls"

export const wire = Options.choice("wire", ["grpc", "quic", "tls"]).pipe(
  Options.withAlias("w"),
  Options.withDefault("grpc" as Wire),
  Options.withDescription("grpc (HTTP/2), quic (HTTP/3) or tls (the frames of TlsLive). Default: grpc.")
)

export const target = Args.text({ name: "target" }).pipe(
  Args.withDescription('The node: "host:port", "[v6]:port" or "unix:path".'),
  Args.mapEffect((text) =>
    Either.match(Peer.parseTarget(text), {
      onLeft: (problem) => Effect.fail(HelpDoc.p(`target: ${problem}`)),
      onRight: () => Effect.succeed(text)
    })
  )
)

/** Reads `key: value`; the value of a key that ends in `-bin` is base64. */
export const parseMetadata = (lines: ReadonlyArray<string>): Either.Either<Metadata.Metadata, string> => {
  const entries: Array<readonly [string, string | Uint8Array]> = []
  for (const line of lines) {
    const [, key = "", value = ""] = /^([^:\s]+)\s*:\s*(.*?)\s*$/s.exec(line) ?? []
    if (key === "") {
      return Either.left(`--metadata: ${JSON.stringify(line)} is not "key: value"`)
    }
    const name = key.toLowerCase()
    entries.push([name, name.endsWith("-bin") ? new Uint8Array(Buffer.from(value, "base64")) : value])
  }
  return Either.mapLeft(Metadata.fromInput(entries), ({ message }) => `--metadata: ${message}`)
}

export const metadata = Options.text("metadata").pipe(
  Options.withAlias("H"),
  Options.withPseudoName("'key: value'"),
  Options.repeated,
  Options.withDescription("Metadata of the call, as often as needed. The value of a key that ends in -bin is base64."),
  Options.mapEffect((lines) => Effect.mapError(parseMetadata(lines), invalid))
)
