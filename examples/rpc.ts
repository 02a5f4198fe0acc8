import { Rpc, RpcClient, RpcGroup, RpcMiddleware, RpcSerialization, RpcServer } from "@effect/rpc"
import { Effect, Layer, Option, Schema, Stream } from "effect"
import { Authorizer, Credentials, Peer, PermissionDenied, RpcTransport, TlsLive, Transport } from "effect-transport"

/** Who may call: the same authorizer works for a listener (`authorize`), a protobuf service, and RPCs. */
const members = Authorizer.either(Authorizer.trustDomain("mesh.example"), Authorizer.san("localhost"))

class Members extends RpcMiddleware.Tag<Members>()("Members", {
  provides: Peer.CurrentPeer,
  failure: PermissionDenied
}) {}

const MembersLive = Layer.effect(
  Members,
  Effect.map(RpcTransport.Peers, ({ get }) =>
    Members.of(({ clientId, rpc }) =>
      Option.filter(get(clientId), ({ identity }) => Authorizer.check(members, identity)).pipe(
        Effect.mapError(() => new PermissionDenied({ message: "members only", method: rpc._tag }))
      )
    )
  )
)

const Greetings = RpcGroup.make(
  Rpc.make("Greet", { payload: { name: Schema.String }, success: Schema.String }),
  Rpc.make("Count", { payload: { to: Schema.Number }, success: Schema.Number, stream: true })
).middleware(Members)

const GreetingsLive = Greetings.toLayer({
  Greet: ({ name }) => Effect.map(Peer.CurrentPeer, ({ address }) => `hello ${name}, whose address is ${address}`),
  Count: ({ to }) => Stream.range(1, to)
})

const ServerLive = RpcServer.layer(Greetings).pipe(
  Layer.provide([GreetingsLive, MembersLive]),
  Layer.provideMerge(RpcTransport.layerProtocolServer({ host: "127.0.0.1", port: 0 })),
  Layer.provide(RpcSerialization.layerMsgPack)
)

const program = Effect.gen(function* () {
  const { target } = yield* Transport.Listener
  yield* Effect.gen(function* () {
    const greetings = yield* RpcClient.make(Greetings)
    yield* Effect.log(yield* greetings.Greet({ name: "node-b" }))
    yield* Effect.log(`counted ${yield* Stream.runCount(greetings.Count({ to: 1000 }))}`)
  }).pipe(Effect.provide(RpcTransport.layerProtocolClient(target)), Effect.provide(RpcSerialization.layerMsgPack))
})

/** Any transport does: the RPCs do not know which. */
const MainLive = ServerLive.pipe(Layer.provideMerge(TlsLive), Layer.provide(Credentials.layerDev()))

await program.pipe(Effect.scoped, Effect.provide(MainLive), Effect.runPromise)
