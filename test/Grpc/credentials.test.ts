import { describe, expect, it } from "@effect/vitest"
import * as Config from "effect/Config"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import { Authorizer, Credentials, Grpc, Transport } from "effect-transport"
import { credentialsSuite } from "../suite/CredentialsSuite.js"
import { EchoService, echo } from "../suite/fixtures/echo.js"
import { leavesNothing } from "../suite/fixtures/expect.js"

credentialsSuite("GrpcLive", {
  layer: Grpc.layer,
  layerConfig: Grpc.layerConfig(Config.succeed({})),
  wire: "gRPC",
  insecure: true,
  refusesLateCalls: "node:http2 takes no stream after its first GOAWAY"
})

describe("GrpcLive, insecure", () => {
  it.live("proves no identity, so that all authorizers but any refuse", () =>
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
      }).pipe(Effect.provide(Layer.provide(Grpc.layer(), Credentials.insecure)))
    )
  )
})
