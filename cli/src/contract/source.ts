/** Where a contract comes from: the peer's reflection, descriptor files, or `.proto` files. */

import type { DescMethod, FileRegistry } from "@bufbuild/protobuf"
import * as Options from "@effect/cli/Options"
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import type { Metadata, Transport, TransportError } from "effect-transport"
import { exitCodes, Failure } from "../shared/failure.js"
import type { Contract, Failed } from "./contract.js"
import * as DescriptorFile from "./descriptorFile.js"
import * as ProtoFile from "./protoFile.js"
import * as Reflection from "./reflection.js"

const repeated = (name: string, pseudoName: string, description: string) =>
  Options.text(name).pipe(Options.withPseudoName(pseudoName), Options.repeated, Options.withDescription(description))

/** The options of commands that need a contract. */
export const options = {
  proto: repeated("proto", "file", "A .proto file with the contract, instead of asking the peer. As often as needed."),
  protoPath: repeated(
    "proto-path",
    "folder",
    "Where --proto files and what they import are looked for. Default: the current folder."
  ),
  descriptors: repeated(
    "descriptors",
    "file",
    "A file with the contract as buf build -o or protoc --descriptor_set_out --include_imports writes it, instead of asking the peer."
  )
}

export interface SourceConfig {
  readonly proto: ReadonlyArray<string>
  readonly protoPath: ReadonlyArray<string>
  readonly descriptors: ReadonlyArray<string>
}

/** Whether the contract is in files, so that nobody has to be asked. */
export const isLocal = ({ descriptors, proto }: SourceConfig): boolean => proto.length > 0 || descriptors.length > 0

const ofRegistry = (registry: FileRegistry): Contract => {
  const services = [...registry].flatMap((each) => (each.kind === "service" ? [each.typeName] : []))
  return { services: Effect.succeed(services.sort()), files: () => Effect.succeed(registry) }
}

/** The contract in files. */
export const local = ({ descriptors, proto, protoPath }: SourceConfig): Effect.Effect<Contract, Failure> =>
  proto.length > 0 && descriptors.length > 0
    ? Effect.fail(
        new Failure({
          message: "--proto is there beside --descriptors",
          hint: "give one or the other",
          exitCode: exitCodes.usage
        })
      )
    : Effect.map(proto.length > 0 ? ProtoFile.read(proto, protoPath) : DescriptorFile.read(descriptors), ofRegistry)

/** The contract that the options name, or else the peer's own. */
export const contract = (
  config: SourceConfig,
  target: string,
  metadata: Metadata.Metadata
): Effect.Effect<Contract, Failure | TransportError.ConnectError, Transport.Transport | Scope.Scope> =>
  isLocal(config) ? local(config) : Reflection.contract(target, { metadata: metadata.entries })

/** Reads `pkg.Service/Method`, `/pkg.Service/Method` or `pkg.Service.Method`. */
export const parseMethod = (text: string): readonly [service: string, method: string] | undefined => {
  const [, service, method] = /^\/?([\w.]+)[/.](\w+)$/.exec(text) ?? []
  return service === undefined || method === undefined ? undefined : [service, method]
}

/** A method of a contract, with all files that its messages may need. */
export const method = (
  contract: Contract,
  name: string
): Effect.Effect<{ readonly method: DescMethod; readonly registry: FileRegistry }, Failed> =>
  Effect.gen(function* () {
    const parsed = parseMethod(name)
    if (parsed === undefined) {
      return yield* new Failure({
        message: `${JSON.stringify(name)} is no method`,
        hint: "write package.Service/Method",
        exitCode: exitCodes.usage
      })
    }
    const [serviceName, methodName] = parsed
    const registry = yield* contract.files([serviceName])
    const service = registry.getService(serviceName)
    const method = service?.methods.find(({ name }) => name === methodName)
    if (service === undefined || method === undefined) {
      const known = service === undefined ? yield* contract.services : service.methods.map(({ name }) => name)
      return yield* new Failure({
        message:
          service === undefined ? `there is no service ${serviceName}` : `${serviceName} has no method ${methodName}`,
        hint: known.length === 0 ? "the contract has none" : `there is ${known.slice(0, 20).join(", ")}`
      })
    }
    return { method, registry }
  })
