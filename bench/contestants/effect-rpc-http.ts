/** `@effect/rpc` over its own HTTP protocol, in plaintext as well: a request of HTTP/1.1 for each call. */
import { createServer } from "node:http"
import * as HttpRouter from "@effect/platform/HttpRouter"
import * as HttpServer from "@effect/platform/HttpServer"
import * as NodeHttpClient from "@effect/platform-node/NodeHttpClient"
import * as NodeHttpServer from "@effect/platform-node/NodeHttpServer"
import * as RpcClient from "@effect/rpc/RpcClient"
import * as RpcServer from "@effect/rpc/RpcServer"
import * as Context from "effect/Context"
import * as Layer from "effect/Layer"
import { bindHost, host } from "../echo.js"
import * as Rpc from "../rpc.js"

export default Rpc.make({
  server: () =>
    HttpRouter.Default.serve().pipe(
      Layer.provideMerge(RpcServer.layerProtocolHttp({ path: "/rpc" })),
      Layer.provideMerge(NodeHttpServer.layer(() => createServer(), { host: bindHost, port: 0 }))
    ),
  port: (context) => {
    const { address } = Context.get(context, HttpServer.HttpServer)
    return address._tag === "TcpAddress" ? address.port : 0
  },
  client: (_, port) =>
    Layer.provide(RpcClient.layerProtocolHttp({ url: `http://${host}:${port}/rpc` }), NodeHttpClient.layerUndici)
})
