import { describe, expect, it } from "@effect/vitest"
import * as Deferred from "effect/Deferred"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Queue from "effect/Queue"
import * as Random from "effect/Random"
import * as Stream from "effect/Stream"
import * as SubscriptionRef from "effect/SubscriptionRef"
import { Credentials, DevCa, Tls, Transport } from "effect-transport"
import { EchoService } from "../../examples/gen/echo/v1/echo_pb.js"
import { loopbackNames, rawMaterial } from "../suite/fixtures/certificates.js"
import { echo } from "../suite/fixtures/echo.js"
import { eventually, leavesNothing, soon } from "../suite/fixtures/expect.js"
import { follow } from "../suite/fixtures/observe.js"

/** A listener, a client of it that can change its credentials, and what the client offers: one call at a time. */
const setUp = (rehandshakeWithin: Duration.DurationInput) =>
  Effect.gen(function* () {
    const ca = yield* DevCa.make()
    const issue = Effect.map(ca.issue({ names: loopbackNames }), (issued) => rawMaterial(issued, ca.ca))
    const material = yield* SubscriptionRef.make<Credentials.Material>(yield* issue)
    const build = (credentials: Credentials.CredentialsService, options: Tls.TlsOptions) =>
      Layer.build(Layer.provide(Tls.layer(options), Layer.succeed(Credentials.Credentials, credentials)))
    const here = yield* build(
      { current: SubscriptionRef.get(material), changes: material.changes },
      { rehandshakeWithin, maxConcurrentStreams: 1 }
    )
    const there = yield* build(Credentials.make(yield* issue), {})

    const connections: Array<Transport.CallConnection> = []
    const listener = yield* Effect.provide(
      Transport.listen([
        Transport.handlers(EchoService, {
          ...echo,
          echo: ({ message }, { connection }) =>
            Effect.sync(() => {
              if (!connections.includes(connection)) {
                connections.push(connection)
              }
              return { message }
            }),
          echoBidi: (requests, { connection }) =>
            Stream.unwrap(
              Effect.map(Transport.reverse(EchoService, connection), (caller) =>
                Stream.mapEffect(requests, ({ message }) => caller.echo({ message }))
              )
            ).pipe(Stream.provideContext(there))
        })
      ]),
      there
    )
    const slow = yield* follow
    const finish = yield* Deferred.make<void>()
    const offered = Transport.handlers(EchoService, {
      ...echo,
      echo: ({ message }) =>
        message === "slow" ? slow.run(Effect.as(Deferred.await(finish), { message })) : Effect.succeed({ message })
    })
    yield* Effect.provide(Transport.offer([offered], listener.target), here)
    const client = yield* Effect.provide(Transport.client(EchoService, listener.target), here)
    yield* client.echo({})

    return {
      client,
      slow,
      finish: Deferred.succeed(finish, undefined),
      /** Changes the client's credentials, and waits until its calls run on another connection. */
      rotate: Effect.gen(function* () {
        const before = connections.length
        yield* SubscriptionRef.set(material, yield* issue)
        yield* eventually(Effect.map(Effect.orDie(client.echo({})), () => expect(connections.length).toBe(before + 1)))
      }),
      /** A client back over the nth connection that the listener was called on. */
      back: (n: number) =>
        Effect.flatMap(Effect.fromNullable(connections[n]), (connection) =>
          Effect.provide(Transport.reverse(EchoService, connection), there)
        )
    }
    // Connections are replaced at once, and not at a random moment of the time that they have.
  }).pipe(Effect.withRandom(Random.fixed([0])))

describe("a client that changes its credentials", () => {
  it.live("lets its peer's calls end on the previous connection, and takes new ones on the next", () =>
    Effect.gen(function* () {
      const { back, finish, rotate, slow } = yield* setUp("5 minutes")
      const old = yield* back(0)
      const call = yield* Effect.fork(old.echo({ message: "slow" }))
      yield* slow.started
      const waiting = yield* Effect.fork(Effect.flip(old.echo({ message: "waiting" })))
      yield* rotate
      const next = yield* back(1)
      expect((yield* next.echo({ message: "quick" })).message).toBe("quick")
      // The peer begins no more calls on the previous connection, and does not wait for a permit there.
      expect(yield* soon(Fiber.join(waiting))).toMatchObject({ _tag: "Unavailable", processed: "no" })
      expect(yield* soon(Effect.flip(old.echo({ message: "late" })))).toMatchObject({ processed: "no" })
      yield* finish
      expect((yield* soon(Fiber.join(call))).message).toBe("slow")
    }).pipe(leavesNothing)
  )

  it.live("ends what its peer still runs on the previous connection after rehandshakeWithin", () =>
    Effect.gen(function* () {
      const { back, rotate, slow } = yield* setUp("200 millis")
      const old = yield* back(0)
      const call = yield* Effect.fork(Effect.flip(old.echo({ message: "slow" })))
      yield* slow.started
      yield* rotate
      expect(yield* soon(Fiber.join(call))).toMatchObject({ _tag: "Unavailable", processed: "unknown" })
      expect(yield* slow.ended).toBe("interrupted")
    }).pipe(leavesNothing)
  )

  it.live("may be called back on the previous connection as long as its own call is in flight there", () =>
    Effect.gen(function* () {
      const { client, rotate } = yield* setUp("5 minutes")
      const requests = yield* Queue.unbounded<string>()
      const replies = yield* Queue.unbounded<string>()
      const call = client
        .echoBidi(Stream.map(Stream.fromQueue(requests), (message) => ({ message })))
        .pipe(Stream.runForEach(({ message }) => Queue.offer(replies, message)))
      const running = yield* Effect.fork(call)
      const calledBack = (message: string) =>
        Effect.gen(function* () {
          yield* Queue.offer(requests, message)
          expect(yield* soon(Queue.take(replies))).toBe(message)
        })
      yield* calledBack("before")
      yield* rotate
      yield* calledBack("after")
      yield* Queue.shutdown(requests)
      yield* soon(Fiber.join(running))
    }).pipe(leavesNothing)
  )
})
