import { Rpc, RpcClient, RpcGroup, RpcSerialization, RpcServer } from "@effect/rpc"
import { Effect, Layer, Schema, Stream } from "effect"
import { Credentials, RpcTransport, TlsLive, Transport } from "effect-transport"

const Greetings = RpcGroup.make(
  Rpc.make("Greet", { payload: { name: Schema.String }, success: Schema.String }),
  Rpc.make("Count", { payload: { to: Schema.Number }, success: Schema.Number, stream: true })
)

const ServerLive = RpcServer.layer(Greetings).pipe(
  Layer.provide(
    Greetings.toLayer({
      Greet: ({ name }) => Effect.succeed(`hello ${name}`),
      Count: ({ to }) => Stream.range(1, to)
    })
  ),
  Layer.provideMerge(RpcTransport.layerProtocolServer({ host: "127.0.0.1", port: 0 }))
)

const calls = Effect.gen(function* () {
  const { target } = yield* Transport.Listener
  return yield* Effect.gen(function* () {
    const greetings = yield* RpcClient.make(Greetings)
    return [yield* greetings.Greet({ name: "node-b" }), yield* Stream.runCount(greetings.Count({ to: 1000 }))]
  }).pipe(Effect.provide(RpcTransport.layerProtocolClient(target)))
})

export const program = calls.pipe(
  Effect.scoped,
  Effect.provide(ServerLive.pipe(Layer.provideMerge(TlsLive), Layer.provide(Credentials.layerDev()))),
  Effect.provide(RpcSerialization.layerMsgPack)
)
