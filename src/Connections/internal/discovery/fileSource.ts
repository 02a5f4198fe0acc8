/** Endpoints in a JSON file, read again whenever it changes. */
import { promises as Fs } from "node:fs"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import { pipe } from "effect/Function"
import * as LogLevel from "effect/LogLevel"
import * as ParseResult from "effect/ParseResult"
import * as Queue from "effect/Queue"
import * as Schema from "effect/Schema"
import * as FileWatch from "../../../Credentials/FileWatch.js"
import { describe, escapeText } from "../../../Transport/internal/boundary.js"
import { Unavailable } from "../../../Transport/TransportError.js"
import type { Listed } from "./endpoints.js"
import * as JsonLine from "./jsonLine.js"
import type { Source } from "./source.js"

/** A larger file is none of ours: 10,000 endpoints with all that they may have fit well into it. */
const maxFileBytes = 16 * 1024 * 1024

/** How long reading may take: the file may be on a disk of another machine. */
const readTimeout = Duration.seconds(5)

/** Files are written in pieces: they are read when they have been left alone for so long. */
const settle = Duration.millis(100)

const text = Schema.String

export const FileEndpoint = Schema.Struct({
  address: text,
  alternatives: Schema.optional(Schema.Array(text)),
  serverName: Schema.optional(text),
  hostName: Schema.optional(text),
  weight: Schema.optional(Schema.Number.pipe(Schema.positive())),
  priority: Schema.optional(Schema.Number),
  attributes: Schema.optional(Schema.Record({ key: Schema.String, value: text }))
})

const FileContent = Schema.Array(Schema.Union(text, FileEndpoint))

const decode = Schema.decodeUnknownEither(FileContent, { onExcessProperty: "error" })

/** Reads a text. The left side says what is wrong, and in which line. */
export const parse = (content: string): Either.Either<Listed, { readonly line: number; readonly message: string }> =>
  pipe(
    Either.try({
      try: (): unknown => JSON.parse(content.replace(/^\uFEFF/, "")),
      catch: (error) => ({ line: JsonLine.lineOfError(content, error), message: describe(error).text })
    }),
    Either.flatMap((value) =>
      Either.mapLeft(decode(value), (error) => {
        // Of the members of a union the one that fits best has come furthest.
        const [issue] = ParseResult.ArrayFormatter.formatErrorSync(error).toSorted(
          (a, b) => b.path.length - a.path.length
        )
        const path = issue?.path ?? []
        return { line: JsonLine.lineOf(content, path), message: issue?.message ?? error.message }
      })
    )
  )

const load = async (path: string): Promise<string> => {
  const { size } = await Fs.stat(path)
  if (size > maxFileBytes) {
    throw new Error(`it has more than ${maxFileBytes} bytes`)
  }
  return Fs.readFile(path, "utf8")
}

/** Follows a file until the scope closes. What can't be read leaves the last list as it is, with a warning. */
export const make =
  (path: string, label: string, interval: Duration.Duration): Source =>
  (sink) =>
    Effect.gen(function* () {
      const events = yield* Queue.sliding<void>(1)
      const changed = () => {
        Queue.unsafeOffer(events, undefined)
      }
      const watchers = yield* FileWatch.make([path], changed)

      const fail = (message: string) => {
        sink.boundary.log(
          LogLevel.Warning,
          "endpoints-file",
          `${escapeText(message, 300)}; keeping the endpoints that were read last`
        )
        sink.failed(
          new Unavailable({ message: `can't read the endpoints of ${message}`, peer: label, processed: "no" })
        )
      }

      const read = Effect.tryPromise({ try: () => load(path), catch: (cause) => describe(cause).text }).pipe(
        Effect.timeoutFail({ duration: readTimeout, onTimeout: () => "it can't be read in time" }),
        Effect.match({
          onFailure: (why) => fail(`${path}: ${why}`),
          onSuccess: (content) =>
            Either.match(parse(content), {
              onLeft: ({ line, message }) => fail(`${path}:${line}: ${message}`),
              onRight: sink.found
            })
        })
      )

      const follow = (before: string | undefined): Effect.Effect<never> =>
        Effect.timeoutOption(Queue.take(events), interval).pipe(
          Effect.zipRight(watchers.look),
          Effect.flatMap((now) => (now === before ? follow(before) : settled(now)))
        )
      const settled = (before: string | undefined): Effect.Effect<never> =>
        Effect.zipRight(Effect.sleep(settle), watchers.look).pipe(
          Effect.flatMap((now) => (now === before ? Effect.zipRight(read, follow(now)) : settled(now)))
        )
      yield* Effect.forkScoped(
        Effect.interruptible(Effect.flatMap(watchers.look, (signature) => Effect.zipRight(read, follow(signature))))
      )
      return { again: changed }
    })
