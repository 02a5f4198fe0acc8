import { expect, it } from "@effect/vitest"
import * as Config from "effect/Config"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import { Authorizer, Credentials, Transport } from "effect-transport"
import { describeEngines } from "../fixtures/describeEngines.js"
import { grpcEngines } from "../fixtures/grpcEngines.js"
import { credentialsSuite } from "../suite/CredentialsSuite.js"
import { EchoService, echo } from "../suite/fixtures/echo.js"
import { leavesNothing } from "../suite/fixtures/expect.js"

for (const { layer, layerConfig, limits, name } of grpcEngines) {
  credentialsSuite(name, {
    layer,
    layerConfig: layerConfig(Config.succeed({})),
    wire: "gRPC",
    insecure: true,
    refusesLateCalls: limits.refusesLateCalls
  })
}

describeEngines(({ layer }) => {
  it.live("without TLS a peer proves no identity, so that all authorizers but any refuse", () =>
    leavesNothing(
      Effect.gen(function* () {
        const handlers = Transport.handlers(EchoService, echo)
        const closed = yield* Transport.listen([handlers], { authorize: Authorizer.authenticated })
        expect(yield* Effect.flip(Transport.client(EchoService, closed.target))).toMatchObject({
          _tag: "HandshakeFailed",
          reason: "NotAuthorized",
          refusedBy: "remote"
        })
        const open = yield* Transport.listen([handlers], { authorize: Authorizer.any })
        const client = yield* Transport.client(EchoService, open.target)
        expect((yield* client.echo({ message: "hello" })).message).toBe("hello")
      }).pipe(Effect.provide(Layer.provide(layer(), Credentials.insecure)))
    )
  )
})
