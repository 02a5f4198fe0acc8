/** Rotation: new certificates and CAs come into use without a failed call. */
import { describe, expect } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Stream from "effect/Stream"
import { Credentials, DevCa, Transport } from "effect-transport"
import { rawMaterial } from "../fixtures/certificates.js"
import { EchoService, echo } from "../fixtures/echo.js"
import { eventually, within } from "../fixtures/expect.js"
import { captureLog } from "../fixtures/observe.js"
import type { Suite } from "./harness.js"
import { type Rotating, rotating } from "./rotating.js"

export const rotation = ({ build, refusesLateCalls, test }: Suite): void => {
  describe("rotation", () => {
    test(
      "of certificates and CAs under load fails no call, and what is bad is not taken",
      Effect.gen(function* () {
        const [a, b] = [yield* DevCa.make(), yield* DevCa.make()]
        const clients = new Set<string>()
        const handlers = Transport.handlers(EchoService, {
          ...echo,
          echo: (request, { peer }) =>
            Effect.sync(() => {
              clients.add(Option.getOrThrow(peer.identity).fingerprint)
              return { message: request.message }
            })
        })
        const server = yield* rotating(a)
        const client = yield* rotating(a)
        const there = yield* build(Layer.succeed(Credentials.Credentials, server.service))
        const { target } = yield* Effect.provide(Transport.listen([handlers]), there)

        /** A client in a layer of its own, so that it shares no connection. */
        const connect = (credentials: Credentials.CredentialsService) =>
          Effect.flatMap(
            Effect.suspend(() => build(Layer.succeed(Credentials.Credentials, credentials))),
            (context) => Effect.provide(Transport.client(EchoService, target), context)
          )
        const counts = { old: 0, fresh: 0 }
        const call = (echoes: Transport.Client<typeof EchoService>, kind: keyof typeof counts) =>
          Effect.map(echoes.echo({ message: kind }, { timeout: "25 seconds" }), ({ message }) => {
            expect(message).toBe(kind)
            counts[kind] += 1
          })
        const old = yield* connect(client.service)
        const oldCalls = Effect.forever(call(old, "old"))
        const freshCalls = Effect.forever(
          Effect.scoped(Effect.flatMap(connect(client.service), (echoes) => call(echoes, "fresh")))
        )
        const load = yield* Effect.forkScoped(
          Effect.all([oldCalls, oldCalls, freshCalls, freshCalls], { concurrency: "unbounded" })
        )
        /** Until new connections have been made with what is current now, or the load has failed. */
        const more = Effect.suspend(() => {
          const { fresh, old } = counts
          return Effect.raceFirst(
            eventually(
              Effect.sync(() => {
                expect(counts.fresh).toBeGreaterThan(fresh + 2)
                expect(counts.old).toBeGreaterThan(old + 4)
              }),
              "15 seconds"
            ),
            Fiber.join(load)
          )
        })
        const both = <E>(step: (files: Rotating) => Effect.Effect<void, E>) =>
          Effect.zipRight(Effect.all([step(server), step(client)], { concurrency: 2, discard: true }), more)

        yield* more
        yield* both(({ trust }) => trust(a, b))
        yield* both(({ show }) => show(b))
        yield* both(({ trust }) => trust(b))
        const known = clients.size
        expect(known).toBe(2)
        // The listener shows the new certificate, and trusts the old CA no more.
        const fixedClient = (issuer: DevCa.DevCa, trusted: DevCa.DevCa) =>
          Effect.map(issuer.issue({ names: ["c"] }), (issued) => Credentials.make(rawMaterial(issued, trusted.ca)))
        yield* call(yield* connect(yield* fixedClient(b, b)), "old")
        expect(yield* Effect.flip(connect(yield* fixedClient(b, a)))).toMatchObject({ reason: "UntrustedIssuer" })
        expect(yield* Effect.flip(connect(yield* fixedClient(a, b)))).toMatchObject({
          reason: "UntrustedIssuer",
          refusedBy: "remote"
        })
        yield* both(({ spoil }) => spoil)
        yield* both(({ show }) => show(b))
        expect(clients.size).toBe(known + 2)
      }),
      120_000
    )
  })

  describe("connections that are replaced after a rotation", () => {
    const rehandshake = { rehandshakeWithin: "400 millis" } as const

    /** A listener and a client, of which one replaces its connections, and calls without end. */
    const under = (replaces: "listener" | "client") =>
      Effect.gen(function* () {
        const ca = yield* DevCa.make()
        const [server, client] = [yield* rotating(ca), yield* rotating(ca)]
        const calls: Array<{ readonly address: string; readonly fingerprint: string }> = []
        const handlers = Transport.handlers(EchoService, {
          ...echo,
          echo: ({ message }, { peer }) =>
            Effect.sync(() => {
              calls.push({ address: peer.address, fingerprint: Option.getOrThrow(peer.identity).fingerprint })
              return { message }
            }),
          echoServerStream: () => Stream.map(Stream.repeatEffect(Effect.sleep("20 millis")), () => ({}))
        })
        const layer = (side: Rotating, which: typeof replaces) =>
          build(Layer.succeed(Credentials.Credentials, side.service), which === replaces ? rehandshake : undefined)
        const { target } = yield* Effect.provide(Transport.listen([handlers]), yield* layer(server, "listener"))
        const echoes = yield* Effect.provide(Transport.client(EchoService, target), yield* layer(client, "client"))
        // A call that is refused as late has been seen by nobody.
        const call = Effect.retry(echoes.echo({ message: "a" }, { timeout: "25 seconds" }), {
          while: (error) => refusesLateCalls !== undefined && error._tag === "Unavailable" && error.processed === "no"
        })
        const load = yield* Effect.forkScoped(
          Effect.all([Effect.forever(call), Effect.forever(call)], { concurrency: 2 })
        )
        const soonOrFailed = (condition: Effect.Effect<void>) =>
          Effect.raceFirst(eventually(condition, "10 seconds"), Fiber.join(load))
        yield* soonOrFailed(Effect.sync(() => expect(calls.length).toBeGreaterThan(5)))
        /** Waits for calls on another connection, and for the end of those on the first. */
        const replaced = Effect.gen(function* () {
          const first = calls[0]
          yield* soonOrFailed(Effect.sync(() => expect(calls.at(-1)?.address).not.toBe(first?.address)))
          const from = calls.length
          yield* soonOrFailed(Effect.sync(() => expect(calls.length).toBeGreaterThan(from + 10)))
          expect(calls.slice(from + 2).some(({ address }) => address === first?.address)).toBe(false)
        })
        return { ca, calls, client, echoes, load, replaced, server, soonOrFailed }
      })

    test(
      "by a client, which fails no call",
      Effect.gen(function* () {
        const { ca, calls, client, replaced } = yield* under("client")
        const before = calls[0]?.fingerprint
        yield* client.show(ca)
        yield* replaced
        expect(calls.at(-1)?.fingerprint).not.toBe(before)
      })
    )

    test(
      "by a client end its calls that go on for longer than that",
      Effect.gen(function* () {
        const { ca, client, echoes, replaced } = yield* under("client")
        const stream = yield* Effect.fork(Effect.flip(Stream.runDrain(echoes.echoServerStream({}))))
        yield* client.show(ca)
        yield* replaced
        expect(yield* within(Fiber.join(stream), "5 seconds")).toMatchObject({ _tag: "Cancelled" })
      })
    )

    test(
      "by a client stay where the peer does not take the new credentials",
      Effect.gen(function* () {
        const log = yield* captureLog
        yield* Effect.gen(function* () {
          const { calls, client, soonOrFailed } = yield* under("client")
          yield* client.show(yield* DevCa.make())
          const isSaid = () => log.lines.some(({ text }) => text.includes("keeping the previous connection"))
          yield* soonOrFailed(Effect.sync(() => expect(isSaid()).toBe(true)))
          const from = calls.length
          yield* soonOrFailed(Effect.sync(() => expect(calls.length).toBeGreaterThan(from + 10)))
          expect(new Set(calls.map(({ address }) => address)).size).toBe(1)
        }).pipe(Effect.provide(log.layer))
      })
    )

    test(
      "by a listener, whose clients come back without a failed call",
      Effect.gen(function* () {
        const { ca, replaced, server } = yield* under("listener")
        yield* server.show(ca)
        yield* replaced
      })
    )
  })
}
