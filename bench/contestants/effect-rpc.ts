/**
 * `@effect/rpc` over its own TCP socket. It has no TLS there: this one goes in plaintext and has an advantage by that.
 */
import { SocketServer } from "@effect/platform/SocketServer"
import * as NodeSocket from "@effect/platform-node/NodeSocket"
import * as NodeSocketServer from "@effect/platform-node/NodeSocketServer"
import * as RpcClient from "@effect/rpc/RpcClient"
import * as RpcServer from "@effect/rpc/RpcServer"
import * as Context from "effect/Context"
import * as Layer from "effect/Layer"
import { bindHost, host } from "../echo.js"
import * as Rpc from "../rpc.js"

export default Rpc.make({
  server: () =>
    Layer.provideMerge(RpcServer.layerProtocolSocketServer, NodeSocketServer.layer({ host: bindHost, port: 0 })),
  port: (context) => {
    const { address } = Context.get(context, SocketServer)
    return address._tag === "TcpAddress" ? address.port : 0
  },
  client: (_, port) => Layer.provide(RpcClient.layerProtocolSocket(), NodeSocket.layerNet({ host, port }))
})
