import * as Rpc from "@effect/rpc/Rpc"
import * as RpcClient from "@effect/rpc/RpcClient"
import * as RpcGroup from "@effect/rpc/RpcGroup"
import * as RpcMiddleware from "@effect/rpc/RpcMiddleware"
import * as RpcSerialization from "@effect/rpc/RpcSerialization"
import * as RpcServer from "@effect/rpc/RpcServer"
import { expect, it } from "@effect/vitest"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import {
  Authorizer,
  Credentials,
  DevCa,
  Peer,
  PermissionDenied,
  QuicLive,
  RpcTransport,
  TlsLive,
  Transport
} from "effect-transport"
import { grpcEngines, otherWires } from "../fixtures/grpcEngines.js"
import { EchoService, echo } from "../suite/fixtures/echo.js"
import { leavesNothing } from "../suite/fixtures/expect.js"

/** Written once: who may. */
const members = Authorizer.either(Authorizer.spiffeId("spiffe://mesh.example/node-a"), Authorizer.san("node-b.mesh"))

class Members extends RpcMiddleware.Tag<Members>()("test/Members", {
  provides: Peer.CurrentPeer,
  failure: PermissionDenied
}) {}

const membersLive = Layer.effect(
  Members,
  Effect.map(RpcTransport.Peers, ({ get }) =>
    Members.of(({ clientId, rpc }) =>
      Option.filter(get(clientId), ({ identity }) => Authorizer.check(members, identity)).pipe(
        Effect.mapError(() => new PermissionDenied({ message: "members only", method: rpc._tag }))
      )
    )
  )
)

const Secrets = RpcGroup.make(
  Rpc.make("Secret", { success: Schema.String }),
  Rpc.make("Secrets", { success: Schema.String, stream: true })
).middleware(Members)

const name = Effect.map(Peer.CurrentPeer, ({ identity }) =>
  Option.match(identity, { onNone: () => "nobody", onSome: ({ subjectAltNames }) => subjectAltNames.join(" ") })
)

let served = 0
const secrets = Secrets.toLayer({
  Secret: () =>
    Effect.tap(name, () => {
      served += 1
    }),
  Secrets: () => name
})

const server = RpcServer.layer(Secrets).pipe(
  Layer.provide([secrets, membersLive]),
  Layer.provideMerge(
    RpcTransport.layerProtocolServer({ handlers: [Transport.handlers(EchoService, echo, { authorize: members })] })
  ),
  Layer.provide(RpcSerialization.layerMsgPack)
)

const wires = [
  ...grpcEngines.map(({ layer, name }) => [name, layer()] as const),
  ...otherWires([
    ["TlsLive", TlsLive],
    ["QuicLive", QuicLive]
  ] as const)
]

for (const [title, transport] of wires) {
  it.live(`${title}: who may is written once, for RPCs and for services of other contracts`, () =>
    leavesNothing(
      Effect.gen(function* () {
        const { ca, issue } = yield* DevCa.make()
        const on = (names: ReadonlyArray<string>, spiffeId?: string) =>
          Effect.flatMap(issue({ names, spiffeId }), ({ cert, key }) =>
            Layer.build(Layer.provide(transport, Credentials.layerPem({ ca, cert, key })))
          )
        const { target } = Context.get(
          yield* Effect.provide(Layer.build(server), yield* on(["127.0.0.1"])),
          Transport.Listener
        )
        const asks = Effect.gen(function* () {
          const protocol = Layer.provide(RpcTransport.layerProtocolClient(target), RpcSerialization.layerMsgPack)
          const client = yield* Effect.provide(RpcClient.make(Secrets), yield* Layer.build(protocol))
          const other = yield* Transport.client(EchoService, target)
          return yield* Effect.all([Effect.either(client.Secret()), Effect.either(other.echo({ message: "hello" }))])
        })
        const a = yield* Effect.provide(asks, yield* on(["node-a.mesh"], "spiffe://mesh.example/node-a"))
        expect(a).toMatchObject([
          { right: "DNS:node-a.mesh URI:spiffe://mesh.example/node-a" },
          { right: { message: "hello" } }
        ])
        const b = yield* Effect.provide(asks, yield* on(["node-b.mesh"]))
        expect(b).toMatchObject([{ right: "DNS:node-b.mesh" }, { right: { message: "hello" } }])
        const before = served
        const c = yield* Effect.provide(asks, yield* on(["node-c.mesh"], "spiffe://mesh.example/node-c"))
        expect(c).toMatchObject([
          { left: { _tag: "PermissionDenied", message: "members only", method: "Secret" } },
          { left: { _tag: "PermissionDenied" } }
        ])
        expect(served).toBe(before)
      })
    )
  )
}
