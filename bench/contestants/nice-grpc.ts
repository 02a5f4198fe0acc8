import { ServerCredentials } from "@grpc/grpc-js"
import * as NiceGrpc from "nice-grpc"
import type { Contestant } from "../contestant.js"
import { bindHost, echoPath, host, request, response } from "../echo.js"

const service = {
  echo: {
    path: echoPath,
    requestStream: false,
    responseStream: false,
    requestSerialize: request.serialize,
    requestDeserialize: request.deserialize,
    responseSerialize: response.serialize,
    responseDeserialize: response.deserialize,
    options: {}
  }
} as const

export default {
  serve: async ({ ca, cert, key }) => {
    const server = NiceGrpc.createServer()
    server.add(service, { echo: async ({ payload }) => ({ payload }) })
    const pair = { private_key: Buffer.from(key), cert_chain: Buffer.from(cert) }
    return server.listen(`${bindHost}:0`, ServerCredentials.createSsl(Buffer.from(ca), [pair], true))
  },
  client: async ({ ca, cert, key }) => {
    const credentials = NiceGrpc.ChannelCredentials.createSsl(Buffer.from(ca), Buffer.from(key), Buffer.from(cert))
    return {
      connect: async (port) => {
        const channel = NiceGrpc.createChannel(`${host}:${port}`, credentials, { "grpc.use_local_subchannel_pool": 1 })
        const client = NiceGrpc.createClient(service, channel)
        return {
          work: async ({ done, next }) => {
            for (let message = next(); message !== undefined; message = next()) {
              done(await client.echo(message))
            }
          },
          close: async () => channel.close()
        }
      },
      close: async () => {}
    }
  }
} satisfies Contestant
