/** Clients of several endpoints: which one gets a call, what becomes of those that fail, and what is told of each. */
import { describe, expect } from "@effect/vitest"
import * as Chunk from "effect/Chunk"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Fiber from "effect/Fiber"
import * as Queue from "effect/Queue"
import * as Stream from "effect/Stream"
import * as SubscriptionRef from "effect/SubscriptionRef"
import { type CallError, Discovery, HandshakeFailed, Health, Internal, Middleware, Transport } from "effect-transport"
import { EchoService, echo, echoPath, messages, numbered, upTo } from "./fixtures/echo.js"
import { closable, eventually, soon } from "./fixtures/expect.js"
import { measuring } from "./fixtures/metrics.js"
import type { EchoRequest } from "./gen/echo/v1/echo_pb.js"
import type { Suite } from "./harness.js"

interface Own {
  readonly echo?: (request: EchoRequest) => Effect.Effect<{ readonly message: string }, CallError>
  readonly echoServerStream?: (request: EchoRequest) => Stream.Stream<{ readonly message: string }, CallError>
  readonly echoBidi?: (
    requests: Stream.Stream<EchoRequest, CallError>
  ) => Stream.Stream<{ readonly message: string }, CallError>
}

/** What says that the call has not run, whatever the wire. */
const untaken = new HandshakeFailed({ message: "not I", reason: "Expired", refusedBy: "local" })

/** A replica that says its name, and counts its calls. */
const replica = (name: string, own: Own = {}, options: Transport.ListenOptions = {}) =>
  Effect.gen(function* () {
    let calls = 0
    const handlers = Transport.handlers(EchoService, {
      ...echo,
      echo: (request) =>
        Effect.suspend(() => {
          calls += 1
          return own.echo?.(request) ?? Effect.succeed({ message: name })
        }),
      ...(own.echoBidi === undefined ? {} : { echoBidi: own.echoBidi }),
      ...(own.echoServerStream === undefined ? {} : { echoServerStream: own.echoServerStream })
    })
    const [{ target }, close] = yield* closable(Transport.listen([handlers], options))
    const take = () => {
      const taken = calls
      calls = 0
      return taken
    }
    return { name, target, close, calls: () => calls, take }
  })

const replicas = Effect.all([replica("a"), replica("b"), replica("c")])

const targetsOf = (all: ReadonlyArray<{ readonly target: string }>) => all.map(({ target }) => target)

/** The options of tests that are not about the beginning. */
const settled = { slowStart: 0 } as const

/** Waits until a client is connected to all. */
const allReady = (target: Transport.Target, count: number) =>
  Transport.connection(target).pipe(
    Stream.filter((states) => states.filter(({ state }) => state === "ready").length === count),
    Stream.take(1),
    Stream.runDrain,
    soon
  )

const isEven = (counts: ReadonlyArray<number>) => {
  const mean = counts.reduce((sum, count) => sum + count, 0) / counts.length
  for (const count of counts) {
    expect(Math.abs(count - mean) / mean).toBeLessThanOrEqual(0.1)
  }
}

const stateOf = (target: Transport.Target, address: string) =>
  Transport.connection(target).pipe(
    Stream.map((states) => states.find((each) => each.address === address)?.state),
    Stream.changes
  )

/** Waits until a client sees an endpoint so, or not at all. */
const until = (target: Transport.Target, address: string, wanted: Transport.EndpointState | undefined) =>
  soon(
    Stream.runDrain(
      Stream.take(
        Stream.filter(stateOf(target, address), (state) => state === wanted),
        1
      )
    )
  )

export const endpoints = ({ test }: Suite): void => {
  describe("several endpoints", () => {
    for (const balance of ["leastPending", "roundRobin"] as const) {
      test(`share calls evenly by ${balance}, one at a time and many at once`, function* () {
        // What is answered in the same turn is never in flight beside other calls.
        const answer = Effect.delay(Effect.succeed({ message: "" }), 1)
        const all = yield* Effect.forEach(["a", "b", "c"], (name) => replica(name, { echo: () => answer }))
        const targets = targetsOf(all)
        const client = yield* Transport.client(EchoService, targets, { balance, ...settled })
        yield* allReady(targets, 3)
        for (const concurrency of [1, 16]) {
          all.map(({ take }) => take())
          yield* Effect.replicateEffect(client.echo({}), 300, { concurrency, discard: true })
          isEven(all.map(({ take }) => take()))
        }
      })
    }

    test("share calls by weight", function* () {
      const all = yield* replicas
      const discovery = Discovery.static(all.map(({ target }, i) => ({ address: target, weight: i + 1 })))
      const client = yield* Transport.client(EchoService, discovery, { balance: "weighted", ...settled })
      yield* allReady(discovery, 3)
      all.map(({ take }) => take())
      yield* Effect.replicateEffect(client.echo({}), 120, { discard: true })
      all.map(({ take }, i) => expect(Math.abs(take() - 20 * (i + 1))).toBeLessThanOrEqual(2))
    })

    test("keep the calls of a key together, and move only those of one that goes", function* () {
      const all = yield* replicas
      const lists = yield* SubscriptionRef.make<ReadonlyArray<string>>(targetsOf(all))
      const discovery = Discovery.fromStream(lists.changes)
      const client = yield* Transport.client(EchoService, discovery, {
        balance: { byKey: ({ request }) => String((request as { readonly message: string }).message) }
      })
      yield* allReady(discovery, 3)
      const owners = Effect.forEach(upTo(60), (message) =>
        Effect.map(client.echo({ message }), (reply) => reply.message)
      )
      const before = yield* owners
      expect(yield* owners).toEqual(before)
      expect(new Set(before).size).toBe(3)
      yield* SubscriptionRef.set(lists, targetsOf(all.slice(0, 2)))
      yield* allReady(discovery, 2)
      const after = yield* owners
      expect(before.filter((owner, i) => owner !== "c" && owner !== after[i])).toEqual([])
      const [keyed] = yield* Effect.all([client.echo({ message: "1" }, { key: "x" }), client.echo({}, { key: "x" })])
      expect((yield* client.echo({ message: "7" }, { key: "x" })).message).toBe(keyed.message)
    })

    test("fail a call whose key can't be made, and no other", function* () {
      const all = yield* replicas
      const client = yield* Transport.client(EchoService, targetsOf(all), {
        balance: {
          byKey: ({ metadata }) => {
            if (metadata.entries.length > 0) {
              throw new Error("no key")
            }
            return "k"
          }
        }
      })
      expect(yield* Effect.flip(client.echo({}, { metadata: { a: "b" } }))).toBeInstanceOf(Internal)
      yield* client.echo({})
    })

    test("get all calls at the first that can be reached, and at the next when it goes", function* () {
      const [a, b] = yield* replicas
      const targets = ["127.0.0.1:1", a.target, b.target]
      const client = yield* Transport.client(EchoService, targets, { balance: "pickFirst" })
      yield* Effect.replicateEffect(client.echo({}), 10, { discard: true })
      expect([a.take(), b.take()]).toEqual([10, 0])
      yield* a.close
      yield* Effect.replicateEffect(client.echo({}, { waitForReady: true }), 10, { discard: true })
      expect([a.take(), b.take()]).toEqual([0, 10])
    })

    test("lose no call when one is drained, and it gets no more", function* () {
      const all = yield* Effect.forEach(["a", "b", "c"], (name) =>
        replica(name, { echo: () => Effect.delay(Effect.succeed({ message: name }), "5 millis") })
      )
      const targets = targetsOf(all)
      const client = yield* Transport.client(EchoService, targets, settled)
      yield* allReady(targets, 3)
      const working = yield* Effect.fork(
        Effect.replicateEffect(client.echo({}), 400, { concurrency: 8, discard: true })
      )
      yield* eventually(Effect.sync(() => expect(all[0]?.calls()).toBeGreaterThan(5)))
      yield* all[0]?.close ?? Effect.void
      all[0]?.take()
      yield* Fiber.join(working)
      expect(all[0]?.take()).toBe(0)
    })

    test("let the calls go on of one that is on the list no more, and find the one that is", function* () {
      const hold = yield* Deferred.make<void>()
      const old = yield* replica("old", {
        echoBidi: (requests) =>
          Stream.map(
            Stream.mapEffect(requests, (each) => Effect.as(Deferred.await(hold), each)),
            ({ message }) => ({ message })
          )
      })
      const moved = yield* replica("moved")
      const lists = yield* SubscriptionRef.make<ReadonlyArray<string>>([old.target])
      const discovery = Discovery.fromStream(lists.changes)
      const client = yield* Transport.client(EchoService, discovery, settled)
      const stream = yield* Effect.fork(messages(client.echoBidi(numbered(3))))
      const statesOf = Transport.connection(discovery)
      yield* soon(Stream.runDrain(Stream.takeUntil(statesOf, ([state]) => state?.pending === 1)))
      yield* SubscriptionRef.set(lists, [moved.target])
      yield* until(discovery, old.target, "draining")
      yield* until(discovery, moved.target, "ready")
      expect(
        yield* Effect.replicateEffect(client.echo({}), 20).pipe(
          Effect.map((all) => new Set(all.map(({ message }) => message)))
        )
      ).toEqual(new Set(["moved"]))
      yield* Deferred.succeed(hold, undefined)
      expect(yield* Fiber.join(stream)).toEqual(upTo(3))
      yield* until(discovery, old.target, undefined)
    })

    test("take over a call that one has not taken, once, and it counts as one", function* () {
      const one = yield* replica("one", { echo: () => Effect.fail(untaken) })
      const other = yield* replica("other", { echo: () => Effect.fail(untaken) })
      const good = yield* replica("good")
      const seen: Array<string> = []
      const middleware = [
        Middleware.client({
          unary: (call, next) => {
            seen.push(call.method)
            return next(call)
          },
          stream: (call, next) => next(call)
        })
      ]
      const options = { balance: "roundRobin", outliers: false, health: false, middleware, ...settled } as const
      const two = [one.target, good.target]
      const client = yield* Transport.client(EchoService, two, options)
      yield* allReady(two, 2)
      const delta = yield* measuring
      const replies = yield* Effect.replicateEffect(client.echo({}), 20)
      expect(replies.map(({ message }) => message)).toEqual(replies.map(() => "good"))
      expect(one.take()).toBeGreaterThanOrEqual(10)
      expect(seen.length).toBe(20)
      const durations = (yield* delta).filter(
        ({ labels, name }) => name === "rpc.client.call.duration" && labels["rpc.method"] === echoPath.slice(1)
      )
      expect(durations.reduce((sum, { count }) => sum + count, 0)).toBe(20)
      const none = yield* Transport.client(EchoService, [one.target, other.target], options)
      yield* allReady([one.target, other.target], 2)
      one.take()
      expect(yield* Effect.flip(none.echo({}))).toMatchObject({ _tag: "Unavailable", processed: "no" })
      expect(one.take() + other.take()).toBe(2)
    })

    test("take over a stream of which nothing was used", function* () {
      const one = yield* replica("one", {
        echoServerStream: () => Stream.fail(untaken),
        echoBidi: () => Stream.fail(untaken)
      })
      const good = yield* replica("good")
      const targets = [one.target, good.target]
      const client = yield* Transport.client(EchoService, targets, {
        balance: "roundRobin",
        outliers: false,
        health: false,
        ...settled
      })
      yield* allReady(targets, 2)
      const ask = messages(client.echoServerStream({ message: "m", repeat: 2 }))
      expect(yield* Effect.replicateEffect(ask, 4)).toEqual(Array.from({ length: 4 }, () => ["m", "m"]))
      // Requests that were asked for can't be had again.
      const results = yield* Effect.replicateEffect(Effect.either(messages(client.echoBidi(numbered(2)))), 4)
      for (const result of results) {
        expect(Either.isLeft(result) ? result.left : result.right).toEqual(
          Either.isLeft(result) ? expect.objectContaining({ processed: "no" }) : ["1", "2"]
        )
      }
    })

    test("go without one that says that it does not serve, until it does", function* () {
      const good = yield* replica("good")
      yield* Effect.provide(
        Effect.gen(function* () {
          const health = yield* Health.Health
          yield* health.set("", "NOT_SERVING")
          let calls = 0
          const handlers = Transport.handlers(EchoService, {
            ...echo,
            echo: () =>
              Effect.sync(() => {
                calls += 1
                return { message: "shy" }
              })
          })
          const shy = yield* Transport.listen([handlers, Health.handlers])
          const targets = [good.target, shy.target]
          const client = yield* Transport.client(EchoService, targets, settled)
          yield* until(targets, shy.target, "unhealthy")
          yield* Effect.replicateEffect(client.echo({}), 20, { discard: true })
          expect(calls).toBe(0)
          yield* health.set("", "SERVING")
          yield* until(targets, shy.target, "ready")
          yield* Effect.replicateEffect(client.echo({}), 20, { discard: true })
          expect(calls).toBe(10)
        }),
        Health.layer
      )
    })

    test("go without one that fails, and never without all", function* () {
      const failing = { echo: () => Effect.fail(new Internal({ message: "broken" })) }
      const bad = yield* replica("bad", failing)
      const worse = yield* replica("worse", failing)
      const good = yield* replica("good")
      const targets = targetsOf([bad, worse, good])
      const client = yield* Transport.client(EchoService, targets, { balance: "roundRobin", ...settled })
      yield* allReady(targets, 3)
      yield* Effect.replicateEffect(Effect.either(client.echo({})), 9, { discard: true })
      expect([bad.take(), worse.take(), good.take()]).toEqual([3, 3, 3])
      yield* until(targets, bad.target, "ejected")
      expect((yield* Effect.replicateEffect(client.echo({}), 20)).map(({ message }) => message)).toEqual(
        Array.from({ length: 20 }, () => "good")
      )
      const none = targetsOf([bad, worse])
      const desperate = yield* Transport.client(EchoService, none, { balance: "roundRobin", ...settled })
      yield* allReady(none, 2)
      bad.take()
      worse.take()
      yield* Effect.replicateEffect(Effect.either(desperate.echo({})), 20, { discard: true })
      expect(Math.min(bad.take(), worse.take())).toBe(3)
    })

    test("are looked for with the first call where connecting is lazy", function* () {
      const a = yield* replica("a")
      let runs = 0
      const discovery = Discovery.fromStream(
        Stream.sync(() => {
          runs += 1
          return [a.target]
        })
      )
      const client = yield* Transport.client(EchoService, discovery, { connect: "lazy" })
      const plain = yield* Transport.client(EchoService, a.target, { connect: "lazy" })
      yield* Transport.client(EchoService, "127.0.0.1:1", { connect: "lazy" })
      expect(runs).toBe(0)
      expect((yield* client.echo({})).message).toBe("a")
      expect((yield* plain.echo({})).message).toBe("a")
      expect(runs).toBe(1)
    })

    test("may come after the client that waits for them", function* () {
      const lists = yield* Queue.unbounded<ReadonlyArray<string>>()
      const discovery = Discovery.fromStream(Stream.fromQueue(lists))
      const client = yield* Transport.client(EchoService, discovery, { connect: "lazy", waitForReady: true })
      const waiting = yield* Effect.fork(client.echo({}))
      yield* Queue.offer(lists, [])
      yield* Queue.offer(lists, ["127.0.0.1:1", "no target", "127.0.0.1:1"])
      const a = yield* replica("a")
      yield* Queue.offer(lists, [a.target])
      expect((yield* Fiber.join(waiting)).message).toBe("a")
      yield* Queue.offer(lists, [])
      yield* until(discovery, a.target, undefined)
      const error = yield* Effect.flip(client.echo({}, { waitForReady: false }))
      expect(error).toMatchObject({ _tag: "Unavailable", processed: "no" })
    })

    test("fail the client where none can be reached", function* () {
      const fails = (target: Transport.Target) => Effect.flip(Transport.client(EchoService, target))
      expect((yield* fails(["127.0.0.1:1", "127.0.0.1:2"]))._tag).toBe("Unavailable")
      expect((yield* fails("dns:///name.invalid:1"))._tag).toBe("Unavailable")
      for (const target of [[], ["nonsense"], "dns:///nonsense", "srv:///a b", "dns:///u@h:1"]) {
        expect((yield* fails(target))._tag).toBe("InvalidArgument")
      }
      expect((yield* fails(Discovery.static([])))._tag).toBe("Unavailable")
      expect((yield* Transport.client(EchoService, ["127.0.0.1:1"], { waitForReady: true })).echo).toBeTypeOf(
        "function"
      )
    })

    test("of a stream that fails or ends stay as they were", function* () {
      const a = yield* replica("a")
      for (const end of [Stream.empty, Stream.fail("gone"), Stream.die(new Error("bug"))]) {
        const discovery = Discovery.fromStream(Stream.concat(Stream.succeed([a.target]), end))
        const client = yield* Transport.client(EchoService, discovery)
        yield* Effect.replicateEffect(client.echo({}), 3, { discard: true })
        expect(Chunk.size(yield* Stream.runCollect(Stream.take(Transport.connection(discovery), 1)))).toBe(1)
      }
    })
  })
}
