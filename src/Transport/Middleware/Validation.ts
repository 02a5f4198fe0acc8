/**
 * Requests that keep the rules of their contract, as `@bufbuild/protovalidate` checks them.
 *
 * @since 0.1.0
 */
import { create, type DescMessage, type Registry } from "@bufbuild/protobuf"
import { type Path, pathToString } from "@bufbuild/protobuf/reflect"
import * as Effect from "effect/Effect"
import * as Text from "../../protocol/Text.js"
import * as ErrorDetails from "../ErrorDetails.js"
import * as OptionalPackage from "../internal/optionalPackage.js"
import * as Service from "../Service.js"
import { InvalidArgument, type MissingPackage } from "../TransportError.js"
import { type ServerMiddleware, serverForMethods } from "./ServerMiddleware.js"

/**
 * @since 0.1.0
 * @category models
 */
export interface ValidationOptions {
  /** Where predefined rules of your own (extensions of `buf.validate`) are found. Default: there are none. */
  readonly registry?: Registry | undefined
  /**
   * Whether checking a message ends with the first rule that it breaks. Default true: a message whose 65,000 elements all break
   * one takes 300 ms to tell. With false the caller is told the first 16.
   */
  readonly failFast?: boolean | undefined
}

/** What is told of one message: the details of a status have 16 KiB. */
const maxViolations = 16
const maxTextBytes = 256

interface Violation {
  readonly message: string
  readonly ruleId: string
  readonly field: Path
}

const load = OptionalPackage.load(
  "Middleware.validation",
  "@bufbuild/protovalidate",
  false,
  () => import("@bufbuild/protovalidate")
)

const describe = ({ field, message, ruleId }: Violation) => ({
  field: Text.cut(pathToString(field), maxTextBytes),
  description: Text.cut(message, maxTextBytes),
  reason: Text.cut(ruleId, maxTextBytes)
})

const invalid = (violations: ReadonlyArray<Violation>, method: string): InvalidArgument => {
  const described = violations.slice(0, maxViolations).map(describe)
  const [first] = described
  const more = violations.length > 1 ? ` (and ${violations.length - 1} more)` : ""
  return new InvalidArgument({
    message: first === undefined ? "the request is invalid" : `${first.field}: ${first.description}${more}`,
    method,
    details: [ErrorDetails.pack(ErrorDetails.BadRequest, { fieldViolations: described })]
  })
}

/**
 * Checks each request message by the rules of `buf.validate` in its .proto before the handler gets it, of streams too. What
 * breaks a rule is `InvalidArgument`, with a `google.rpc.BadRequest` that names the field, the rule and what it asks for. A
 * contract whose rules do not compile is a defect of the listener, and a rule that can't be evaluated is `Internal`.
 *
 * It needs the optional package `@bufbuild/protovalidate` (`npm install @bufbuild/protovalidate@1`), and fails with
 * `MissingPackage` without. Methods of other contract languages than protobuf are let pass. How long a check takes grows with
 * the message: `maxReceiveMessageSize` and `maxMessageElements` of the transport bound that. Patterns are matched in linear
 * time, by RE2.
 *
 * @example
 * ```ts
 * import { Effect, Layer } from "effect"
 * import { Middleware, Transport } from "effect-transport"
 *
 * const NodeLive = Layer.unwrapScoped(
 *   Effect.map(Middleware.validation(), (validation) => Transport.serve([], { middleware: [validation] }))
 * )
 * ```
 *
 * @since 0.1.0
 * @category ready-made
 */
export const validation = ({
  failFast = true,
  registry
}: ValidationOptions = {}): Effect.Effect<ServerMiddleware, MissingPackage> =>
  Effect.map(load, ({ createValidator }) => {
    const validator = createValidator({ failFast, ...(registry === undefined ? {} : { registry }) })
    /** Compiles the rules of a message, once. */
    const prepare = (schema: DescMessage) => {
      const result = validator.validate(schema, create(schema))
      if (result.kind === "error" && result.error.name === "CompilationError") {
        throw result.error
      }
    }
    return serverForMethods((method) => {
      const schema = Service.descriptorOf(method.input)
      if (schema === undefined) {
        return undefined
      }
      prepare(schema)
      return {
        onRequest: (request) =>
          Effect.suspend(() => {
            // Only what the codec of this schema has decoded comes here.
            const result = validator.validate(schema, request as ReturnType<typeof create>)
            return result.kind === "valid"
              ? Effect.void
              : result.kind === "error"
                ? Effect.die(result.error)
                : Effect.fail(invalid(result.violations, method.path))
          })
      }
    })
  })
