import * as Grpc from "@grpc/grpc-js"
import type { EchoRequest } from "../../examples/gen/echo/v1/echo_pb.js"
import type { Contestant, Work } from "../contestant.js"
import { bindHost, echoPath, host, request, response } from "../echo.js"

const service: Grpc.ServiceDefinition = {
  echo: {
    path: echoPath,
    requestStream: false,
    responseStream: false,
    requestSerialize: request.serialize,
    requestDeserialize: request.deserialize,
    responseSerialize: response.serialize,
    responseDeserialize: response.deserialize
  }
}

const echo: Grpc.handleUnaryCall<EchoRequest, Pick<EchoRequest, "payload">> = (call, callback) =>
  callback(null, { payload: call.request.payload })

const work = (client: Grpc.Client, { done, next }: Work) =>
  new Promise<void>((resolve, reject) => {
    const call = () => {
      const message = next()
      if (message === undefined) {
        return resolve()
      }
      client.makeUnaryRequest(echoPath, request.serialize, response.deserialize, message, (error, reply) => {
        if (reply === undefined) {
          return reject(error)
        }
        done(reply)
        call()
      })
    }
    call()
  })

export default {
  serve: ({ ca, cert, key }) =>
    new Promise((resolve, reject) => {
      const server = new Grpc.Server()
      server.addService(service, { echo })
      const pair = { private_key: Buffer.from(key), cert_chain: Buffer.from(cert) }
      const credentials = Grpc.ServerCredentials.createSsl(Buffer.from(ca), [pair], true)
      server.bindAsync(`${bindHost}:0`, credentials, (error, port) => (error === null ? resolve(port) : reject(error)))
    }),
  client: async ({ ca, cert, key }) => {
    const credentials = Grpc.credentials.createSsl(Buffer.from(ca), Buffer.from(key), Buffer.from(cert))
    return {
      connect: async (port) => {
        const client = new Grpc.Client(`${host}:${port}`, credentials, { "grpc.use_local_subchannel_pool": 1 })
        return { work: (each) => work(client, each), close: async () => client.close() }
      },
      close: async () => {}
    }
  }
} satisfies Contestant
