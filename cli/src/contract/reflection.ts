/** Contracts that a peer tells of, by gRPC's server reflection. */
import { type FileRegistry, fromBinary } from "@bufbuild/protobuf"
import { type FileDescriptorProto, FileDescriptorProtoSchema } from "@bufbuild/protobuf/wkt"
import * as Chunk from "effect/Chunk"
import * as Effect from "effect/Effect"
import * as Stream from "effect/Stream"
import { Reflection, Transport, type TransportError } from "effect-transport"
import { Failure } from "../shared/failure.js"
import type { Contract } from "./contract.js"
import * as Files from "./files.js"

/** What is taken of a peer, which may tell without end. */
const limits = { files: 5000, bytes: 64 * 1024 * 1024 }

interface Question {
  readonly messageRequest: {
    readonly case: "fileByFilename" | "fileContainingSymbol" | "listServices"
    readonly value: string
  }
}

interface Answer {
  readonly messageResponse:
    | { readonly case: "fileDescriptorResponse"; readonly value: { readonly fileDescriptorProto: Array<Uint8Array> } }
    | { readonly case: "listServicesResponse"; readonly value: { readonly service: Array<{ readonly name: string }> } }
    | { readonly case: "errorResponse"; readonly value: { readonly errorCode: number; readonly errorMessage: string } }
    | { readonly case: "allExtensionNumbersResponse"; readonly value: unknown }
    | { readonly case: undefined; readonly value?: undefined }
}

type Ask = (question: Question) => Effect.Effect<Answer["messageResponse"], Failure | TransportError.CallError>

const unexpected = new Failure({
  message: "the peer's reflection answered something else than was asked",
  hint: "give the contract with --proto or --descriptors"
})

interface Client {
  readonly serverReflectionInfo: (
    questions: Stream.Stream<Question>,
    options?: Transport.CallOptions
  ) => Stream.Stream<Answer, TransportError.CallError>
}

const askOf =
  ({ serverReflectionInfo }: Client, options: Transport.CallOptions): Ask =>
  (question) =>
    Effect.flatMap(
      Stream.runCollect(Stream.take(serverReflectionInfo(Stream.make(question), options), 1)),
      (answers) =>
        Chunk.isNonEmpty(answers)
          ? Effect.succeed(Chunk.headNonEmpty(answers).messageResponse)
          : Effect.fail(unexpected)
    )

const off = new Failure({
  message: "the peer does not serve reflection",
  hint: "give the contract with --proto or --descriptors, or have the peer serve Reflection.handlers"
})

/** Asks in the current version, and where the peer does not know that in the one before. */
const ask = (target: string, options: Transport.CallOptions) =>
  Effect.gen(function* () {
    const current = askOf(yield* Transport.client(Reflection.Contract, target), options)
    const before = askOf(yield* Transport.client(Reflection.AlphaContract, target), options)
    return (question: Question) =>
      current(question).pipe(
        Effect.catchTag("Unimplemented", () =>
          Effect.catchTag(before(question), "Unimplemented", () => Effect.fail(off))
        )
      )
  })

const list = (ask: Ask) =>
  Effect.flatMap(ask({ messageRequest: { case: "listServices", value: "*" } }), (answer) =>
    answer.case === "listServicesResponse"
      ? Effect.succeed(answer.value.service.map(({ name }) => name).sort())
      : Effect.fail(unexpected)
  )

const decode = (bytes: Uint8Array) =>
  Effect.try({
    try: () => fromBinary(FileDescriptorProtoSchema, bytes),
    catch: () => unexpected
  })

/** The files that declare symbols, with all that they import, one question after the other. */
const fetch = (
  ask: Ask,
  symbols: ReadonlyArray<string>
): Effect.Effect<FileRegistry, Failure | TransportError.CallError> =>
  Effect.gen(function* () {
    const files = new Map<string, FileDescriptorProto>()
    let size = 0
    const request = (question: Question["messageRequest"]) =>
      Effect.gen(function* () {
        const answer = yield* ask({ messageRequest: question })
        if (answer.case === "errorResponse") {
          return yield* new Failure({
            message: `the peer has no ${question.value}`,
            hint: "effect-transport list shows what it has"
          })
        }
        if (answer.case !== "fileDescriptorResponse") {
          return yield* unexpected
        }
        for (const bytes of answer.value.fileDescriptorProto) {
          size += bytes.length
          const file = yield* decode(bytes)
          files.set(file.name, file)
          if (size > limits.bytes || files.size > limits.files) {
            return yield* new Failure({
              message: `the peer's contract is larger than ${limits.files} files or ${limits.bytes} bytes`,
              hint: "give the contract with --proto or --descriptors"
            })
          }
        }
      })
    yield* Effect.forEach(symbols, (value) => request({ case: "fileContainingSymbol", value }), { discard: true })
    // Grows while it is read.
    for (const { dependency } of files.values()) {
      for (const name of dependency) {
        if (!files.has(name) && !Files.wellKnown.has(name)) {
          yield* request({ case: "fileByFilename", value: name })
          if (!files.has(name)) {
            return yield* unexpected
          }
        }
      }
    }
    return yield* Files.registry(files)
  })

/** The contract of a peer, which is asked when it is needed. */
export const contract = (target: string, options: Transport.CallOptions) =>
  Effect.map(
    ask(target, options),
    (ask): Contract => ({
      services: list(ask),
      files: (symbols) =>
        symbols === undefined ? Effect.flatMap(list(ask), (all) => fetch(ask, all)) : fetch(ask, symbols)
    })
  )
