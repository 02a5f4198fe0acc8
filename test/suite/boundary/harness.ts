/** What the parts of the suite are given: things that throw, and a way to write a test that nothing else suffers. */
import { expect, it } from "@effect/vitest"
import * as Chunk from "effect/Chunk"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Metric from "effect/Metric"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import { Service, Transport, type TransportError, TransportMetrics } from "effect-transport"
import { testTimeout, within } from "../fixtures/expect.js"
import { captureLog } from "../fixtures/observe.js"
import { method } from "../fixtures/text.js"

/** Something of a wire that is made to throw; gives what mends it, which may be called twice. */
export interface Door {
  readonly title: string
  readonly door: "socket" | "packet" | "timer" | "engine" | "handler" | "callback"
  readonly break: () => () => void
  /** Whether the call under way may succeed all the same. */
  readonly survives?: boolean
  /** Whether it is gone through only while a connection is made. */
  readonly connects?: boolean
}

/** The transport under test, and what it alone can be made to throw. */
export interface BoundarySuiteOptions<E> {
  /** Makes the layer under test. */
  readonly layer: () => Layer.Layer<Transport.Transport, E>
  /** Default: none. */
  readonly doors?: ReadonlyArray<Door> | undefined
}

export const Good = Service.make("test.Good", {
  unary: method("/test.Good/Unary", "unary"),
  server: method("/test.Good/Server", "serverStreaming"),
  upload: method("/test.Good/Upload", "clientStreaming"),
  bidi: method("/test.Good/Bidi", "bidiStreaming")
})

export const good = {
  unary: (request: string, call: Transport.Call) =>
    Effect.as(Effect.zipRight(call.setHeaders({ a: "b" }), call.setTrailers({ c: "d" })), request),
  server: (request: string) => Stream.make(request, request),
  upload: (requests: Stream.Stream<string, TransportError.StatusError>) =>
    Effect.map(Stream.runCollect(requests), (all) => Chunk.toReadonlyArray(all).join()),
  bidi: (requests: Stream.Stream<string, TransportError.StatusError>) => requests
}

/** What can be thrown, of which some can't even be looked at. */
export const thrown: ReadonlyArray<readonly [string, unknown]> = [
  ["an error", new Error("thrown\nby a test")],
  ["nothing", undefined],
  ["null", null],
  [
    "what can't be printed",
    {
      get message(): string {
        throw new Error("no message")
      },
      toString: () => {
        throw new Error("no text")
      }
    }
  ]
]

export const raise = (value: unknown) => (): never => {
  throw value
}

export const caught = (door: string) =>
  Effect.map(Metric.value(Metric.tagged(TransportMetrics.boundaryCaught, "door", door)), ({ count }) => count)

/** Fails where something reaches the process that the library should have caught. */
const noneUncaught = Effect.acquireRelease(
  Effect.sync(() => {
    const seen: Array<unknown> = []
    const onUncaught = (cause: unknown) => seen.push(cause)
    const uncaught = process.rawListeners("uncaughtException")
    const unhandled = process.rawListeners("unhandledRejection")
    process.removeAllListeners("uncaughtException").removeAllListeners("unhandledRejection")
    process.on("uncaughtException", onUncaught).on("unhandledRejection", onUncaught)
    return { seen, uncaught, unhandled, onUncaught }
  }),
  ({ onUncaught, seen, uncaught, unhandled }) =>
    Effect.gen(function* () {
      // A rejection is told of after the microtasks of a turn.
      yield* Effect.sleep("10 millis")
      process.off("uncaughtException", onUncaught).off("unhandledRejection", onUncaught)
      for (const listener of uncaught) {
        process.on("uncaughtException", listener as (error: Error) => void)
      }
      for (const listener of unhandled) {
        process.on("unhandledRejection", listener as (error: unknown) => void)
      }
      expect(seen).toEqual([])
    })
)

/** Makes a method throw, for the objects that are meant. */
export const throwing =
  <K extends string>(prototype: { [key in K]: unknown }, key: K, isMeant: (self: unknown) => boolean = () => true) =>
  (): (() => void) => {
    const original = prototype[key] as (...args: ReadonlyArray<unknown>) => unknown
    prototype[key] = function (this: unknown, ...args: ReadonlyArray<unknown>) {
      if (isMeant(this)) {
        throw new Error("thrown by a test")
      }
      return Reflect.apply(original, this, args)
    }
    return () => {
      prototype[key] = original
    }
  }

export const make = <E>({ doors = [], layer }: BoundarySuiteOptions<E>) => {
  const memoMap = Effect.runSync(Layer.makeMemoMap)

  const test = (
    title: string,
    body: (
      log: Effect.Effect.Success<typeof captureLog>
    ) => Effect.Effect<void, unknown, Transport.Transport | Scope.Scope>
  ) =>
    it.scopedLive(
      title,
      () =>
        Effect.gen(function* () {
          yield* noneUncaught
          const log = yield* captureLog
          const scope = yield* Effect.scope
          const context = yield* Effect.provide(Layer.buildWithMemoMap(layer(), memoMap, scope), log.layer)
          yield* within(Effect.provide(Effect.provide(body(log), context), log.layer), "15 seconds")
        }),
      testTimeout
    )

  const serveGood = () => Transport.listen([Transport.handlers(Good, good)])

  const goodCall = (target: string) =>
    Effect.scoped(
      Effect.flatMap(Transport.client(Good, target), (client) =>
        Effect.map(client.unary("good", { waitForReady: true }), (reply) => expect(reply).toBe("good"))
      )
    )

  const allShapes = (client: Transport.Client<typeof Good>, options?: Transport.CallOptions) =>
    [
      ["unary", Effect.asVoid(client.unary("x", options))],
      ["server", Stream.runDrain(client.server("x", options))],
      ["upload", Effect.asVoid(client.upload(Stream.make("x", "y"), options))],
      ["bidi", Stream.runDrain(client.bidi(Stream.make("x", "y"), options))]
    ] as const

  return { allShapes, doors, goodCall, serveGood, test }
}

/** What the parts of the suite are given. */
export type Suite = ReturnType<typeof make<unknown>>
