/** What handlers, authorizers and tracers of a listener throw ends that call, or that connection. */
import { expect } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Stream from "effect/Stream"
import * as Tracer from "effect/Tracer"
import { Transport } from "effect-transport"
import { eventually, soon, within } from "../fixtures/expect.js"
import { caught, Good, good, raise, type Suite, thrown } from "./harness.js"

export const listeners = ({ allShapes, goodCall, serveGood, test }: Suite): void => {
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
}
