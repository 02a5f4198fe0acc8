/** The contestants that are transports of this library: they differ in the layer alone. */
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Layer from "effect/Layer"
import * as Logger from "effect/Logger"
import * as LogLevel from "effect/LogLevel"
import * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import { EchoService } from "../examples/gen/echo/v1/echo_pb.js"
import * as Credentials from "../src/Tls/Credentials.js"
import * as Transport from "../src/Transport.js"
import type { Certificates, Consumer, Contestant } from "./contestant.js"
import { host } from "./echo.js"

const handlers = (consumer: Consumer) =>
  Transport.handlers(EchoService, {
    echo: ({ payload }) => Effect.succeed({ payload }),
    echoServerStream: ({ payloadSize, repeat }) => {
      const payload = new Uint8Array(payloadSize)
      return Stream.map(Stream.range(0, repeat - 1), () => ({ payload }))
    },
    echoClientStream: (requests) =>
      Effect.map(
        Stream.runFoldEffect(requests, 0, (index, { payload }) => Effect.as(consume(consumer, payload), index + 1)),
        (index) => ({ index })
      ),
    echoBidi: (requests) => Stream.map(requests, ({ payload }) => ({ payload }))
  })

const consume = (consumer: Consumer, payload: Uint8Array): Effect.Effect<void> =>
  Effect.suspend(() => {
    const busy = consumer(payload)
    return busy === undefined ? Effect.void : Effect.promise(() => busy)
  })

export const make = <E>(transport: Layer.Layer<Transport.Transport, E, Credentials.Credentials>): Contestant => {
  /** Runs what shall outlive the effect that starts it, as the scope says. */
  const start = <A, E>(
    effect: Effect.Effect<A, E, Transport.Transport | Scope.Scope>,
    certificates: Certificates,
    scope: Scope.CloseableScope
  ) =>
    Layer.provide(Layer.fresh(transport), Credentials.layerPem(certificates)).pipe(
      Layer.buildWithScope(scope),
      Effect.flatMap((context) => Effect.provide(effect, context)),
      Scope.extend(scope),
      Logger.withMinimumLogLevel(LogLevel.Warning),
      Effect.runPromise
    )

  return {
    serve: async (certificates, consumer) => {
      const scope = Effect.runSync(Scope.make())
      const listener = await start(Transport.listen([handlers(consumer)], { host }), certificates, scope)
      return listener.address.port
    },
    connect: async (port, certificates) => {
      const scope = Effect.runSync(Scope.make())
      const client = await start(Transport.client(EchoService, `${host}:${port}`), certificates, scope)
      return {
        work: ({ done, next }) =>
          Effect.runPromise(
            Effect.gen(function* () {
              for (let message = next(); message !== undefined; message = next()) {
                done(yield* client.echo(message))
              }
            })
          ),
        close: () => Effect.runPromise(Scope.close(scope, Exit.void)),
        download: (request, consumer) =>
          Effect.runPromise(
            Stream.runForEach(client.echoServerStream(request, { timeout: "1 hour" }), ({ payload }) =>
              consume(consumer, payload)
            )
          ),
        upload: (payload, repeat) =>
          Effect.runPromise(
            Effect.map(
              client.echoClientStream(
                Stream.map(Stream.range(1, repeat), () => ({ payload })),
                { timeout: "1 hour" }
              ),
              ({ index }) => index
            )
          )
      }
    }
  }
}
