/** Admission: what a listener lets in by who calls, and what those get whom it does not let in. */
import { describe, expect } from "@effect/vitest"
import * as Deferred from "effect/Deferred"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Fiber from "effect/Fiber"
import * as Metric from "effect/Metric"
import * as Option from "effect/Option"
import * as Stream from "effect/Stream"
import { Admission, ErrorDetails, RetryPolicy, Transport, TransportMetrics } from "effect-transport"
import { EchoService, echo, echoPath, goesOn, numbered, payloadOf } from "./fixtures/echo.js"
import { eventually, soon, within } from "./fixtures/expect.js"
import type { Suite } from "./harness.js"

/** A listener whose unary handler waits until it is let go on, and says who began. */
const gated = (options: Admission.AdmissionOptions) =>
  Effect.gen(function* () {
    const admission = yield* Admission.make(options)
    const gate = yield* Deferred.make<void>()
    const begun: Array<string> = []
    const interrupted: Array<string> = []
    const handlers = Transport.handlers(EchoService, {
      ...echo,
      echo: (request) =>
        Effect.suspend(() => {
          if (request.message === "" || request.message === "and on it goes") {
            return echo.echo(request)
          }
          begun.push(request.message)
          return Effect.zipRight(Deferred.await(gate), echo.echo(request))
        }).pipe(Effect.onInterrupt(() => Effect.sync(() => interrupted.push(request.message))))
    })
    const listener = yield* Transport.listen([handlers], { admission, gracePeriod: 0 })
    const client = yield* Transport.client(EchoService, listener.target)
    return { admission, begun, client, gate, interrupted, listener, open: Deferred.succeed(gate, undefined) }
  })

export const admission = ({ test, withOptions }: Suite): void => {
  describe("admission", () => {
    /** Another connection of the same identity. */
    const another = (target: string) => withOptions({})(Transport.client(EchoService, target))

    const inFlight = (admission: Admission.AdmissionService, count: number) =>
      eventually(Effect.map(admission.inspect, ({ callsInFlight }) => expect(callsInFlight).toBe(count)))

    test("counts the calls of an identity on all of its connections", function* () {
      const { admission, begun, client, listener, open } = yield* gated({ identities: { callsInFlight: 5 } })
      const clients = [client, yield* another(listener.target), yield* another(listener.target)]
      const held = yield* Effect.forEach([1, 2, 3, 4, 5], (n) =>
        Effect.fork((clients[n % 3] ?? client).echo({ message: `held ${n}` }))
      )
      yield* inFlight(admission, 5)
      for (const each of clients) {
        const error = yield* soon(Effect.flip(each.echo({ message: "one more" })))
        expect(error).toMatchObject({ _tag: "ResourceExhausted", message: "more than the 5 calls at a time allowed" })
      }
      expect(begun).not.toContain("one more")
      const { connections, identities } = yield* admission.inspect
      expect(connections).toBe(3)
      expect(identities).toMatchObject([
        { connections: 3, callsInFlight: 5, queued: 0, streams: 0, refused: 3, rule: "identities" }
      ])
      yield* open
      yield* Fiber.joinAll(held)
      yield* inFlight(admission, 0)
      yield* goesOn(client)
    })

    test("limits the slow calls of one identity on many connections by default", function* () {
      const gate = yield* Deferred.make<void>()
      const handlers = Transport.handlers(EchoService, { ...echo, echo: () => Effect.as(Deferred.await(gate), {}) })
      const listener = yield* Transport.listen([handlers], { gracePeriod: 0 })
      const clients = yield* Effect.forEach(Array.from({ length: 11 }), () => another(listener.target))
      const calls = clients.flatMap((client) =>
        Array.from({ length: 100 }, () => Effect.either(client.echo({}, { timeout: "1 minute" })))
      )
      const fibers = yield* Effect.forEach(calls, Effect.fork)
      const refused = () => fibers.filter((fiber) => fiber.unsafePoll() !== null)
      yield* eventually(
        Effect.sync(() => expect(refused().length).toBe(1100 - 1024)),
        "8 seconds"
      )
      yield* Deferred.succeed(gate, undefined)
      const answers = yield* within(Fiber.joinAll(fibers), "10 seconds")
      const errors = answers.flatMap((answer) => (Either.isLeft(answer) ? [answer.left._tag] : []))
      expect(errors.length).toBe(1100 - 1024)
      expect(new Set(errors)).toEqual(new Set(["ResourceExhausted"]))
    })

    test("refuses connections beyond those of an identity, and takes one when another has gone", function* () {
      const { admission, client, listener } = yield* gated({ identities: { connections: 1 } })
      yield* goesOn(client)
      const error = yield* within(Effect.flip(another(listener.target)), "5 seconds")
      expect(error).toMatchObject({ _tag: "Unavailable", processed: "no" })
      yield* goesOn(client)
      expect((yield* admission.inspect).connections).toBe(1)
    })

    test("says when to call again, and RetryPolicy heeds it", function* () {
      const { client } = yield* gated({ identities: { callsPerSecond: { rate: 5, burst: 2 } } })
      yield* client.echo({})
      yield* client.echo({})
      const error = yield* Effect.flip(client.echo({}))
      expect(error).toMatchObject({ _tag: "ResourceExhausted", message: "more calls in a second than allowed" })
      const info = "details" in error ? ErrorDetails.get(error, ErrorDetails.RetryInfo) : Option.none()
      expect(Option.getOrThrow(info).retryDelay?.nanos).toBeGreaterThan(0)
      const policy = RetryPolicy.exponential({ initial: "1 millis", times: 1, on: ["ResourceExhausted"] })
      const [elapsed] = yield* Effect.timed(Effect.retry(client.echo({}), policy))
      expect(Duration.toMillis(elapsed)).toBeGreaterThan(50)
    })

    test("lets calls of a rule wait no longer for those of another", function* () {
      const { begun, client, open } = yield* gated({
        rules: [
          Admission.rule({
            name: "tagged",
            match: { method: echoPath, metadata: { tenant: "loud" } },
            limits: { callsInFlight: 1 }
          })
        ]
      })
      const loud = yield* Effect.fork(client.echo({ message: "loud 1" }, { metadata: { tenant: "loud" } }))
      yield* eventually(Effect.sync(() => expect(begun).toEqual(["loud 1"])))
      const error = yield* Effect.flip(client.echo({ message: "loud 2" }, { metadata: { tenant: "loud" } }))
      expect(error).toMatchObject({ _tag: "ResourceExhausted" })
      yield* goesOn(client)
      yield* open
      yield* Fiber.join(loud)
    })

    test("asks rules of messages before they are decoded", function* () {
      const { client, begun } = yield* gated({
        rules: [Admission.rule({ name: "large", match: { size: { min: 10_000 } }, limits: { callsInFlight: 0 } })]
      })
      expect(yield* Effect.flip(client.echo({ message: "x", payload: new Uint8Array(20_000) }))).toMatchObject({
        _tag: "PermissionDenied"
      })
      expect(begun).toEqual([])
      yield* goesOn(client)
    })

    test("counts streams, and gives back what they held", function* () {
      const { admission, client } = yield* gated({ identities: { streams: 1 } })
      const held = yield* Effect.fork(Stream.runDrain(client.echoBidi(Stream.never)))
      yield* inFlight(admission, 1)
      const error = yield* Effect.flip(Stream.runDrain(client.echoBidi(numbered(1))))
      expect(error).toMatchObject({ _tag: "ResourceExhausted", message: "more than the 1 streams at a time allowed" })
      yield* goesOn(client)
      yield* Fiber.interrupt(held)
      yield* inFlight(admission, 0)
      expect((yield* Stream.runCollect(client.echoBidi(numbered(3)))).length).toBe(3)
    })

    test("lets calls wait for their turn, the earliest deadline first, and never starts one whose deadline has passed", function* () {
      const { admission, begun, client, open } = yield* gated({
        listener: { callsInFlight: 1, queue: 10, maxWait: "1 minute" }
      })
      const call = (message: string, timeout: Duration.DurationInput) =>
        Effect.fork(Effect.either(client.echo({ message }, { timeout })))
      const waiting = (count: number) =>
        eventually(Effect.map(admission.inspect, ({ queued }) => expect(queued).toBe(count)))
      const first = yield* call("first", "1 minute")
      yield* inFlight(admission, 1)
      const late = yield* call("late", "50 seconds")
      yield* waiting(1)
      const early = yield* call("early", "40 seconds")
      yield* waiting(2)
      const hopeless = yield* call("hopeless", "200 millis")
      yield* waiting(3)
      expect(Either.flip(yield* soon(Fiber.join(hopeless)))).toMatchObject({ right: { _tag: "DeadlineExceeded" } })
      yield* waiting(2)
      yield* open
      yield* soon(Fiber.joinAll([first, late, early]))
      expect(begun).toEqual(["first", "early", "late"])
    })

    test("refuses calls for which there is no room to wait, or no time", function* () {
      const { admission, client, open, begun } = yield* gated({
        listener: { callsInFlight: 1, queue: 1, maxWait: "300 millis" }
      })
      const first = yield* Effect.fork(client.echo({ message: "first" }))
      yield* inFlight(admission, 1)
      const second = yield* Effect.fork(Effect.flip(client.echo({ message: "second" })))
      yield* eventually(Effect.map(admission.inspect, ({ queued }) => expect(queued).toBe(1)))
      const third = yield* soon(Effect.flip(client.echo({ message: "third" })))
      expect(third).toMatchObject({ _tag: "Unavailable", processed: "no" })
      expect(yield* soon(Fiber.join(second))).toMatchObject({
        _tag: "Unavailable",
        processed: "no",
        message: "the call has waited for too long"
      })
      yield* open
      yield* Fiber.join(first)
      expect(begun).toEqual(["first"])
    })

    test("lets those of higher priority take the places of others", function* () {
      const { admission, client, open, begun } = yield* gated({
        listener: { callsInFlight: 1, queue: 1, maxWait: "1 minute" },
        priorities: [
          Admission.priority({ match: { metadata: { tier: "gold" } }, level: "high" }),
          Admission.priority({ match: { metadata: { tier: "tin" } }, level: "low" })
        ]
      })
      const call = (tier: string) => Effect.fork(Effect.either(client.echo({ message: tier }, { metadata: { tier } })))
      const first = yield* call("first")
      yield* inFlight(admission, 1)
      const tin = yield* call("tin")
      yield* eventually(Effect.map(admission.inspect, ({ queued }) => expect(queued).toBe(1)))
      const gold = yield* call("gold")
      expect(Either.flip(yield* soon(Fiber.join(tin)))).toMatchObject({
        right: { _tag: "Unavailable", processed: "no" }
      })
      yield* open
      expect(Either.isRight(yield* soon(Fiber.join(gold)))).toBe(true)
      yield* Fiber.join(first)
      expect(begun).toEqual(["first", "gold"])
    })

    test("starts streams in their turn, with what was sent meanwhile", function* () {
      const { admission, client, open } = yield* gated({ listener: { callsInFlight: 1, maxWait: "1 minute" } })
      const first = yield* Effect.fork(client.echo({ message: "first" }))
      yield* inFlight(admission, 1)
      const stream = yield* Effect.fork(Stream.runCollect(client.echoBidi(numbered(5))))
      yield* eventually(Effect.map(admission.inspect, ({ queued }) => expect(queued).toBe(1)))
      yield* open
      yield* Fiber.join(first)
      expect((yield* soon(Fiber.join(stream))).length).toBe(5)
      yield* inFlight(admission, 0)
    })

    test("gives up a call that waits when its caller does", function* () {
      const { admission, begun, client, open } = yield* gated({ listener: { callsInFlight: 1, maxWait: "1 minute" } })
      const first = yield* Effect.fork(client.echo({ message: "first" }))
      yield* inFlight(admission, 1)
      const second = yield* Effect.fork(client.echo({ message: "second" }))
      yield* eventually(Effect.map(admission.inspect, ({ queued }) => expect(queued).toBe(1)))
      yield* Fiber.interrupt(second)
      yield* eventually(Effect.map(admission.inspect, ({ queued }) => expect(queued).toBe(0)))
      yield* open
      yield* Fiber.join(first)
      expect(begun).toEqual(["first"])
    })

    test("bounds the requests that are held", function* () {
      const { admission, client, open } = yield* gated({ listener: { memory: 100_000 } })
      const held = yield* Effect.fork(client.echo({ message: "held", payload: new Uint8Array(60_000) }))
      yield* inFlight(admission, 1)
      expect(yield* Effect.flip(client.echo({ message: "more", payload: new Uint8Array(60_000) }))).toMatchObject({
        _tag: "Unavailable",
        processed: "no"
      })
      yield* open
      yield* Fiber.join(held)
      yield* client.echo({ message: "again", payload: new Uint8Array(60_000) })
    })

    test("drops whom its rules deny from now on, and takes it back when they don't", function* () {
      const { admission, client, interrupted, listener } = yield* gated({})
      const held = yield* Effect.fork(Effect.flip(client.echo({ message: "held" })))
      yield* inFlight(admission, 1)
      yield* admission.update({ rules: [Admission.rule({ name: "gone", match: {}, deny: true })] })
      const ended = yield* within(Fiber.join(held), "5 seconds")
      expect(["Unavailable", "HandshakeFailed", "Cancelled"]).toContain(ended._tag)
      yield* eventually(Effect.sync(() => expect(interrupted).toEqual(["held"])))
      expect(yield* within(Effect.flip(another(listener.target)), "5 seconds")).toMatchObject({
        _tag: "HandshakeFailed",
        reason: "NotAuthorized"
      })
      expect((yield* admission.inspect).connections).toBe(0)
      yield* admission.update({})
      yield* within(Effect.flatMap(another(listener.target), goesOn), "5 seconds")
    })

    test("drops whom it is told to, who may come back", function* () {
      const { admission, client, interrupted, listener } = yield* gated({})
      const held = yield* Effect.fork(Effect.flip(client.echo({ message: "held" })))
      yield* inFlight(admission, 1)
      expect(yield* admission.drop(() => false)).toBe(0)
      expect(yield* admission.drop({})).toBe(1)
      const ended = yield* within(Fiber.join(held), "5 seconds")
      expect(["Unavailable", "HandshakeFailed", "Cancelled"]).toContain(ended._tag)
      yield* eventually(Effect.sync(() => expect(interrupted).toEqual(["held"])))
      yield* within(Effect.flatMap(another(listener.target), goesOn), "5 seconds")
    })

    test("paces what an identity sends", function* () {
      const { client } = yield* gated({ identities: { bytesInPerSecond: { rate: 2_000_000, burst: 50_000 } } })
      const payload = payloadOf(50_000)
      const sent = Stream.map(Stream.range(1, 40), (n) => ({ message: String(n), payload }))
      const [elapsed, answers] = yield* Effect.timed(within(Stream.runCount(client.echoBidi(sent)), "20 seconds"))
      expect(answers).toBe(40)
      // 2 MB, of which a window may be ahead of its time.
      expect(Duration.toMillis(elapsed)).toBeGreaterThan(400)
    })

    test("paces what an identity receives", function* () {
      const { client } = yield* gated({ identities: { bytesOutPerSecond: { rate: 500_000, burst: 50_000 } } })
      const answers = client.echoServerStream({ message: "x", payload: payloadOf(50_000), repeat: 8 })
      const [elapsed, count] = yield* Effect.timed(within(Stream.runCount(answers), "20 seconds"))
      expect(count).toBe(8)
      expect(Duration.toMillis(elapsed)).toBeGreaterThan(500)
    })

    test("ends the connections of an identity whose calls have cost too much", function* () {
      const { admission, client, listener } = yield* gated({
        identities: { costPerSecond: { rate: 1, burst: 100 } },
        rules: [Admission.rule({ name: "denied", match: { method: echoPath }, limits: { callsInFlight: 0 } })]
      })
      const held = yield* Effect.fork(Effect.flip(Stream.runDrain(client.echoBidi(Stream.never))))
      yield* inFlight(admission, 1)
      const denied = yield* Effect.forEach([1, 2, 3, 4, 5, 6], () =>
        Effect.flip(client.echo({}, { timeout: "5 seconds" }))
      )
      expect(denied[0]).toMatchObject({ _tag: "PermissionDenied" })
      expect(["Unavailable", "HandshakeFailed", "Cancelled"]).toContain(
        (yield* within(Fiber.join(held), "5 seconds"))._tag
      )
      yield* within(Effect.flip(another(listener.target)), "10 seconds")
      expect((yield* admission.inspect).connections).toBe(0)
    })

    test("keeps what is in force where an update is malformed", function* () {
      const { admission, client } = yield* gated({ identities: { callsInFlight: 3 } })
      const error = yield* Effect.flip(admission.update({ identities: { callsInFlight: -1 } }))
      expect(error).toMatchObject({ _tag: "AdmissionError", reason: "Malformed" })
      expect(yield* admission.options).toEqual({ identities: { callsInFlight: 3 } })
      yield* goesOn(client)
    })

    test("refuses where a match throws", function* () {
      const { admission, client } = yield* gated({
        rules: [
          Admission.rule({
            match: ({ method }) => {
              if (Option.contains(method, echoPath)) {
                throw new Error("this match is broken")
              }
              return false
            }
          })
        ]
      })
      expect(yield* Effect.flip(client.echo({}))).toMatchObject({ _tag: "PermissionDenied" })
      expect((yield* Stream.runCollect(client.echoBidi(numbered(1)))).length).toBe(1)
      expect((yield* admission.inspect).callsInFlight).toBe(0)
    })

    test("shares its budgets among the listeners that are given it", function* () {
      const { admission, client, open } = yield* gated({ identities: { callsInFlight: 1 } })
      const other = yield* Transport.listen([Transport.handlers(EchoService, echo)], { admission })
      const there = yield* Transport.client(EchoService, other.target)
      const held = yield* Effect.fork(client.echo({ message: "held" }))
      yield* inFlight(admission, 1)
      expect(yield* Effect.flip(there.echo({}))).toMatchObject({ _tag: "ResourceExhausted" })
      yield* open
      yield* Fiber.join(held)
      yield* goesOn(there)
    })

    test("counts what it refuses by rule", function* () {
      const count = Effect.map(
        Metric.value(
          TransportMetrics.admissionRefused.pipe(
            Metric.tagged("reason", "CallsInFlight"),
            Metric.tagged("rule", "counted"),
            Metric.tagged("what", "call")
          )
        ),
        ({ count }) => count
      )
      const before = yield* count
      const { client } = yield* gated({
        rules: [Admission.rule({ name: "counted", match: { method: echoPath }, limits: { callsInFlight: 0 } })]
      })
      yield* Effect.flip(client.echo({}))
      yield* Effect.flip(client.echo({}))
      expect(yield* count).toBe(before + 2)
    })
  })
}
