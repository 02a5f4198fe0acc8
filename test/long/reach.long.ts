/** Replicas in processes of their own that are killed, paused, slow, moved and drained, and DNS that changes under load, on each wire. */
import { describe, expect, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Redacted from "effect/Redacted"
import * as Stream from "effect/Stream"
import * as SubscriptionRef from "effect/SubscriptionRef"
import { Credentials, DevCa, Discovery, GrpcLive, QuicLive, TlsLive, Transport } from "effect-transport"
import { runs } from "../fixtures/child.js"
import { describeWith, freePort } from "../fixtures/command.js"
import * as Dnsmasq from "../fixtures/dnsmasq.js"
import { EchoService } from "../suite/fixtures/echo.js"
import { eventually, leavesNothing } from "../suite/fixtures/expect.js"

const ca = await Effect.runPromise(DevCa.make())
const issued = await Effect.runPromise(ca.issue({ names: ["127.0.0.1", "127.0.0.2", "127.0.0.3", "echo.test"] }))
const args = { ca: ca.ca, cert: issued.cert, key: Redacted.value(issued.key) }
const named = await Effect.runPromise(ca.issue({ names: ["echo.test"] }))
const namedArgs = { ca: ca.ca, cert: named.cert, key: Redacted.value(named.key) }
const identity = Credentials.layerPem({ ...issued, ca: ca.ca })

const wires: Readonly<Record<string, Layer.Layer<Transport.Transport, unknown, Credentials.Credentials>>> = {
  GrpcLive,
  TlsLive,
  QuicLive
}

const replica = (wire: string, name: string, more: object = {}) =>
  Effect.gen(function* () {
    const process_ = yield* runs("replica.ts", [JSON.stringify({ ...args, wire, name, ...more })])
    return { name, target: yield* process_.line, signal: process_.signal, ended: process_.ended }
  })

interface Result {
  readonly began: number
  readonly ended: number
  readonly by: string
  readonly tag: string
  readonly peer: string | undefined
  readonly isUntaken: boolean
}

type Client = Transport.Client<typeof EchoService>

/** Calls with 500 ms each, all the time, from several fibers. */
const load = (client: Client, results: Array<Result>, fibers = 6) =>
  Effect.fork(
    Effect.replicateEffect(
      Effect.forever(
        Effect.suspend(() => {
          const began = performance.now()
          return Effect.flatMap(Effect.either(client.echo({}, { timeout: "500 millis" })), (result) =>
            Effect.sync(() =>
              results.push({
                began,
                ended: performance.now(),
                by: Either.match(result, { onLeft: () => "", onRight: ({ message }) => message }),
                tag: Either.match(result, { onLeft: ({ _tag }) => _tag, onRight: () => "" }),
                peer: Either.match(result, { onLeft: ({ peer }) => peer, onRight: () => undefined }),
                isUntaken: Either.isLeft(result) && "processed" in result.left && result.left.processed === "no"
              })
            )
          )
        })
      ),
      fibers,
      { concurrency: "unbounded", discard: true }
    )
  )

/** Waits until so many more calls have ended. */
const more = (results: ReadonlyArray<Result>, count: number) =>
  Effect.suspend(() => {
    const enough = results.length + count
    return eventually(Effect.sync(() => expect(results.length).toBeGreaterThanOrEqual(enough)))
  })

const answeredBy = (results: ReadonlyArray<Result>, name: string, since = 0) =>
  results.filter(({ began, by }) => by === name && began >= since).length

/** Longer than what a busy machine adds, which counts as the pace of a replica where its answers take nothing. */
const steady = { delay: 10 }

const ready = (target: Transport.Target, count: number) =>
  Stream.runDrain(
    Stream.takeUntil(
      Transport.connection(target),
      (states) => states.filter(({ state }) => state === "ready").length === count
    )
  )

for (const [wire, layer] of Object.entries(wires)) {
  describe(wire, () => {
    it.live("three replicas: even, one paused, one killed, one moved, one drained", () =>
      leavesNothing(
        Effect.gen(function* () {
          const [a, b, c, moved] = yield* Effect.all(
            [
              replica(wire, "a", steady),
              replica(wire, "b", steady),
              replica(wire, "c", steady),
              replica(wire, "moved", steady)
            ],
            { concurrency: "unbounded" }
          )
          const list = yield* SubscriptionRef.make<ReadonlyArray<string>>([a, b, c].map(({ target }) => target))
          const discovery = Discovery.fromStream(list.changes)
          // A replica that the machine makes wait gets fewer calls by `leastPending`, and more when it goes on.
          for (const [balance, each] of [["leastPending", 500] as const, ["roundRobin", 100] as const]) {
            const client = yield* Transport.client(EchoService, discovery, { balance, slowStart: 0 })
            yield* ready(discovery, 3)
            const replies = yield* Effect.replicateEffect(client.echo({}), 3 * each, { concurrency: 6 })
            for (const { name } of [a, b, c]) {
              const share = replies.filter(({ message }) => message === name).length
              expect(Math.abs(share - each), `${balance}: ${share} of ${3 * each} to ${name}`).toBeLessThanOrEqual(
                each / 10
              )
            }
          }
          // Short enough for the paused one to be asked, in vain, and to be ejected anew while the test looks.
          const outliers = { ejection: "1 second" } as const
          const client = yield* Transport.client(EchoService, discovery, { slowStart: 0, outliers })
          const results: Array<Result> = []
          const working = yield* load(client, results)
          yield* more(results, 20)

          yield* c.signal("SIGSTOP")
          const isLate = ({ peer, tag }: Result) => tag === "DeadlineExceeded" && peer === c.target
          yield* eventually(Effect.sync(() => expect(results.filter(isLate).length).toBeGreaterThanOrEqual(3)))
          yield* Effect.sleep("4 seconds")
          const late = results.filter(isLate)
          const third = late[2]?.ended ?? 0
          expect(late.filter(({ began }) => began > third)).toEqual([])
          expect(results.filter(({ began }) => began > third).every(({ tag }) => tag === "")).toBe(true)
          yield* c.signal("SIGCONT")
          const resumed = performance.now()
          yield* eventually(
            Effect.sync(() => expect(answeredBy(results, "c", resumed)).toBeGreaterThan(10)),
            "20 seconds"
          )

          const killed = performance.now()
          yield* b.signal("SIGKILL")
          yield* Effect.sleep("3500 millis")
          const failed = results.filter(({ began, tag }) => began >= killed && tag !== "")
          expect(failed.filter(({ isUntaken }) => isUntaken)).toEqual([])
          expect(failed.filter(({ began }) => began > killed + 2000)).toEqual([])
          expect(results.filter(({ began, tag }) => began > killed + 2000 && tag === "").length).toBeGreaterThan(10)

          yield* SubscriptionRef.set(list, [a.target, moved.target, c.target])
          yield* eventually(
            Effect.sync(() => expect(answeredBy(results, "moved")).toBeGreaterThan(0)),
            "600 millis"
          )

          const drained = performance.now()
          yield* a.signal("SIGTERM")
          yield* a.ended
          yield* more(results, 50)
          expect(results.filter(({ began, tag }) => began >= drained && tag !== "")).toEqual([])
          yield* Fiber.interrupt(working)
        }).pipe(Effect.provide(Layer.provide(layer, identity)))
      )
    )

    it.live("a slow one gets what it can bear", () =>
      leavesNothing(
        Effect.gen(function* () {
          const all = yield* Effect.all(
            [replica(wire, "a"), replica(wire, "b"), replica(wire, "slow", { delay: 100 })],
            { concurrency: "unbounded" }
          )
          const targets = all.map(({ target }) => target)
          const client = yield* Transport.client(EchoService, targets, { slowStart: 0, outliers: false })
          yield* ready(targets, 3)
          const replies = yield* Effect.replicateEffect(client.echo({}), 400, { concurrency: 6 })
          expect(replies.filter(({ message }) => message === "slow").length).toBeLessThan(80)
        }).pipe(Effect.provide(Layer.provide(layer, identity)))
      )
    )
  })
}

for (const [wire, layer] of Object.entries(wires)) {
  describeWith(["dnsmasq"], `${wire}, names by dnsmasq`, () => {
    it.live("change under load, and no call is lost", () =>
      leavesNothing(
        Effect.gen(function* () {
          const port = yield* freePort
          const [, , three, dns] = yield* Effect.all(
            [
              replica(wire, "1", { ...namedArgs, host: "127.0.0.1", port }),
              replica(wire, "2", { ...namedArgs, host: "127.0.0.2", port }),
              replica(wire, "3", { ...namedArgs, host: "127.0.0.3", port }),
              Dnsmasq.run()
            ],
            { concurrency: "unbounded" }
          )
          yield* dns.set(["127.0.0.1", "127.0.0.2"])
          const discovery = Discovery.dns({ name: Dnsmasq.name, port, servers: [`127.0.0.1:${dns.port}`] })
          const client = yield* Transport.client(EchoService, discovery, { waitForReady: true, slowStart: 0 })
          yield* ready(discovery, 2)
          const results: Array<Result> = []
          const working = yield* load(client, results)
          yield* more(results, 20)
          yield* dns.set(["127.0.0.2", "127.0.0.3"])
          yield* eventually(
            Effect.sync(() => expect(answeredBy(results, "3")).toBeGreaterThan(5)),
            "3 seconds"
          )
          const since = performance.now()
          yield* eventually(Effect.sync(() => expect(answeredBy(results, "2", since)).toBeGreaterThan(20)))
          expect(answeredBy(results, "1", since)).toBe(0)
          // One is lost before the names are told of where it has gone.
          yield* three.signal("SIGTERM")
          yield* three.ended
          yield* dns.set(["127.0.0.2", "127.0.0.1"])
          const moved = performance.now()
          yield* eventually(
            Effect.sync(() => expect(answeredBy(results, "1", moved)).toBeGreaterThan(5)),
            "3 seconds"
          )
          yield* Fiber.interrupt(working)
          expect(results.filter(({ tag }) => tag !== "")).toEqual([])
        }).pipe(Effect.provide(Layer.provide(layer, identity)))
      )
    )
  })
}
