/** The contestants that speak `@effect/rpc`: they differ in the protocol alone. */
import * as Rpc from "@effect/rpc/Rpc"
import * as RpcClient from "@effect/rpc/RpcClient"
import * as RpcGroup from "@effect/rpc/RpcGroup"
import * as RpcSerialization from "@effect/rpc/RpcSerialization"
import * as RpcServer from "@effect/rpc/RpcServer"
import type * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Layer from "effect/Layer"
import * as Logger from "effect/Logger"
import * as LogLevel from "effect/LogLevel"
import * as Schema from "effect/Schema"
import * as Scope from "effect/Scope"
import type { Certificates, Contestant } from "./contestant.js"

const Echo = RpcGroup.make(
  Rpc.make("echo", { payload: { payload: Schema.Uint8ArrayFromSelf }, success: Schema.Uint8ArrayFromSelf })
)

/** Its two protocols, with the serialization that is its fastest. */
export interface Protocols<I, E, E2> {
  readonly server: (
    certificates: Certificates
  ) => Layer.Layer<RpcServer.Protocol | I, E, RpcSerialization.RpcSerialization>
  readonly port: (context: Context.Context<I>) => number
  readonly client: (
    certificates: Certificates,
    port: number
  ) => Layer.Layer<RpcClient.Protocol, E2, RpcSerialization.RpcSerialization>
}

const run = <A, E>(effect: Effect.Effect<A, E>): Promise<A> =>
  Effect.runPromise(Logger.withMinimumLogLevel(effect, LogLevel.Warning))

export const make = <I, E, E2>({ client, port, server }: Protocols<I, E, E2>): Contestant => ({
  serve: async (certificates) => {
    const layer = RpcServer.layer(Echo, { disableTracing: true }).pipe(
      Layer.provide(Echo.toLayer({ echo: ({ payload }) => Effect.succeed(payload) })),
      Layer.provideMerge(server(certificates)),
      Layer.provide(RpcSerialization.layerMsgPack)
    )
    const scope = Effect.runSync(Scope.make())
    return port(await run(Layer.buildWithScope(layer, scope)))
  },
  client: async (certificates) => ({
    connect: async (port) => {
      const scope = Effect.runSync(Scope.make())
      const protocol = Layer.provide(client(certificates, port), RpcSerialization.layerMsgPack)
      const echoes = await RpcClient.make(Echo, { disableTracing: true }).pipe(
        Effect.provide(await run(Layer.buildWithScope(protocol, scope))),
        Scope.extend(scope),
        run
      )
      return {
        work: ({ done, next }) =>
          run(
            Effect.gen(function* () {
              for (let message = next(); message !== undefined; message = next()) {
                done({ payload: yield* echoes.echo({ payload: message.payload ?? new Uint8Array(0) }) })
              }
            })
          ),
        close: () => run(Scope.close(scope, Exit.void))
      }
    },
    close: async () => {}
  })
})
