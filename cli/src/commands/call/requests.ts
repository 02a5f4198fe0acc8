/** The requests of a call: JSON from options or from stdin, one message on each line. */
import { createInterface } from "node:readline"
import { type DescMethod, fromJson, type JsonValue, type Message, type Registry } from "@bufbuild/protobuf"
import * as Effect from "effect/Effect"
import * as Stream from "effect/Stream"
import { exitCodes, Failure } from "../../shared/failure.js"

const isStream = ({ methodKind }: DescMethod): boolean =>
  methodKind === "client_streaming" || methodKind === "bidi_streaming"

const parse = (text: string, where: string, method: DescMethod, registry: Registry): Effect.Effect<Message, Failure> =>
  Effect.try({
    try: () => {
      const json: JsonValue = JSON.parse(text)
      return fromJson(method.input, json, { registry })
    },
    catch: (cause) =>
      new Failure({
        message: `${where} is no ${method.input.typeName}: ${cause instanceof Error ? cause.message : String(cause)}`,
        hint: `effect-transport describe ${method.input.typeName} shows its fields`,
        exitCode: exitCodes.usage,
        cause
      })
  })

const stdinFailed = (cause: unknown) =>
  new Failure({ message: `can't read stdin: ${String(cause)}`, hint: "give the request with --data", cause })

/** The lines of stdin, as they come. */
const lines: Stream.Stream<string, Failure> = Stream.suspend(() =>
  Stream.fromAsyncIterable(createInterface({ input: process.stdin, crlfDelay: Number.POSITIVE_INFINITY }), stdinFailed)
)

/**
 * The messages of `--data`, each a JSON object; `-` is stdin: one object on each line for methods that take a stream, and
 * one object for those that don't. Without `--data` a stream is read from stdin, and one message is empty.
 */
export const requests = (
  data: ReadonlyArray<string>,
  method: DescMethod,
  registry: Registry
): Stream.Stream<Message, Failure> => {
  const ofStdin = isStream(method)
    ? lines.pipe(
        Stream.zipWithIndex,
        Stream.filter(([line]) => line.trim() !== ""),
        Stream.mapEffect(([line, index]) => parse(line, `line ${index + 1} of stdin`, method, registry))
      )
    : Stream.fromEffect(
        Effect.flatMap(
          Stream.runFold(lines, "", (all, line) => `${all}${line}\n`),
          (text) => parse(text, "stdin", method, registry)
        )
      )
  if (data.length === 0) {
    return isStream(method) ? ofStdin : Stream.fromEffect(parse("{}", "--data", method, registry))
  }
  if (!isStream(method) && data.length > 1) {
    return Stream.fail(
      new Failure({
        message: `${method.name} takes one message, and --data gives ${data.length}`,
        hint: "give --data once",
        exitCode: exitCodes.usage
      })
    )
  }
  return Stream.flatMap(Stream.fromIterable(data), (text) =>
    text === "-" ? ofStdin : Stream.fromEffect(parse(text, "--data", method, registry))
  )
}
