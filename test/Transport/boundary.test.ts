import { expect, it } from "@effect/vitest"
import { Effect, Exit, Logger, LogLevel, Scope, TestClock } from "effect"
import * as fc from "fast-check"
import { vi } from "vitest"
import * as Boundary from "../../src/Transport/internal/boundary.js"

const collect = () => {
  const lines: Array<string> = []
  const logger = Logger.make(({ message }) => {
    lines.push(String(message))
  })
  return { lines, layer: Logger.replace(Logger.defaultLogger, logger) }
}

it.scoped("what is thrown is logged and passed on, and what the end throws too", () => {
  const { layer, lines } = collect()
  return Effect.gen(function* () {
    const boundary = yield* Boundary.make
    const ends: Array<unknown> = []
    boundary.guard(
      "socket",
      "10.0.0.7:1",
      () => {
        throw new Error("first\nline")
      },
      (cause) => {
        ends.push(cause)
        throw new Error("second")
      }
    )
    expect(ends).toHaveLength(1)
    expect(lines).toEqual(["caught at the boundary (socket) with 10.0.0.7:1: Error: first\\u000aline"])
  }).pipe(Effect.provide(layer))
})

it.scoped("of many lines of one reason the first is logged at once, then one a second that counts them", () => {
  const { layer, lines } = collect()
  vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout"] })
  return Effect.gen(function* () {
    const boundary = yield* Boundary.make
    for (let i = 0; i < 1000; i++) {
      boundary.log(LogLevel.Warning, "flood", `line ${i}`)
      boundary.log(LogLevel.Warning, "other flood", `other ${i}`)
    }
    expect(lines).toEqual(["line 0", "other 0"])
    vi.advanceTimersByTime(1000)
    expect(lines.slice(2)).toEqual(["line 999 (and 998 more like it)", "other 999 (and 998 more like it)"])
    vi.advanceTimersByTime(1000)
    boundary.log(LogLevel.Warning, "flood", "later")
    expect(lines.slice(4)).toEqual(["later"])
  }).pipe(Effect.provide(layer), Effect.ensuring(Effect.sync(() => vi.useRealTimers())))
})

it.effect("what was left out is logged when the scope closes", () => {
  const { layer, lines } = collect()
  return Effect.gen(function* () {
    const scope = yield* Scope.make()
    const boundary = yield* Scope.extend(Boundary.make, scope)
    boundary.log(LogLevel.Warning, "flood", "one")
    boundary.log(LogLevel.Warning, "flood", "two")
    yield* Scope.close(scope, Exit.void)
    expect(lines).toEqual(["one", "two"])
  }).pipe(Effect.provide(layer))
})

it.scoped("a logger that throws, and a value that can't be printed, end nothing", () => {
  const throwing = Logger.replace(
    Logger.defaultLogger,
    Logger.make(() => {
      throw new Error("from the logger")
    })
  )
  return Effect.gen(function* () {
    const boundary = yield* Boundary.make
    boundary.caught("callback", "peer", {
      toString: () => {
        throw new Error("no text")
      }
    })
    yield* TestClock.adjust("1 second")
  }).pipe(Effect.provide(throwing))
})

it("a peer's text becomes one short line of printable ASCII", () => {
  fc.assert(
    fc.property(fc.string({ unit: "binary", maxLength: 300 }), (text) => {
      expect(Boundary.escapeText(text)).toMatch(/^[\x20-\x7e]{0,100}$/)
    })
  )
  expect(Boundary.escapeText("as it is")).toBe("as it is")
  expect(Boundary.escapeText("a".repeat(101))).toBe(`${"a".repeat(97)}...`)
})
