/** Spans of calls, and the trace context in their metadata. */
import * as Cause from "effect/Cause"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Option from "effect/Option"
import * as Stream from "effect/Stream"
import * as Tracer from "effect/Tracer"
import * as Fiber from "../../effect/Fiber.js"
import type { OutgoingCall } from "../Connection.js"
import type { IncomingCall } from "../IncomingCall.js"
import * as Metadata from "../Metadata.js"
import * as CallMetrics from "./callMetrics.js"
import * as Time from "./time.js"

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
const withTraceparent = (metadata: Metadata.Metadata, { sampled, spanId, traceId }: Tracer.Span) => {
  const before = Option.flatMapNullable(Metadata.get(metadata, "traceparent"), (text) => pattern.exec(text)?.[1])
  const isSameTrace = Option.contains(before, traceId)
  const kept = Metadata.filter(metadata, (key) => key !== "traceparent" && (key !== "tracestate" || isSameTrace))
  const own = Metadata.unsafeFromEntries([["traceparent", `00-${traceId}-${spanId}-${sampled ? "01" : "00"}`]])
  return Metadata.concat(kept, own)
}

/** A call that takes the trace context of a span along. */
export const within = (call: OutgoingCall, span: Tracer.Span): OutgoingCall => ({
  ...call,
  metadata: withTraceparent(call.metadata, span)
})

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

/** The name of a call's span: the path without its leading slash, as OpenTelemetry asks. */
export const spanName = CallMetrics.methodName

type Attributes = { readonly [name: string]: string | number | undefined }

const withNumber = (labels: Attributes, port: string): Attributes =>
  labels[port] === undefined ? labels : { ...labels, [port]: Number(labels[port]) }

/** Of a call to a target, or of one that came from an address. */
const attributes = (path: string, system: string, at: Attributes): Record<string, unknown> => ({
  "rpc.system.name": system,
  "rpc.method": CallMetrics.methodName(path),
  ...at
})

const serverAttributes = (target: string) => withNumber(CallMetrics.serverLabels(target), "server.port")

const peerAttributes = (address: string) => {
  const { "server.address": host, "server.port": port } = serverAttributes(address)
  return { "network.peer.address": host, ...(port === undefined ? {} : { "network.peer.port": port }) }
}

/**
 * Ends a span with the status of its call. What is no error at this side ends it as a success does.
 *
 * Source: OpenTelemetry's semantic conventions for gRPC, "rpc.response.status_code".
 */
const end = (span: Tracer.Span, side: "client" | "server", code: number, exit: Exit.Exit<unknown, unknown>) =>
  Effect.clockWith((clock) =>
    Effect.sync(() => {
      const error = CallMetrics.errorType(side, code)
      span.attribute("rpc.response.status_code", CallMetrics.statusName(code))
      if (error !== undefined) {
        span.attribute("error.type", error)
      }
      const failed =
        Exit.isFailure(exit) && Cause.isFailure(exit.cause) ? exit : Exit.fail(CallMetrics.statusName(code))
      const own = code === CallMetrics.cancelled && Exit.isFailure(exit) ? exit : failed
      span.end(clock.unsafeCurrentTimeNanos(), error === undefined ? Exit.void : own)
    })
  )

const around = <A, E, R>(
  name: string,
  options: Tracer.SpanOptions,
  onExit: (span: Tracer.Span, exit: Exit.Exit<unknown, unknown>) => Effect.Effect<void>,
  use: (span: Tracer.Span) => Effect.Effect<A, E, R>
): Effect.Effect<A, E, R> =>
  Effect.acquireUseRelease(Effect.makeSpan(name, { ...options, captureStackTrace: false }), use, onExit)

/** A stream in a span that lasts as long as it: a reader that has enough before its end cancels it. */
const aroundStream = <A, E, R>(
  name: string,
  options: Tracer.SpanOptions,
  onExit: (span: Tracer.Span, exit: Exit.Exit<unknown, unknown>) => Effect.Effect<void>,
  use: (span: Tracer.Span) => Stream.Stream<A, E, R>
): Stream.Stream<A, E, R> =>
  Stream.unwrapScoped(
    Effect.suspend(() => {
      let ended: Exit.Exit<unknown, unknown> = Fiber.interruptedExit
      const span = Effect.acquireRelease(Effect.makeSpan(name, { ...options, captureStackTrace: false }), (span) =>
        Effect.suspend(() => onExit(span, ended))
      )
      const note = (exit: Exit.Exit<unknown, unknown>) =>
        Effect.sync(() => {
          ended = exit
        })
      return Effect.map(span, (span) =>
        use(span).pipe(
          Stream.tapErrorCause((cause) => note(Exit.failCause(cause))),
          Stream.onEnd(note(Exit.void))
        )
      )
    })
  )

const codeOf = (exit: Exit.Exit<unknown, unknown>): number =>
  Exit.isSuccess(exit) ? 0 : CallMetrics.codeOfCause(exit.cause)

/** What a client knows of the other end. */
export interface Target {
  readonly peer: string
  /** What the wire speaks. Default `effect_transport`. */
  readonly system?: string | undefined
}

const clientSpan = (path: string, { peer, system = CallMetrics.ownSystem }: Target): Tracer.SpanOptions => ({
  kind: "client",
  attributes: attributes(path, system, serverAttributes(peer))
})

const endClient = (span: Tracer.Span, exit: Exit.Exit<unknown, unknown>) => end(span, "client", codeOf(exit), exit)

/** A call in a span of its own. `use` sends the trace context along. */
export const client = <A, E, R>(
  path: string,
  target: Target,
  use: (span: Tracer.Span) => Effect.Effect<A, E, R>
): Effect.Effect<A, E, R> => around(spanName(path), clientSpan(path, target), endClient, use)

/** The same for one that streams. */
export const clientStream = <A, E, R>(
  path: string,
  target: Target,
  use: (span: Tracer.Span) => Stream.Stream<A, E, R>
): Stream.Stream<A, E, R> => aroundStream(spanName(path), clientSpan(path, target), endClient, use)

/** The span of a call being handled, or undefined where nobody looks at either end. */
const serverSpan = (
  fiber: Fiber.RuntimeFiber<unknown, unknown>,
  call: IncomingCall
): Tracer.SpanOptions | undefined => {
  const parent = parentOf(call.metadata)
  return Option.isSome(parent) || isTraced(fiber)
    ? {
        kind: "server",
        attributes: attributes(call.method, call.system, peerAttributes(call.peer.address)),
        ...(Option.isSome(parent) ? { parent: parent.value } : { root: true })
      }
    : undefined
}

const endServer = (call: IncomingCall) => (span: Tracer.Span, exit: Exit.Exit<unknown, unknown>) =>
  Effect.clockWith((clock) => {
    const isInterrupted = Exit.isFailure(exit) && Cause.isInterruptedOnly(exit.cause)
    const code = isInterrupted
      ? CallMetrics.interruptedCode(Time.now(clock) - call.began, call.deadline - call.began)
      : codeOf(exit)
    return end(span, "server", code, exit)
  })

/** What a handler does, in the span of its call where somebody looks. */
export const server = <A, E, R>(handled: Effect.Effect<A, E, R>, call: IncomingCall): Effect.Effect<A, E, R> =>
  Effect.withFiberRuntime<A, E, R>((fiber) => {
    const options = serverSpan(fiber, call)
    return options === undefined
      ? handled
      : around(spanName(call.method), options, endServer(call), (span) => Effect.withParentSpan(handled, span))
  })

/** The same for one that streams. */
export const serverStream = <A, E, R>(handled: Stream.Stream<A, E, R>, call: IncomingCall): Stream.Stream<A, E, R> =>
  Stream.unwrap(
    Effect.withFiberRuntime<Stream.Stream<A, E, R>>((fiber) => {
      const options = serverSpan(fiber, call)
      return Effect.succeed(
        options === undefined
          ? handled
          : aroundStream(spanName(call.method), options, endServer(call), (span) =>
              Stream.mapInputContext(handled, (context: Context.Context<R>) =>
                Context.add(context, Tracer.ParentSpan, span)
              )
            )
      )
    })
  )
