/** Uploads that a client gives up while the server has read little of them. */
import { expect, it } from "@effect/vitest"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Stream from "effect/Stream"
import { Credentials, Quic, Transport } from "effect-transport"
import { echoHandlers } from "../fixtures/grpc.js"
import { EchoService } from "../suite/fixtures/echo.js"
import { eventually, leavesNothing, within } from "../suite/fixtures/expect.js"

const chunk = { payload: new Uint8Array(64 * 1024) }

/** A MiB, which tells when three quarters of it are under way. */
const chunks = (onMost: Effect.Effect<unknown>) =>
  Stream.rechunk(
    Stream.mapEffect(Stream.range(1, 16), (n) => (n === 12 ? Effect.as(onMost, chunk) : Effect.succeed(chunk))),
    1
  )

it.live("a hundred uploads that are interrupted unread leave their connection as it was", () =>
  leavesNothing(
    Effect.gen(function* () {
      const context = yield* Layer.build(Layer.provide(Quic.layer(), Credentials.layerDev()))
      const run = <A, E, R>(effect: Effect.Effect<A, E, R>) => Effect.provide(effect, context)
      const connections = new Set<unknown>()
      const note = (connection: unknown) => Effect.sync(() => connections.add(connection))
      let ended = 0
      const end = Effect.sync(() => {
        ended += 1
      })
      const { target } = yield* run(
        Transport.listen([
          echoHandlers({
            echo: ({ message }, { connection }) => Effect.as(note(connection), { message }),
            echoClientStream: (_, { connection }) =>
              Effect.ensuring(Effect.zipRight(note(connection), Effect.never), end)
          })
        ])
      )
      const client = yield* run(Transport.client(EchoService, target))
      for (let n = 0; n < 100; n++) {
        const most = yield* Deferred.make<void>()
        yield* within(
          Effect.raceFirst(client.echoClientStream(chunks(Deferred.succeed(most, undefined))), Deferred.await(most)),
          "2 seconds"
        )
      }
      expect((yield* client.echo({ message: "after" })).message).toBe("after")
      yield* eventually(Effect.sync(() => expect([connections.size, ended]).toEqual([1, 100])))
    })
  )
)
