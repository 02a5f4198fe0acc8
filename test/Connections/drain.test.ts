/** Connections that drain while a PING of theirs is not yet acknowledged, on each wire: no call in flight is lost. */
import { describe, expect, it } from "@effect/vitest"
import * as Chunk from "effect/Chunk"
import * as Deferred from "effect/Deferred"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as ExecutionStrategy from "effect/ExecutionStrategy"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Logger from "effect/Logger"
import * as Random from "effect/Random"
import * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import * as SubscriptionRef from "effect/SubscriptionRef"
import { Credentials, DevCa, Quic, Tls, Transport } from "effect-transport"
import { grpcEngines, otherWires } from "../fixtures/grpcEngines.js"
import { loopbackNames, rawMaterial } from "../suite/fixtures/certificates.js"
import { EchoService, echo } from "../suite/fixtures/echo.js"
import { eventually, fileLeavesNothing, within } from "../suite/fixtures/expect.js"
import { proxy, udpProxy } from "../suite/fixtures/proxy.js"

const ca = await Effect.runPromise(DevCa.make())
const issued = await Effect.runPromise(ca.issue({ names: loopbackNames }))
const material = rawMaterial(issued, ca.ca)

interface Options {
  readonly keepaliveTime?: Duration.DurationInput
  readonly keepaliveTimeout?: Duration.DurationInput
  readonly maxConnectionAge?: Duration.DurationInput
  readonly gracePeriod?: Duration.DurationInput
  readonly rehandshakeWithin?: Duration.DurationInput
}

interface Side {
  readonly run: <A, E, R>(
    effect: Effect.Effect<A, E, R>
  ) => Effect.Effect<A, E, Exclude<R, Transport.Transport> | Scope.Scope>
  readonly rotate: Effect.Effect<void>
}

/** Who pings so often that a PING is always under way. */
type Pinger = "client" | "listener"

/** What makes a connection drain, how long to wait until it has, and what that needs of the two sides. */
interface Drain {
  readonly title: string
  readonly listener?: Options
  readonly client?: Options
  readonly start: (sides: {
    readonly client: Side
    readonly listener: Side
    readonly close: Effect.Effect<void>
  }) => Effect.Effect<void>
  readonly pause: Duration.DurationInput
}

const drains: ReadonlyArray<Drain> = [
  {
    title: "a listener whose scope closes",
    start: ({ close }) => close,
    pause: "300 millis"
  },
  {
    title: "a listener whose credentials rotate",
    listener: { rehandshakeWithin: "20 seconds" },
    start: ({ listener }) => listener.rotate,
    pause: "500 millis"
  },
  {
    title: "a client whose credentials rotate",
    client: { rehandshakeWithin: "20 seconds" },
    start: ({ client }) => client.rotate,
    pause: "500 millis"
  },
  {
    title: "a listener whose connections have reached their age",
    listener: { maxConnectionAge: "800 millis", gracePeriod: "20 seconds" },
    start: () => Effect.void,
    pause: "900 millis"
  }
]

interface Wire {
  readonly name: string
  readonly layer: (options: Options) => Layer.Layer<Transport.Transport, unknown, Credentials.Credentials>
  readonly network: typeof proxy | typeof udpProxy
}

const wires: ReadonlyArray<Wire> = [
  ...grpcEngines.map(({ layer, name }) => ({ name, layer, network: proxy })),
  ...otherWires<Wire>([
    { name: "TlsLive", layer: Tls.layer, network: proxy },
    { name: "QuicLive", layer: Quic.layer, network: udpProxy }
  ])
]

fileLeavesNothing()

for (const { layer, name, network } of wires) {
  const side = (options: Options): Effect.Effect<Side, never, Scope.Scope> =>
    Effect.gen(function* () {
      const ref = yield* SubscriptionRef.make<Credentials.Material>(material)
      const credentials = Layer.succeed(
        Credentials.Credentials,
        Credentials.Credentials.of({ current: SubscriptionRef.get(ref), changes: ref.changes })
      )
      // Connections are replaced at once, and not at a random moment of the time that they have.
      const atOnce = Effect.withRandom(Random.fixed([0]))
      const context = yield* atOnce(Layer.build(Layer.orDie(Layer.provide(layer(options), credentials))))
      const again = yield* Effect.orDie(ca.issue({ names: loopbackNames }))
      return {
        run: (effect) => Effect.provide(effect, context),
        rotate: SubscriptionRef.set(ref, rawMaterial(again, ca.ca))
      }
    })

  const drainWhile = (pinger: Pinger, { client: own, listener: theirs, pause, start }: Drain) =>
    Effect.gen(function* () {
      const finish = yield* Deferred.make<void>()
      const pings = { keepaliveTime: "100 millis", keepaliveTimeout: "20 seconds" } as const
      const listener = yield* side({ ...theirs, ...pings })
      const client = yield* side({ ...own, ...(pinger === "client" ? pings : { keepaliveTime: "1 hour" }) })
      const scope = yield* Effect.flatMap(Effect.scope, (parent) => Scope.fork(parent, ExecutionStrategy.sequential))
      let running = 0
      const begun = Effect.sync(() => {
        running += 1
      })
      const handlers = Transport.handlers(EchoService, {
        ...echo,
        echo: ({ message }) => Effect.as(Effect.zipRight(begun, Deferred.await(finish)), { message }),
        echoBidi: (requests) =>
          Stream.concat(
            Stream.drain(Stream.fromEffect(Effect.zipRight(begun, Deferred.await(finish)))),
            Stream.map(requests, ({ message }) => ({ message }))
          )
      })
      const { address } = yield* listener
        .run(Transport.listen([handlers], { gracePeriod: "20 seconds" }))
        .pipe(Scope.extend(scope))
      const path = yield* network(address.port)
      const calls = yield* client.run(Transport.client(EchoService, path.target))
      const requests = Stream.fromIterable([{ message: "b" }, { message: "c" }])
      const inFlight = yield* Effect.forkScoped(
        Effect.all(
          [
            Effect.map(calls.echo({ message: "a" }), ({ message }) => [message]),
            Effect.map(Stream.runCollect(calls.echoBidi(requests)), (all) =>
              Chunk.toReadonlyArray(all).map(({ message }) => message)
            )
          ].map(Effect.either),
          { concurrency: 2 }
        )
      )
      yield* eventually(Effect.sync(() => expect(running).toBe(2)))
      // The acknowledgement of a PING goes the other way.
      yield* path.hold(pinger === "client" ? "down" : "up")
      yield* eventually(Effect.sync(() => expect(path.held()).toBeGreaterThan(0)))
      const started = yield* Effect.forkScoped(start({ client, listener, close: Scope.close(scope, Exit.void) }))
      yield* Effect.sleep(pause)
      yield* path.release
      // Some PINGs more.
      yield* Effect.sleep("300 millis")
      yield* Deferred.succeed(finish, undefined)
      expect(yield* within(Fiber.join(inFlight), "3 seconds")).toMatchObject([{ right: ["a"] }, { right: ["b", "c"] }])
      yield* Fiber.join(started)
    }).pipe(Effect.provide(Logger.remove(Logger.defaultLogger)), Effect.scoped)

  describe.concurrent(`${name} loses no call in flight`, () => {
    for (const drain of drains) {
      for (const pinger of ["client", "listener"] as const) {
        it.live(`of ${drain.title} while a PING of the ${pinger}'s is under way`, () => drainWhile(pinger, drain))
      }
    }
  })
}
