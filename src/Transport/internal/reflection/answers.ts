/** What reflection answers to one request, and what a caller may see. */
import type { DescFile } from "@bufbuild/protobuf"
import * as Effect from "effect/Effect"
import type { ServerReflectionRequest } from "../../../gen/grpc/reflection/v1/reflection_pb.js"
import { NotFound } from "../../TransportError.js"
import { yieldWhenLong } from "../eventLoop.js"
import * as Descriptors from "./descriptors.js"

/** What the request asks, which is the same in `v1` and `v1alpha`. */
export type Question = ServerReflectionRequest["messageRequest"] | Alpha
type Alpha =
  | { readonly case: "fileContainingExtension"; readonly value: Extension }
  | Exclude<ServerReflectionRequest["messageRequest"], { readonly case: "fileContainingExtension" }>

interface Extension {
  readonly containingType: string
  readonly extensionNumber: number
}

/** What is answered, which is the same in both as well. */
export type Answer =
  | { readonly case: "fileDescriptorResponse"; readonly value: { readonly fileDescriptorProto: Array<Uint8Array> } }
  | {
      readonly case: "allExtensionNumbersResponse"
      readonly value: { readonly baseTypeName: string; readonly extensionNumber: Array<number> }
    }
  | { readonly case: "listServicesResponse"; readonly value: { readonly service: Array<{ readonly name: string }> } }
  | { readonly case: "errorResponse"; readonly value: { readonly errorCode: number; readonly errorMessage: string } }

/** What one caller may see, and what it was sent. */
export interface View {
  readonly index: Descriptors.Index
  /** The full names of services, sorted. */
  readonly services: ReadonlyArray<string>
  /** Whether a file is one that the caller may see. */
  readonly isOpen: (file: DescFile) => boolean
  /** Services of open files that the caller may not see. */
  readonly hidden: ReadonlyArray<string>
  readonly sent: Set<DescFile>
}

/** How many bytes of files that were not asked for go along in one answer; those left out the caller asks for. */
const maxImportedBytes = 1024 * 1024

/** How much of a name an error repeats, in characters. */
const maxRepeated = 256

const notFound = (what: string, name: string): Answer => ({
  case: "errorResponse",
  value: {
    errorCode: new NotFound({ message: "" }).code,
    errorMessage: `${what} not found: ${name.slice(0, maxRepeated)}`
  }
})

/** The file and, as far as they were not sent before, those that it imports, themselves or by others. */
const descriptors = (file: DescFile, { sent }: View): Effect.Effect<Answer> =>
  Effect.gen(function* () {
    const proto = [Descriptors.bytesOf(file)]
    sent.add(file)
    let size = 0
    for (const each of Descriptors.closure([file]).values()) {
      if (sent.has(each)) {
        continue
      }
      yield* yieldWhenLong
      const bytes = Descriptors.bytesOf(each)
      size += bytes.length
      if (size > maxImportedBytes) {
        break
      }
      proto.push(bytes)
      sent.add(each)
    }
    return { case: "fileDescriptorResponse", value: { fileDescriptorProto: proto } }
  })

const isInside = (symbol: string, service: string) => symbol === service || symbol.startsWith(`${service}.`)

export const answer = (
  question: Exclude<Question, { readonly case: undefined }>,
  view: View
): Effect.Effect<Answer> => {
  const { extensions, files, symbols } = view.index
  const open = (file: DescFile | undefined) => (file !== undefined && view.isOpen(file) ? file : undefined)
  const fileOf = (symbol: string) =>
    view.hidden.some((service) => isInside(symbol, service)) ? undefined : open(symbols.get(symbol))
  const send = (file: DescFile | undefined, what: string, name: string) =>
    file === undefined ? Effect.succeed(notFound(what, name)) : descriptors(file, view)
  switch (question.case) {
    case "listServices":
      return Effect.succeed({
        case: "listServicesResponse",
        value: { service: view.services.map((name) => ({ name })) }
      })
    case "fileByFilename":
      return send(open(files.get(question.value)), "file", question.value)
    case "fileContainingSymbol":
      return send(fileOf(question.value), "symbol", question.value)
    case "fileContainingExtension": {
      const { containingType, extensionNumber } = question.value
      const file = open(extensions.get(containingType)?.get(extensionNumber))
      return send(file, `extension ${extensionNumber} of`, containingType)
    }
    case "allExtensionNumbersOfType": {
      const numbers = [...(extensions.get(question.value) ?? [])].flatMap(([number, file]) =>
        view.isOpen(file) ? [number] : []
      )
      return Effect.succeed(
        numbers.length === 0 && fileOf(question.value) === undefined
          ? notFound("type", question.value)
          : {
              case: "allExtensionNumbersResponse",
              value: { baseTypeName: question.value, extensionNumber: numbers.sort((a, b) => a - b) }
            }
      )
    }
  }
}
