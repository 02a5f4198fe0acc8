/**
 * `@effect/rpc` over its own TCP socket, with its fastest serialization. It has no TLS there: this one goes in plaintext
 * and has an advantage by that.
 */

import { SocketServer } from "@effect/platform/SocketServer"
import * as NodeSocket from "@effect/platform-node/NodeSocket"
import * as NodeSocketServer from "@effect/platform-node/NodeSocketServer"
import * as Rpc from "@effect/rpc/Rpc"
import * as RpcClient from "@effect/rpc/RpcClient"
import * as RpcGroup from "@effect/rpc/RpcGroup"
import * as RpcSerialization from "@effect/rpc/RpcSerialization"
import * as RpcServer from "@effect/rpc/RpcServer"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Layer from "effect/Layer"
import * as Schema from "effect/Schema"
import * as Scope from "effect/Scope"
import type { Contestant } from "../contestant.js"
import { bindHost, host } from "../echo.js"

const Echo = RpcGroup.make(
  Rpc.make("echo", { payload: { payload: Schema.Uint8ArrayFromSelf }, success: Schema.Uint8ArrayFromSelf })
)

const server = RpcServer.layer(Echo, { disableTracing: true }).pipe(
  Layer.provide(Echo.toLayer({ echo: ({ payload }) => Effect.succeed(payload) })),
  Layer.provide(RpcServer.layerProtocolSocketServer),
  Layer.provide(RpcSerialization.layerMsgPack),
  Layer.provideMerge(NodeSocketServer.layer({ host: bindHost, port: 0 }))
)

const protocol = (port: number) =>
  RpcClient.layerProtocolSocket().pipe(
    Layer.provide(NodeSocket.layerNet({ host, port })),
    Layer.provide(RpcSerialization.layerMsgPack)
  )

export default {
  serve: async () => {
    const scope = Effect.runSync(Scope.make())
    const { address } = Context.get(await Effect.runPromise(Layer.buildWithScope(server, scope)), SocketServer)
    return address._tag === "TcpAddress" ? address.port : 0
  },
  client: async () => ({
    connect: async (port) => {
      const scope = Effect.runSync(Scope.make())
      const client = await RpcClient.make(Echo, { disableTracing: true }).pipe(
        Effect.provide(await Effect.runPromise(Layer.buildWithScope(protocol(port), scope))),
        Scope.extend(scope),
        Effect.runPromise
      )
      return {
        work: ({ done, next }) =>
          Effect.runPromise(
            Effect.gen(function* () {
              for (let message = next(); message !== undefined; message = next()) {
                done({ payload: yield* client.echo({ payload: message.payload ?? new Uint8Array(0) }) })
              }
            })
          ),
        close: () => Effect.runPromise(Scope.close(scope, Exit.void))
      }
    },
    close: async () => {}
  })
} satisfies Contestant
