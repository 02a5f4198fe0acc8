/** An admission whose options are in a file, which it follows. */
import { promises as fs } from "node:fs"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Option from "effect/Option"
import * as ParseResult from "effect/ParseResult"
import * as Queue from "effect/Queue"
import * as Schema from "effect/Schema"
import type * as Scope from "effect/Scope"
import * as FileWatch from "../../../Credentials/FileWatch.js"
import { AdmissionError, type AdmissionOptions, type Gradient } from "../../../Transport/AdmissionRules.js"
import type { AdmissionService } from "../../../Transport/AdmissionService.js"
import * as OptionalPackage from "../../../Transport/internal/optionalPackage.js"
import type { MissingPackage } from "../../../Transport/TransportError.js"
import * as File from "./fileSchema.js"
import * as JsonText from "./jsonText.js"
import * as Policy from "./policy.js"
import * as Service from "./service.js"

export interface FileOptions {
  readonly watch?: boolean | undefined
  readonly pollInterval?: Duration.DurationInput | undefined
  readonly settle?: Duration.DurationInput | undefined
}

/** Rules of some thousand identities; more is no file of rules. */
const maxFileBytes = 4 * 1024 * 1024

type Parse = (text: string) => JsonText.Parsed

const isYaml = (path: string): boolean => /\.ya?ml$/i.test(path)

/** YAML as the package `yaml` reads it; JSON without it. */
const parserOf = (path: string): Effect.Effect<Parse, MissingPackage> =>
  isYaml(path)
    ? Effect.map(
        OptionalPackage.load("Admission.layerFile", "yaml", false, () => import("yaml")),
        ({ LineCounter, isNode, parseDocument }): Parse =>
          (text) => {
            const lines = new LineCounter()
            const document = parseDocument(text, { lineCounter: lines, prettyErrors: false })
            const lineAt = (offset: number) => Math.max(1, lines.linePos(offset).line)
            const [error] = document.errors
            if (error !== undefined) {
              throw new JsonText.Unreadable(error.message, lineAt(error.pos[0]))
            }
            return {
              value: document.toJS({ maxAliasCount: 100 }),
              lineOf: (path) => {
                for (let length = path.length; length > 0; length--) {
                  const node = document.getIn(path.slice(0, length), true)
                  if (isNode(node) && node.range) {
                    return lineAt(node.range[0])
                  }
                }
                return 1
              }
            }
          }
      )
    : Effect.succeed(JsonText.parse)

const read = (path: string): Effect.Effect<string, AdmissionError> =>
  Effect.tryPromise({
    try: async () => {
      const { size } = await fs.stat(path)
      if (size > maxFileBytes) {
        throw new Error(`it has more than ${maxFileBytes} bytes`)
      }
      return await fs.readFile(path, "utf8")
    },
    catch: (cause) => {
      const isMissing = cause instanceof Error && "code" in cause && cause.code === "ENOENT"
      const why = cause instanceof Error ? cause.message : String(cause)
      return new AdmissionError({
        message: `${path}: ${why}`,
        reason: isMissing ? "NotFound" : "Unreadable",
        path,
        cause
      })
    }
  })

/** The path that the message of a malformed option begins with, as `rules[3]` or `listener.queue`. */
const pathOf = (message: string): ReadonlyArray<PropertyKey> =>
  (/^[\w.[\]]+/.exec(message)?.[0] ?? "")
    .split(/[.[\]]+/)
    .filter((part) => part !== "")
    .map((part) => (/^\d+$/.test(part) ? Number(part) : part))

const decode = Schema.decodeUnknownEither(File.File, { onExcessProperty: "error", errors: "first" })

/** Reads what a text says, or tells what is wrong on which line. */
const optionsOf = (
  path: string,
  text: string,
  parse: Parse,
  gradient: (options: Partial<Omit<Gradient, "_tag">>) => Gradient
): Either.Either<AdmissionOptions, AdmissionError> => {
  const malformed = (message: string, line: number) =>
    Either.left(new AdmissionError({ message: `${path}:${line}: ${message}`, reason: "Malformed", path, line }))
  let parsed: JsonText.Parsed
  try {
    parsed = parse(text.replace(/^\uFEFF/, ""))
  } catch (cause) {
    return cause instanceof JsonText.Unreadable
      ? malformed(cause.message, cause.line)
      : malformed(cause instanceof Error ? cause.message : String(cause), 1)
  }
  const decoded = decode(parsed.value ?? {})
  if (Either.isLeft(decoded)) {
    const [issue] = ParseResult.ArrayFormatter.formatErrorSync(decoded.left)
    const at = issue?.path ?? []
    return malformed(`${at.length === 0 ? "the file" : at.map(String).join(".")}: ${issue?.message}`, parsed.lineOf(at))
  }
  const options = File.toOptions(decoded.right, gradient)
  const policy = Policy.compile(options)
  return policy instanceof AdmissionError
    ? malformed(policy.message, parsed.lineOf(pathOf(policy.message)))
    : Either.right(options)
}

/** Events come in bursts, and files are written in pieces. After so many periods they are read even if that goes on. */
const maxSettles = 20

const follow = (
  path: string,
  { pollInterval = "1 minute", settle = "100 millis" }: FileOptions,
  initial: string | undefined,
  reload: Effect.Effect<void, AdmissionError>
): Effect.Effect<never, never, Scope.Scope> =>
  Effect.gen(function* () {
    const events = yield* Queue.sliding<void>(1)
    const watchers = yield* FileWatch.make([path], () => events.unsafeOffer(undefined))
    let signature = initial
    let failure: string | undefined
    const settled: (left: number) => Effect.Effect<void> = (left) =>
      Effect.sleep(settle).pipe(
        Effect.zipRight(Queue.poll(events)),
        Effect.flatMap((more) => (Option.isSome(more) && left > 0 ? settled(left - 1) : Effect.void))
      )
    const look = Effect.gen(function* () {
      const seen = yield* watchers.look
      if (seen === undefined || seen === signature) {
        return
      }
      yield* settled(maxSettles)
      signature = yield* watchers.look
      const result = yield* Effect.either(reload)
      if (Either.isRight(result)) {
        failure = undefined
        return yield* Effect.logInfo(`admission: the rules of ${path} are in force`)
      }
      if (failure !== result.left.message) {
        failure = result.left.message
        yield* Effect.logWarning(`admission: the rules before stay in force: ${failure}`)
      }
    })
    return yield* Effect.forever(
      Effect.zipRight(look, Effect.timeoutOption(Queue.take(events), Duration.max(pollInterval, "10 millis")))
    )
  })

export const make = (
  path: string,
  gradient: (options: Partial<Omit<Gradient, "_tag">>) => Gradient,
  options: FileOptions = {}
): Effect.Effect<AdmissionService, AdmissionError | MissingPackage, Scope.Scope> =>
  Effect.gen(function* () {
    const parse = yield* parserOf(path)
    const load = Effect.flatMap(read(path), (text) => optionsOf(path, text, parse, gradient))
    const signature = yield* FileWatch.signatureOf([path])
    const admission = yield* Service.make(yield* load)
    if (options.watch !== false) {
      yield* Effect.forkScoped(
        Effect.interruptible(follow(path, options, signature, Effect.flatMap(load, admission.update)))
      )
    }
    return admission
  })
