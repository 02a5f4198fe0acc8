/**
 * Metadata that goes on from the call that is handled to the calls that its handler makes.
 *
 * @since 0.1.0
 */
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Stream from "effect/Stream"
import * as Fiber from "../../effect/Fiber.js"
import * as Entries from "../../protocol/Entries.js"
import { CurrentCall } from "../Call.js"
import * as Metadata from "../Metadata.js"
import { type ClientCall, type ClientMiddleware, selfContained } from "./ClientMiddleware.js"

/** A trace goes on as a whole: where a span of this node's stands in the call, what came in says nothing more. */
const isOfTrace = (name: string): boolean => name === "traceparent" || name === "tracestate"

/** The call with what came in and is not in it yet. */
const withIncoming = <C extends ClientCall>(
  call: C,
  names: ReadonlySet<string>,
  fiber: Fiber.RuntimeFiber<unknown, unknown>
): C => {
  const current = Context.getOption(Fiber.contextOf(fiber), CurrentCall)
  if (current._tag === "None" || current.value.metadata.entries.length === 0) {
    return call
  }
  const own = new Set(call.metadata.entries.map(([name]) => name))
  const isTraced = own.has("traceparent")
  const passed = Metadata.filter(
    current.value.metadata,
    (name) => names.has(name) && !own.has(name) && !(isTraced && isOfTrace(name))
  )
  return passed.entries.length === 0 ? call : { ...call, metadata: Metadata.concat(call.metadata, passed) }
}

/**
 * For clients whose calls are made in handlers: the metadata under these keys, whatever their case, goes from the call that is
 * handled to the calls that are made for it. What a call has under a key already is left as it is. Outside of handlers it does
 * nothing.
 *
 * Only what is named goes on, and nothing that belongs to one hop can be named: a key that is reserved, as `Metadata` says it,
 * or begins with `grpc-` throws a `MetadataError`. `authorization` goes to whomever the client calls, so that it should be
 * named for peers alone that may act in the caller's name.
 *
 * @example
 * ```ts
 * import { Middleware, Transport } from "effect-transport"
 * import { EchoService } from "./gen/echo/v1/echo_pb.js"
 *
 * const client = Transport.client(EchoService, "peer-node:50051", {
 *   middleware: [Middleware.propagate(["x-request-id", "x-tenant"])]
 * })
 * ```
 *
 * @since 0.1.0
 * @category ready-made
 */
export const propagate = (keys: ReadonlyArray<string>): ClientMiddleware => {
  const names = new Set(keys.map((key) => key.toLowerCase()))
  for (const name of names) {
    Metadata.make([[name, Entries.isBinary(name) ? new Uint8Array(0) : ""]])
    if (name.startsWith("grpc-")) {
      const message = `metadata key ${JSON.stringify(name)} belongs to one hop`
      throw new Metadata.MetadataError({ key: name, reason: "Invalid", message })
    }
  }
  return selfContained({
    unary: (call, next) => Effect.withFiberRuntime((fiber) => next(withIncoming(call, names, fiber))),
    stream: (call, next) =>
      Stream.unwrap(Effect.withFiberRuntime((fiber) => Effect.succeed(next(withIncoming(call, names, fiber)))))
  })
}
