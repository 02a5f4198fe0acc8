import * as Http2 from "node:http2"
import * as Tls from "node:tls"
import { createClient } from "@connectrpc/connect"
import { connectNodeAdapter, createGrpcTransport, Http2SessionManager } from "@connectrpc/connect-node"
import { EchoService } from "../../examples/gen/echo/v1/echo_pb.js"
import type { Contestant } from "../contestant.js"
import { bindHost, host } from "../echo.js"

export default {
  serve: (certificates) =>
    new Promise((resolve) => {
      const handler = connectNodeAdapter({
        routes: (router) => router.rpc(EchoService.method.echo, ({ payload }) => ({ payload }))
      })
      const server = Http2.createSecureServer(
        { ...certificates, requestCert: true, rejectUnauthorized: true, minVersion: "TLSv1.3" },
        handler
      )
      server.listen(0, bindHost, () => {
        const address = server.address()
        resolve(typeof address === "object" && address !== null ? address.port : 0)
      })
    }),
  client: async (certificates) => {
    const secureContext = Tls.createSecureContext(certificates)
    return {
      connect: async (port) => {
        const baseUrl = `https://${host}:${port}`
        const sessionManager = new Http2SessionManager(baseUrl, {}, { secureContext })
        const client = createClient(EchoService, createGrpcTransport({ baseUrl, sessionManager }))
        return {
          work: async ({ done, next }) => {
            for (let message = next(); message !== undefined; message = next()) {
              done(await client.echo(message))
            }
          },
          close: async () => sessionManager.abort()
        }
      },
      close: async () => {}
    }
  }
} satisfies Contestant
