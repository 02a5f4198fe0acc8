/** Spans of calls, and the trace context in their metadata. */
import * as Context from "effect/Context"
import * as Option from "effect/Option"
import * as Tracer from "effect/Tracer"
import * as Fiber from "../../effect/Fiber.js"
import type { Call } from "../Call.js"
import * as Metadata from "../Metadata.js"

/** Spans cost more than a small call, so that none is made where nobody looks: no tracer installed, no span around. */
export const isTraced = (fiber: Fiber.RuntimeFiber<unknown, unknown>): boolean =>
  Fiber.tracerOf(fiber) !== Fiber.liveTracer ||
  Option.isSome(Context.getOption(Fiber.contextOf(fiber), Tracer.ParentSpan))

const pattern = /^[0-9a-f]{2}-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})/

/**
 * Metadata of a call with the span around it, in place of another that a handler passes on. `tracestate` goes on with the
 * trace that it belongs to; what OpenCensus has for `traceparent`, `grpc-trace-bin`, can't be metadata anyway.
 *
 * Source: W3C Trace Context, sections 3.2 and 3.4.
 */
export const withTraceparent = (metadata: Metadata.Metadata, { sampled, spanId, traceId }: Tracer.Span) => {
  const before = Option.flatMapNullable(Metadata.get(metadata, "traceparent"), (text) => pattern.exec(text)?.[1])
  const isSameTrace = Option.contains(before, traceId)
  const kept = Metadata.filter(metadata, (key) => key !== "traceparent" && (key !== "tracestate" || isSameTrace))
  const own = Metadata.unsafeFromEntries([["traceparent", `00-${traceId}-${spanId}-${sampled ? "01" : "00"}`]])
  return Metadata.concat(kept, own)
}

const parentOf = (metadata: Metadata.Metadata): Option.Option<Tracer.ExternalSpan> =>
  metadata.entries.length === 0
    ? Option.none()
    : Option.filterMap(Metadata.get(metadata, "traceparent"), (header) => {
        const match = pattern.exec(header)
        return match === null
          ? Option.none()
          : Option.some(
              Tracer.externalSpan({
                traceId: match[1] ?? "",
                spanId: match[2] ?? "",
                sampled: (Number.parseInt(match[3] ?? "0", 16) & 1) === 1
              })
            )
      })

/** OpenTelemetry's attributes of an RPC. */
export const attributes = (path: string, peer: string): Record<string, string> => {
  const slash = path.lastIndexOf("/")
  return { "rpc.service": path.slice(1, slash), "rpc.method": path.slice(slash + 1), "network.peer.address": peer }
}

/** The name of a call's span: the path without its leading slash, as OpenTelemetry asks. */
export const spanName = (path: string): string => path.slice(1)

/** The span of a call being handled, or undefined where nobody looks at either end. */
export const serverSpan = (fiber: Fiber.RuntimeFiber<unknown, unknown>, call: Call): Tracer.SpanOptions | undefined => {
  const parent = parentOf(call.metadata)
  return Option.isSome(parent) || isTraced(fiber)
    ? {
        kind: "server",
        attributes: attributes(call.method, call.peer.address),
        ...(Option.isSome(parent) ? { parent: parent.value } : { root: true })
      }
    : undefined
}
