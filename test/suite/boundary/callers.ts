/** What callbacks and codecs of a caller throw ends that call. */
import { expect } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Stream from "effect/Stream"
import { type Method, Service, Transport } from "effect-transport"
import { eventually, soon } from "../fixtures/expect.js"

import { codec, method } from "../fixtures/text.js"
import { caught, Good, good, raise, type Suite, thrown } from "./harness.js"

export const callers = ({ allShapes, goodCall, serveGood, test }: Suite): void => {
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
      for (const [what, own] of bad) {
        // At the client, for requests and for answers.
        const broken = Service.make("test.Good", {
          unary: method(
            "/test.Good/Unary",
            "unary",
            own.encode ? { ...codec, ...own } : codec,
            own.decode ? { ...codec, ...own } : codec
          ),
          bidi: method(
            "/test.Good/Bidi",
            "bidiStreaming",
            own.encode ? { ...codec, ...own } : codec,
            own.decode ? { ...codec, ...own } : codec
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
      for (const [what, own] of bad) {
        // At the listener.
        const path = "/test.Good/Unary"
        const broken = Service.make("test.Good", {
          unary: method(
            path,
            "unary",
            own.decode ? { ...codec, ...own } : codec,
            own.encode ? { ...codec, ...own } : codec
          ),
          bidi: method(
            "/test.Good/Bidi",
            "bidiStreaming",
            own.decode ? { ...codec, ...own } : codec,
            own.encode ? { ...codec, ...own } : codec
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
}
