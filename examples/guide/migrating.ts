import { create, fromBinary, toBinary } from "@bufbuild/protobuf"
import * as GrpcJs from "@grpc/grpc-js"
import { Effect, Layer, Option, Redacted, Stream } from "effect"
import { Credentials, DevCa, GrpcLive, Metadata, NotFound, RetryPolicy, Transport } from "effect-transport"
import * as NiceGrpc from "nice-grpc"
import { type PohAck, PohAckSchema, type PohRequest, PohRequestSchema, PohService } from "../gen/poh/v1/poh_pb.js"

const tenantOf = (call: Transport.Call) => Option.getOrElse(Metadata.get(call.metadata, "x-tenant"), () => "")

const PohHandlers = Transport.handlers(PohService, {
  prove: ({ slot }, call) =>
    slot === 0n
      ? new NotFound({ message: "slots begin with 1" })
      : Effect.succeed({ slot, valid: true, message: tenantOf(call) }),
  proveBatch: (requests) => Effect.map(Stream.runCount(requests), (valid) => ({ valid }))
})

const listen = Transport.listen([PohHandlers])

const PohServiceDefinition = {
  prove: {
    path: "/poh.v1.PohService/Prove",
    requestStream: false,
    responseStream: false,
    requestSerialize: (request: PohRequest) => toBinary(PohRequestSchema, request),
    requestDeserialize: (bytes: Uint8Array) => fromBinary(PohRequestSchema, bytes),
    responseSerialize: (ack: PohAck) => toBinary(PohAckSchema, ack),
    responseDeserialize: (bytes: Uint8Array) => fromBinary(PohAckSchema, bytes),
    options: {}
  }
} as const

interface Files {
  readonly ca: string
  readonly cert: string
  readonly key: string
}

const byGrpcJs = (target: string, { ca, cert, key }: Files) =>
  Effect.async<PohAck | undefined, GrpcJs.ServiceError>((resume) => {
    const tls = GrpcJs.credentials.createSsl(Buffer.from(ca), Buffer.from(key), Buffer.from(cert))
    const client = new GrpcJs.Client(target, tls)
    const metadata = new GrpcJs.Metadata()
    metadata.set("x-tenant", "blue")
    const { path, requestSerialize, responseDeserialize } = PohServiceDefinition.prove
    const call = client.makeUnaryRequest(
      path,
      (request: PohRequest) => Buffer.from(requestSerialize(request)),
      responseDeserialize,
      create(PohRequestSchema, { slot: 7n }),
      metadata,
      { deadline: Date.now() + 2000 },
      (error, ack) => {
        client.close()
        resume(error === null ? Effect.succeed(ack) : Effect.fail(error))
      }
    )
    return Effect.sync(() => call.cancel())
  })

const byNiceGrpc = (target: string, { ca, cert, key }: Files) =>
  Effect.tryPromise(async (signal) => {
    const tls = NiceGrpc.ChannelCredentials.createSsl(Buffer.from(ca), Buffer.from(key), Buffer.from(cert))
    const channel = NiceGrpc.createChannel(target, tls)
    try {
      const poh = NiceGrpc.createClient(PohServiceDefinition, channel)
      const metadata = NiceGrpc.Metadata({ "x-tenant": "blue" })
      return await poh.prove(create(PohRequestSchema, { slot: 7n }), { metadata, signal })
    } finally {
      channel.close()
    }
  })

const byEffect = (target: string) =>
  Effect.gen(function* () {
    const poh = yield* Transport.client(PohService, target)
    return yield* poh
      .prove({ slot: 7n }, { metadata: { "x-tenant": "blue" }, timeout: "2 seconds" })
      .pipe(Effect.retry(RetryPolicy.exponential({ initial: "100 millis" })))
  })

export const program = Effect.gen(function* () {
  const ca = yield* DevCa.make()
  const { cert, key } = yield* ca.issue({ names: ["localhost", "127.0.0.1"] })
  const files = { ca: ca.ca, cert, key: Redacted.value(key) }
  return yield* Effect.gen(function* () {
    const { target } = yield* listen
    const acks = yield* Effect.all([byGrpcJs(target, files), byNiceGrpc(target, files), byEffect(target)])
    return acks.map((ack) => ack?.message)
  }).pipe(Effect.provide(Layer.provide(GrpcLive, Credentials.layerPem(files))))
}).pipe(Effect.scoped)
