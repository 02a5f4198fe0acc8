/** Who agrees with whom, and who is refused for what. */
import { describe, expect } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import type { Suite } from "./harness.js"
import { good, goodClient, nobody, pinning, presenting, revoking } from "./sides.js"

export const refusals = ({ agree, meet, refuse, test, wire }: Suite): void => {
  describe("both sides agree", () => {
    agree("on a CA", good, goodClient)
    agree("on revocation lists that speak of others", revoking(good, "good"), revoking(goodClient, "client"))
    agree("on pins in addition", pinning(good, "client"), pinning(goodClient, "good"))
    agree(
      "on pins instead of a CA",
      pinning(presenting("selfSigned"), "client", "instead"),
      pinning(goodClient, "selfSigned", "instead")
    )
  })

  describe("the listener refuses a client", () => {
    refuse("of another CA", good, presenting("untrusted"), "UntrustedIssuer", "remote")
    refuse("without a certificate", good, nobody, "CertificateRequired", "remote")
    refuse("whose certificate has expired", good, presenting("expired"), "Expired", "remote")
    refuse("whose certificate is not valid yet", good, presenting("notYetValid"), "NotYetValid", "remote")
    refuse("whose certificate is for servers", good, presenting("serverOnly"), "InvalidPurpose", "remote")
    refuse("that has signed its own certificate", good, presenting("selfSigned"), "UntrustedIssuer", "remote")
    refuse("that is not pinned", pinning(good, "selfSigned"), goodClient, "PinMismatch", "remote")
    refuse("whose certificate is revoked", revoking(good, "client"), goodClient, "Revoked", "remote")
    refuse("not pinned instead of a CA", pinning(good, "selfSigned", "instead"), goodClient, "PinMismatch", "remote")
  })

  describe("the client refuses a listener", () => {
    refuse("of another CA", presenting("untrusted"), goodClient, "UntrustedIssuer", "local")
    refuse("whose certificate has expired", presenting("expired"), goodClient, "Expired", "local")
    refuse("whose certificate is not valid yet", presenting("notYetValid"), goodClient, "NotYetValid", "local")
    refuse("whose certificate is for clients", presenting("clientOnly"), goodClient, "InvalidPurpose", "local")
    refuse("that has signed its own certificate", presenting("selfSigned"), goodClient, "UntrustedIssuer", "local")
    refuse("of another name", presenting("otherName"), goodClient, "NameMismatch", "local")
    refuse("whose certificate is revoked", good, revoking(goodClient, "good"), "Revoked", "local")
    refuse("that is not pinned", good, pinning(goodClient, "selfSigned"), "PinMismatch", "local")
  })

  test(
    "a listener says where it listens, on which wire and as whom",
    Effect.gen(function* () {
      const { log, presented, target } = yield* meet(good, goodClient)
      const { identity } = Option.getOrThrow(presented.server)
      expect(log).toContainEqual({
        level: "INFO",
        text: expect.stringContaining(
          `listening on ${target} (${wire}, as CN=localhost, fingerprint ${identity.fingerprint})`
        )
      })
    })
  )
}
