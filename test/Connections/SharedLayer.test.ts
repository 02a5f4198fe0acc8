import { expect, it } from "@effect/vitest"
import * as Context from "effect/Context"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Scope from "effect/Scope"
import { Credentials } from "effect-transport"
import * as SharedLayer from "../../src/Connections/SharedLayer.js"

class Wire extends Context.Tag("test/Wire")<Wire, number>() {}

const credentials = () => Layer.succeed(Credentials.Credentials, Credentials.make({ _tag: "Insecure" }))

/** A transport that is a number, with what happened to those that there were. */
const counting = (before: (build: number) => Effect.Effect<void, string> = () => Effect.void) => {
  const log: Array<string> = []
  let builds = 0
  const layer = SharedLayer.make(() =>
    Effect.gen(function* () {
      builds += 1
      const build = builds
      yield* Effect.acquireRelease(
        Effect.sync(() => log.push(`open ${build}`)),
        () =>
          Effect.zipRight(
            Effect.yieldNow(),
            Effect.sync(() => log.push(`close ${build}`))
          )
      )
      yield* before(build)
      return Context.make(Wire, build)
    })
  )
  return { layer, log }
}

/** A use of a layer in a memo map of its own, and its scope. */
const use = <E>(layer: Layer.Layer<Wire, E>) =>
  Effect.gen(function* () {
    const scope = yield* Scope.make()
    const fiber = yield* Effect.fork(
      Effect.map(Layer.buildWithScope(layer, scope), (context) => Context.get(context, Wire))
    )
    return { fiber, wire: Fiber.join(fiber), close: Scope.close(scope, Exit.void) }
  })

it.effect("is made once for each credentials, and ends with its last user", () =>
  Effect.gen(function* () {
    const { layer, log } = counting()
    const [one, other] = [Layer.provide(layer, credentials()), Layer.provide(layer, credentials())]
    const [a, b, c] = [yield* use(one), yield* use(one), yield* use(other)]
    expect([yield* a.wire, yield* b.wire, yield* c.wire]).toEqual([1, 1, 2])
    yield* a.close
    expect(log).toEqual(["open 1", "open 2"])
    const d = yield* use(one)
    expect(yield* d.wire).toBe(1)
    yield* d.close
    yield* b.close
    expect(log).toEqual(["open 1", "open 2", "close 1"])
    const e = yield* use(one)
    expect(yield* e.wire).toBe(3)
    yield* e.close
    yield* c.close
    expect(log).toEqual(["open 1", "open 2", "close 1", "open 3", "close 3", "close 2"])
  })
)

it.effect("is made once for all who come while it is made, whoever of them goes", () =>
  Effect.gen(function* () {
    const go = yield* Deferred.make<void>()
    const { layer, log } = counting(() => Deferred.await(go))
    const one = Layer.provide(layer, credentials())
    const [a, b] = [yield* use(one), yield* use(one)]
    yield* Effect.yieldNow()
    yield* Fiber.interrupt(a.fiber)
    yield* a.close
    yield* Deferred.succeed(go, undefined)
    expect(yield* b.wire).toBe(1)
    yield* b.close
    expect(log).toEqual(["open 1", "close 1"])
  })
)

it.effect("is made no further when all have gone", () =>
  Effect.gen(function* () {
    const { layer, log } = counting((build) => (build === 1 ? Effect.never : Effect.void))
    const one = Layer.provide(layer, credentials())
    const a = yield* use(one)
    yield* Effect.yieldNow()
    yield* Fiber.interrupt(a.fiber)
    yield* a.close
    expect(log).toEqual(["open 1", "close 1"])
    const b = yield* use(one)
    expect(yield* b.wire).toBe(2)
    yield* b.close
  })
)

it.effect("is made again where it could not be made", () =>
  Effect.gen(function* () {
    const { layer, log } = counting((build) =>
      build === 1 ? Effect.fail("no") : build === 2 ? Effect.dieMessage("never") : Effect.void
    )
    const one = Layer.provide(layer, credentials())
    const [a, b] = [yield* use(one), yield* use(one)]
    expect(yield* Effect.flip(a.wire)).toBe("no")
    expect(yield* Effect.flip(b.wire)).toBe("no")
    // Those who failed have not closed their scopes yet.
    const c = yield* use(one)
    expect(Exit.isFailure(yield* Effect.exit(c.wire))).toBe(true)
    const d = yield* use(one)
    expect(yield* d.wire).toBe(3)
    yield* Effect.all([a.close, b.close, c.close])
    expect(log).toEqual(["open 1", "close 1", "open 2", "close 2", "open 3"])
    yield* d.close
    expect(log.at(-1)).toBe("close 3")
  })
)

it.effect("that is closing is nobody's any more", () =>
  Effect.gen(function* () {
    const { layer, log } = counting()
    const one = Layer.provide(layer, credentials())
    const a = yield* use(one)
    yield* a.wire
    const closing = yield* Effect.fork(a.close)
    yield* Effect.yieldNow()
    const b = yield* use(one)
    expect(yield* b.wire).toBe(2)
    yield* Fiber.join(closing)
    expect(log).toEqual(expect.arrayContaining(["close 1"]))
    expect(log).not.toContain("close 2")
    yield* b.close
    expect(log.at(-1)).toBe("close 2")
  })
)

it.effect("survives a crowd that comes and goes", () =>
  Effect.gen(function* () {
    const { layer, log } = counting(() => Effect.yieldNow())
    const one = Layer.provide(layer, credentials())
    yield* Effect.forEach(
      Array.from({ length: 200 }, (_, i) => i),
      (i) =>
        Effect.gen(function* () {
          const user = yield* use(one)
          yield* Effect.yieldNow()
          yield* i % 3 === 0 ? Fiber.interrupt(user.fiber) : user.wire
          yield* user.close
        }),
      { concurrency: 20, discard: true }
    )
    const opened = log.filter((line) => line.startsWith("open"))
    expect(log.length).toBe(2 * opened.length)
    expect(new Set(log).size).toBe(log.length)
  })
)
