/** Layers: one transport for each identity, and one only. */
import { describe, expect } from "@effect/vitest"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import { Credentials, type DevCa, Pins, Transport } from "effect-transport"
import { loopbackNames, rawMaterial } from "../fixtures/certificates.js"
import { EchoService, echo } from "../fixtures/echo.js"
import type { Suite } from "./harness.js"

export const layers = ({ build, fixed, insecure, layer, layerConfig, pki, test }: Suite): void => {
  describe.each([
    ["a constant", layer()],
    ["a layer from the configuration", layerConfig]
  ])("%s", (_, live) => {
    const as = (issued: DevCa.Issued, ca: string) => fixed(rawMaterial(issued, ca))
    const orders = [
      [0, 1],
      [1, 0]
    ] as const

    /** A listener as a layer on the transport under test, which tells where it listens. */
    const listener = (credentials: Layer.Layer<Credentials.Credentials>, tell: (target: string) => void) =>
      Layer.scopedDiscard(
        Effect.map(Transport.listen([Transport.handlers(EchoService, echo)]), ({ target }) => tell(target))
      ).pipe(Layer.provide(live), Layer.provide(credentials))

    test(
      "under two Credentials is a listener of each, in either order",
      Effect.gen(function* () {
        const known = yield* pki
        const other = yield* known.trusted.issue({ names: loopbackNames })
        const nodes = [known.good, other]
        for (const order of orders) {
          const targets = new Map<number, string>()
          const [first, second] = order
          yield* Layer.build(
            Layer.mergeAll(
              listener(as(nodes[first] as DevCa.Issued, known.trusted.ca), (target) => targets.set(first, target)),
              listener(as(nodes[second] as DevCa.Issued, known.trusted.ca), (target) => targets.set(second, target))
            )
          )
          for (const [here, there] of orders) {
            // Whoever pins one of them takes no other.
            const pins = yield* Pins.make({
              mode: "additional",
              all: [yield* Pins.publicKey((nodes[here] as DevCa.Issued).cert)]
            })
            const context = yield* build(fixed({ ...rawMaterial(known.client, known.trusted.ca), pins }))
            const connect = (node: number) =>
              Effect.provide(Transport.client(EchoService, targets.get(node) ?? ""), context)
            yield* connect(here)
            expect(yield* Effect.flip(connect(there))).toMatchObject({ reason: "PinMismatch", refusedBy: "local" })
          }
        }
      })
    )

    test(
      "under two Credentials is a client of each, in either order",
      Effect.gen(function* () {
        const known = yield* pki
        const callers = new Map<string, string>()
        const handlers = Transport.handlers(EchoService, {
          ...echo,
          echo: ({ message }, { peer }) =>
            Effect.sync(() => {
              callers.set(message, Option.getOrThrow(peer.identity).subject)
              return { message }
            })
        })
        const { target } = yield* Effect.provide(
          Transport.listen([handlers]),
          yield* build(as(known.good, known.trusted.ca))
        )
        const client = (message: string, issued: DevCa.Issued) =>
          Layer.scopedDiscard(
            Effect.flatMap(Transport.client(EchoService, target), (client) => client.echo({ message }))
          ).pipe(Layer.provide(live), Layer.provide(as(issued, known.trusted.ca)))
        for (const order of orders) {
          const clients = [client("client", known.client), client("localhost", known.good)] as const
          yield* Layer.build(Layer.mergeAll(clients[order[0]], clients[order[1]]))
          expect(Object.fromEntries(callers)).toEqual({ client: "CN=client", localhost: "CN=localhost" })
          callers.clear()
        }
      })
    )

    test(
      "without TLS and with it is two transports, or one and a refusal",
      Effect.gen(function* () {
        const known = yield* pki
        const mutual = as(known.good, known.trusted.ca)
        for (const order of orders) {
          const targets = new Map<number, string>()
          const all = [mutual, Credentials.insecure] as const
          const built = Layer.build(
            Layer.mergeAll(
              listener(all[order[0]], (target) => targets.set(order[0], target)),
              listener(all[order[1]], (target) => targets.set(order[1], target))
            )
          )
          if (!insecure) {
            expect(yield* Effect.flip(built)).toMatchObject({ _tag: "CredentialsError", reason: "Insecure" })
            continue
          }
          yield* built
          const connect = (credentials: Layer.Layer<Credentials.Credentials>, node: number) =>
            Effect.flatMap(build(credentials), (context) =>
              Effect.provide(Transport.client(EchoService, targets.get(node) ?? ""), context)
            )
          const mine = as(known.client, known.trusted.ca)
          for (const [credentials, node] of [
            [mine, 0],
            [Credentials.insecure, 1]
          ] as const) {
            const client = yield* connect(credentials, node)
            expect((yield* client.echo({ message: "hello" })).message).toBe("hello")
          }
          expect(yield* Effect.either(connect(Credentials.insecure, 0))).toMatchObject({ _tag: "Left" })
          expect(yield* Effect.either(connect(mine, 1))).toMatchObject({ _tag: "Left" })
        }
      })
    )

    test(
      "under one Credentials value is one transport, in several runtimes too, until the last lets go",
      Effect.gen(function* () {
        const known = yield* pki
        const addresses: Array<string> = []
        const handlers = Transport.handlers(EchoService, {
          ...echo,
          echo: ({ message }, { peer }) =>
            Effect.sync(() => {
              addresses.push(peer.address)
              return { message }
            })
        })
        const { target } = yield* Effect.provide(
          Transport.listen([handlers]),
          yield* build(as(known.good, known.trusted.ca))
        )
        const mine = as(known.client, known.trusted.ca)
        const call = Effect.flatMap(Transport.client(EchoService, target), (client) => client.echo({}))
        const program = Effect.provide(call, Layer.provide(live, mine))
        /** A program of its own, which goes on until it is told. */
        const start = Effect.gen(function* () {
          const called = yield* Deferred.make<void>()
          const stop = yield* Deferred.make<void>()
          const fiber = yield* Effect.scoped(
            Effect.zipRight(Effect.zipRight(call, Deferred.succeed(called, undefined)), Deferred.await(stop))
          ).pipe(Effect.zipRight(call), Effect.scoped, Effect.provide(live), Effect.provide(mine), Effect.fork)
          yield* Deferred.await(called)
          return Effect.zipRight(Deferred.succeed(stop, undefined), Fiber.join(fiber))
        })
        const first = yield* start
        const second = yield* start
        yield* Effect.scoped(program)
        expect(new Set(addresses).size).toBe(1)
        yield* first
        yield* second
        yield* Effect.scoped(program)
        const last = addresses.at(-1)
        expect(addresses.slice(0, 3)).not.toContain(last)
      })
    )
  })
}
