/** What is thrown behind a door ends one call, or one connection, on every wire, and nothing else. */
import { X509Certificate } from "node:crypto"
import { describe, expect, it } from "@effect/vitest"
import * as Chunk from "effect/Chunk"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Metric from "effect/Metric"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import * as Tracer from "effect/Tracer"
import { type Method, Service, Transport, TransportMetrics } from "effect-transport"
import type * as TransportOptions from "../../src/Connections/TransportOptions.js"
import { eventually, soon, within } from "./fixtures/expect.js"
import { captureLog } from "./fixtures/observe.js"

const text: Method.Codec<string, string> = {
  encode: (value) => new TextEncoder().encode(value),
  decode: (bytes) => new TextDecoder().decode(bytes)
}

const methodOf = <const S extends Method.Shape>(path: string, shape: S, input = text, output = text) => ({
  path,
  shape,
  input,
  output
})

const Good = Service.make("test.Good", {
  unary: methodOf("/test.Good/Unary", "unary"),
  server: methodOf("/test.Good/Server", "serverStreaming"),
  upload: methodOf("/test.Good/Upload", "clientStreaming"),
  bidi: methodOf("/test.Good/Bidi", "bidiStreaming")
})

const good = {
  unary: (request: string, call: Transport.Call) =>
    Effect.as(Effect.zipRight(call.setHeaders({ a: "b" }), call.setTrailers({ c: "d" })), request),
  server: (request: string) => Stream.make(request, request),
  upload: (requests: Stream.Stream<string, unknown>) =>
    Effect.map(Stream.runCollect(requests), (all) => Chunk.toReadonlyArray(all).join()),
  bidi: (requests: Stream.Stream<string, unknown>) => requests
}

/** What can be thrown, of which some can't even be looked at. */
const thrown: ReadonlyArray<readonly [string, unknown]> = [
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

const raise = (value: unknown) => (): never => {
  throw value
}

const caught = (door: string) =>
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

/** Doors of every wire over TCP, which a connection goes through while it is made. */
export const tcpDoors: ReadonlyArray<Door> = [
  {
    title: "by the event of a new connection",
    door: "socket",
    connects: true,
    break: throwing(TransportMetrics.connectionsAccepted, "unsafeUpdate")
  },
  {
    title: "by the chain that is verified while TLS shakes hands",
    door: "socket",
    connects: true,
    break: throwing(X509Certificate.prototype, "checkIssued")
  }
]

export const boundarySuite = <E>(
  name: string,
  transport: (options?: TransportOptions.TransportOptions) => Layer.Layer<Transport.Transport, E>,
  /** What the wire alone can be made to throw. */
  doors: ReadonlyArray<Door> = []
): void => {
  const memoMap = Effect.runSync(Layer.makeMemoMap)

  const test = (
    title: string,
    body: (
      log: Effect.Effect.Success<typeof captureLog>
    ) => Effect.Effect<void, unknown, Transport.Transport | Scope.Scope>
  ) =>
    it.scopedLive(title, () =>
      Effect.gen(function* () {
        yield* noneUncaught
        const log = yield* captureLog
        const scope = yield* Effect.scope
        const context = yield* Effect.provide(Layer.buildWithMemoMap(transport(), memoMap, scope), log.layer)
        yield* within(Effect.provide(Effect.provide(body(log), context), log.layer), "15 seconds")
      })
    )

  const serveGood = (options?: Parameters<typeof Transport.handlers>[2]) =>
    Transport.listen([Transport.handlers(Good, good, options as undefined)])

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

  describe(`${name}: what is thrown`, () => {
    for (const callback of ["onHeaders", "onTrailers"] as const) {
      test(`by ${callback} ends that call with Internal`, (log) =>
        Effect.gen(function* () {
          const { target } = yield* serveGood()
          const client = yield* Transport.client(Good, target)
          for (const [what, value] of thrown) {
            for (const [shape, call] of allShapes(client, { [callback]: raise(value) })) {
              const before = yield* caught("callback")
              const error = yield* soon(Effect.flip(call))
              expect(error, `${what}, ${shape}`).toMatchObject({
                _tag: "Internal",
                message: expect.stringContaining(callback)
              })
              expect("cause" in error && error.cause === value, `${what}, ${shape}`).toBe(true)
              expect(yield* caught("callback")).toBeGreaterThan(before)
            }
          }
          const rejecting = client.unary("x", { [callback]: () => Promise.reject(new Error("late")) })
          yield* Effect.exit(rejecting)
          expect(yield* client.unary("good")).toBe("good")
          expect(log.lines.map(({ text }) => text).join("\n")).toContain("caught at the boundary (callback)")
        }))
    }

    test("by onHeaders of a call that would go on cancels it on the wire", () =>
      Effect.gen(function* () {
        let interrupted = 0
        const { target } = yield* Transport.listen([
          Transport.handlers(Good, {
            ...good,
            bidi: () =>
              Stream.concat(Stream.make("first"), Stream.never).pipe(
                Stream.ensuring(Effect.sync(() => (interrupted += 1)))
              )
          })
        ])
        const client = yield* Transport.client(Good, target)
        const error = yield* soon(
          Effect.flip(Stream.runDrain(client.bidi(Stream.never, { onHeaders: raise(new Error("no")) })))
        )
        expect(error._tag).toBe("Internal")
        yield* eventually(Effect.sync(() => expect(interrupted).toBe(1)))
        yield* goodCall(target)
      }))

    test("by codecs, or what is no message, ends that call with Internal, and is logged by method", (log) =>
      Effect.gen(function* () {
        const bad: ReadonlyArray<readonly [string, Partial<Method.Codec<string, string>>]> = [
          ...thrown.flatMap(([what, value]) => [
            [`encode throws ${what}`, { encode: raise(value) }] as const,
            [`decode throws ${what}`, { decode: raise(value) }] as const
          ]),
          ["encode gives undefined", { encode: () => undefined as never }],
          ["encode gives text", { encode: () => "text" as never }],
          ["encode is async", { encode: (() => Promise.reject(new Error("late"))) as never }]
        ]
        const { target } = yield* serveGood()
        for (const [what, codec] of bad) {
          // At the client, for requests and for answers.
          const broken = Service.make("test.Good", {
            unary: methodOf(
              "/test.Good/Unary",
              "unary",
              codec.encode ? { ...text, ...codec } : text,
              codec.decode ? { ...text, ...codec } : text
            ),
            bidi: methodOf(
              "/test.Good/Bidi",
              "bidiStreaming",
              codec.encode ? { ...text, ...codec } : text,
              codec.decode ? { ...text, ...codec } : text
            )
          })
          const before = yield* caught("callback")
          const client = yield* Transport.client(broken, target)
          expect(yield* soon(Effect.flip(client.unary("x"))), what).toMatchObject({ _tag: "Internal" })
          expect(yield* soon(Effect.flip(Stream.runDrain(client.bidi(Stream.make("x"))))), what).toMatchObject({
            _tag: "Internal"
          })
          expect(yield* caught("callback"), what).toBe(before + 2)
        }
        for (const [what, codec] of bad) {
          // At the listener.
          const path = "/test.Good/Unary"
          const broken = Service.make("test.Good", {
            unary: methodOf(
              path,
              "unary",
              codec.decode ? { ...text, ...codec } : text,
              codec.encode ? { ...text, ...codec } : text
            ),
            bidi: methodOf(
              "/test.Good/Bidi",
              "bidiStreaming",
              codec.decode ? { ...text, ...codec } : text,
              codec.encode ? { ...text, ...codec } : text
            )
          })
          const listener = yield* Transport.listen([
            Transport.handlers(broken, { unary: good.unary, bidi: good.bidi } as never)
          ])
          const before = yield* caught("callback")
          const client = yield* Transport.client(Good, listener.target)
          expect(yield* soon(Effect.flip(client.unary("x"))), what).toMatchObject({ _tag: "Internal" })
          expect(yield* soon(Effect.flip(Stream.runDrain(client.bidi(Stream.make("x"))))), what).toMatchObject({
            _tag: "Internal"
          })
          expect(yield* caught("callback"), what).toBe(before + 2)
        }
        yield* goodCall(target)
        const lines = log.lines.map(({ level, text }) => `${level} ${text}`)
        for (const path of ["/test.Good/Unary", "/test.Good/Bidi"]) {
          for (const start of [
            `ERROR a message of ${path} can't be encoded`,
            `WARN a message of ${path} can't be decoded`
          ]) {
            const own = lines.filter((line) => line.startsWith(start))
            expect(own.length, start).toBeGreaterThan(0)
            expect(
              own.some((line) => line.includes("thrown\\u000aby a test")),
              start
            ).toBe(true)
          }
        }
      }))

    test("by an authorizer of calls denies them", (log) =>
      Effect.gen(function* () {
        for (const [what, value] of [
          ...thrown.map(([what, value]) => [what, raise(value)] as const),
          ["async", async () => true] as const,
          ["async throwing", async () => raise(new Error("late"))()] as const
        ]) {
          const { target } = yield* Transport.listen([Transport.handlers(Good, good, { authorize: value as never })])
          const before = yield* caught("callback")
          const client = yield* Transport.client(Good, target)
          for (const [shape, call] of allShapes(client)) {
            expect(yield* soon(Effect.flip(call)), `${what}, ${shape}`).toMatchObject({ _tag: "PermissionDenied" })
          }
          if (what !== "async") {
            yield* eventually(Effect.map(caught("callback"), (now) => expect(now).toBe(before + 4)))
          }
        }
        const lines = log.lines.map(({ text }) => text)
        expect(lines.join("\n")).toContain("caught at the boundary (callback)")
        expect(lines.filter((line) => line.includes("denied")).length).toBeLessThanOrEqual(8 * thrown.length + 8)
      }))

    test("by an authorizer of connections refuses them", () =>
      Effect.gen(function* () {
        const before = yield* caught("callback")
        const { target } = yield* Transport.listen([Transport.handlers(Good, good)], {
          authorize: raise(new Error("thrown by a test"))
        })
        const error = yield* Effect.flip(Transport.client(Good, target))
        expect(error).toMatchObject({ _tag: "HandshakeFailed", reason: "NotAuthorized" })
        expect(yield* caught("callback")).toBeGreaterThan(before)
        yield* goodCall((yield* serveGood()).target)
      }))

    test("by handlers, and what is no effect and no stream, is Internal to the caller alone", (log) =>
      Effect.gen(function* () {
        const values: ReadonlyArray<readonly [string, () => unknown]> = [
          ...thrown.map(([what, value]) => [what, raise(value)] as const),
          ["gives undefined", () => undefined],
          ["gives a number", () => 5],
          ["gives a promise", () => Promise.resolve("x")],
          ["gives the other kind", () => ({ _op: "nothing" })]
        ]
        for (const [what, f] of values) {
          const { target } = yield* Transport.listen([
            Transport.handlers(Good, { unary: f, server: f, upload: f, bidi: f } as never) as Transport.Handlers<never>
          ])
          const client = yield* Transport.client(Good, target)
          for (const [shape, call] of allShapes(client)) {
            expect(yield* within(Effect.flip(call), "3 seconds"), `${what}, ${shape}`).toMatchObject({
              _tag: "Internal",
              message: "internal error"
            })
          }
        }
        const { target } = yield* Transport.listen([
          Transport.handlers(Good, {
            ...good,
            server: () => Stream.concat(Stream.make("first"), Stream.suspend(raise(undefined)))
          }) as Transport.Handlers<never>
        ])
        const client = yield* Transport.client(Good, target)
        expect(yield* soon(Effect.flip(Stream.runDrain(client.server("x"))))).toMatchObject({ _tag: "Internal" })
        yield* goodCall(target)
        expect(log.lines.filter(({ level }) => level === "ERROR").length).toBeGreaterThan(0)
      }))

    test("by a tracer at the listener is Internal to the caller alone", () =>
      Effect.gen(function* () {
        const tracer = Tracer.make({ context: (f) => f(), span: raise(new Error("thrown by a tracer")) })
        const { target } = yield* Effect.withTracer(serveGood(), tracer)
        const before = yield* caught("handler")
        const client = yield* Transport.client(Good, target)
        for (const [shape, call] of allShapes(client)) {
          expect(yield* soon(Effect.flip(call)), shape).toMatchObject({ _tag: "Internal", message: "internal error" })
        }
        expect(yield* caught("handler")).toBeGreaterThanOrEqual(before + 4)
        yield* goodCall((yield* serveGood()).target)
      }))

    for (const { break: breakDoor, door, title } of doors.filter(({ connects }) => connects === true)) {
      test(`${title} ends the connection that is being made`, (log) =>
        Effect.gen(function* () {
          const { target } = yield* serveGood()
          const before = yield* caught(door)
          const mend = yield* Effect.acquireRelease(Effect.sync(breakDoor), (mend) => Effect.sync(mend))
          const exit = yield* within(Effect.exit(Effect.scoped(Transport.client(Good, target))), "5 seconds")
          mend()
          expect(exit).toMatchObject({ _tag: "Failure", cause: { _tag: "Fail", error: { _tag: expect.any(String) } } })
          expect(yield* caught(door)).toBeGreaterThan(before)
          yield* within(goodCall(target), "5 seconds")
          expect(log.lines.map(({ text }) => text).join("\n")).toContain(`caught at the boundary (${door})`)
        }))
    }

    for (const { break: breakDoor, door, title, survives } of doors.filter(({ connects }) => connects !== true)) {
      test(`${title} ends one connection at the most`, (log) =>
        Effect.gen(function* () {
          const { target } = yield* serveGood()
          const client = yield* Transport.client(Good, target)
          expect(yield* client.unary("before")).toBe("before")
          const before = yield* caught(door)
          yield* Effect.scoped(
            Effect.gen(function* () {
              const mend = yield* Effect.acquireRelease(Effect.sync(breakDoor), (mend) => Effect.sync(mend))
              const exit = yield* within(
                Effect.exit(client.unary("while broken", { timeout: "2 seconds" })),
                "5 seconds"
              )
              if (survives !== true) {
                expect(exit._tag).toBe("Failure")
                if (exit._tag === "Failure") {
                  expect(exit.cause).toMatchObject({ _tag: "Fail", error: { _tag: expect.any(String) } })
                }
              }
              yield* eventually(Effect.map(caught(door), (now) => expect(now).toBeGreaterThan(before)))
              mend()
            })
          )
          yield* within(goodCall(target), "5 seconds")
          expect(log.lines.map(({ text }) => text).join("\n")).toContain(`caught at the boundary (${door})`)
        }))
    }
  })
}

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
