import { describe, expect, it } from "@effect/vitest"
import * as Config from "effect/Config"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as SubscriptionRef from "effect/SubscriptionRef"
import { Credentials, Quic, Transport } from "effect-transport"
import { credentialsSuite } from "../suite/CredentialsSuite.js"
import { authority, rawMaterial } from "../suite/fixtures/certificates.js"
import { EchoService, echo } from "../suite/fixtures/echo.js"
import { eventually, leavesNothing } from "../suite/fixtures/expect.js"

credentialsSuite("QuicLive", {
  layer: Quic.layer,
  layerConfig: Quic.layerConfig(Config.succeed({})),
  wire: "QUIC",
  tcp: false,
  rsaPss: false
})

describe("QuicLive, without client certificates", () => {
  it.live("has the authorizer judge those who are connected again when the credentials change", () =>
    leavesNothing(
      Effect.gen(function* () {
        const { good, trusted } = yield* authority
        const build = (service: Credentials.CredentialsService) =>
          Layer.build(
            Layer.provide(Quic.layer({ clientCertificate: "none" }), Layer.succeed(Credentials.Credentials, service))
          )
        const material = rawMaterial(good, trusted.ca)
        const ref = yield* SubscriptionRef.make<Credentials.Material>(material)
        const there = yield* build({ current: SubscriptionRef.get(ref), changes: ref.changes })
        const here = yield* build(Credentials.make(rawMaterial(undefined, trusted.ca)))
        let mayConnect = true
        const { target } = yield* Effect.provide(
          Transport.listen([Transport.handlers(EchoService, echo)], { authorize: () => mayConnect }),
          there
        )
        const client = yield* Effect.provide(Transport.client(EchoService, target), here)
        const call = client.echo({ message: "hello" }, { timeout: "5 seconds" })
        yield* SubscriptionRef.set<Credentials.Material>(ref, { ...material })
        expect((yield* call).message).toBe("hello")
        mayConnect = false
        expect((yield* call).message).toBe("hello")
        yield* SubscriptionRef.set<Credentials.Material>(ref, { ...material })
        yield* eventually(
          Effect.map(Effect.either(call), (result) =>
            expect(result).toMatchObject({ left: { _tag: "HandshakeFailed", reason: "NotAuthorized" } })
          ),
          "5 seconds"
        )
      })
    )
  )
})
