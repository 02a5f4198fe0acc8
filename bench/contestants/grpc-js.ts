import { once } from "node:events"
import * as Grpc from "@grpc/grpc-js"
import type { EchoRequest, EchoResponse } from "../../examples/gen/echo/v1/echo_pb.js"
import type { Connection, Consumer, Contestant, Work } from "../contestant.js"
import { bindHost, echoPath, host, request, response } from "../echo.js"

type Request = Pick<EchoRequest, "payload" | "repeat" | "payloadSize">
type Response = Partial<Pick<EchoResponse, "payload" | "index">>

const codecs = {
  requestSerialize: request.serialize,
  requestDeserialize: request.deserialize,
  responseSerialize: response.serialize,
  responseDeserialize: response.deserialize
}
const downloadPath = "/echo.v1.EchoService/EchoServerStream"
const uploadPath = "/echo.v1.EchoService/EchoClientStream"

const service: Grpc.ServiceDefinition = {
  echo: { path: echoPath, requestStream: false, responseStream: false, ...codecs },
  echoServerStream: { path: downloadPath, requestStream: false, responseStream: true, ...codecs },
  echoClientStream: { path: uploadPath, requestStream: true, responseStream: false, ...codecs }
}

const echo: Grpc.handleUnaryCall<Request, Response> = (call, callback) =>
  callback(null, { payload: call.request.payload })

/** What both ends of a stream write to. */
interface Writer<A> extends NodeJS.EventEmitter {
  readonly write: (message: A) => boolean
}

const writeAll = async <A>(call: Writer<A>, message: A, repeat: number) => {
  for (let i = 0; i < repeat; i++) {
    if (!call.write(message)) {
      await once(call, "drain")
    }
  }
}

const consumeAll = async (messages: AsyncIterable<{ readonly payload: Uint8Array }>, consumer: Consumer) => {
  let count = 0
  for await (const { payload } of messages) {
    await consumer(payload)
    count += 1
  }
  return count
}

const echoServerStream = async (call: Grpc.ServerWritableStream<Request, Response>) => {
  const { payloadSize, repeat } = call.request
  await writeAll(call, { payload: new Uint8Array(payloadSize) }, repeat)
  call.end()
}

const serve = (consumer: Consumer, credentials: Grpc.ServerCredentials) =>
  new Promise<number>((resolve, reject) => {
    const echoClientStream: Grpc.handleClientStreamingCall<Request, Response> = (call, callback) => {
      consumeAll(call, consumer).then((index) => callback(null, { index }), callback)
    }
    const server = new Grpc.Server()
    server.addService(service, { echo, echoServerStream, echoClientStream })
    server.bindAsync(`${bindHost}:0`, credentials, (error, port) => (error === null ? resolve(port) : reject(error)))
  })

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

const connection = (client: Grpc.Client): Connection => ({
  work: (each) => work(client, each),
  close: async () => client.close(),
  download: async (message, consumer) => {
    await consumeAll(
      client.makeServerStreamRequest(downloadPath, request.serialize, response.deserialize, message),
      consumer
    )
  },
  upload: (payload, repeat) =>
    new Promise((resolve, reject) => {
      const call = client.makeClientStreamRequest(
        uploadPath,
        request.serialize,
        response.deserialize,
        (error, reply) => (reply === undefined ? reject(error) : resolve(reply.index))
      )
      writeAll(call, { payload }, repeat).then(() => call.end(), reject)
    })
})

export default {
  serve: ({ ca, cert, key }, consumer) => {
    const pair = { private_key: Buffer.from(key), cert_chain: Buffer.from(cert) }
    return serve(consumer, Grpc.ServerCredentials.createSsl(Buffer.from(ca), [pair], true))
  },
  serveCleartext: (consumer) => serve(consumer, Grpc.ServerCredentials.createInsecure()),
  client: async ({ ca, cert, key }) => {
    const credentials = Grpc.credentials.createSsl(Buffer.from(ca), Buffer.from(key), Buffer.from(cert))
    return {
      connect: async (port) =>
        connection(new Grpc.Client(`${host}:${port}`, credentials, { "grpc.use_local_subchannel_pool": 1 })),
      close: async () => {}
    }
  }
} satisfies Contestant
