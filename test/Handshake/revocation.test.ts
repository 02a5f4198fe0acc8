import { expect, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as PeerVerification from "../../src/Handshake/PeerVerification.js"
import { loopbackNames } from "../suite/fixtures/certificates.js"
import * as Lists from "../suite/fixtures/crl.js"
import { holder, mint, read } from "../suite/fixtures/mint.js"

it.live("lists are asked about the path that is trusted, not about another one that has expired", () =>
  Effect.gen(function* () {
    const made = yield* Lists.certificateAuthority
    const server = yield* made.issue("77")
    // The CA is an intermediate of a root that is trusted too, of which there is no list, by a certificate that is over.
    const root = yield* holder("root")
    const over = yield* mint(made, root, {
      notBefore: new Date(Date.now() - 7200_000),
      notAfter: new Date(Date.now() - 3600_000)
    })
    const nextUpdate = Math.ceil(Date.now() / 1000) * 1000 + 60_000
    const verified = yield* PeerVerification.ofServer(
      {
        material: {
          _tag: "Tls",
          certificate: Option.none(),
          ca: [over, made.ca, yield* mint(root, root)],
          crl: [Lists.pem(made.list({ nextUpdate }))]
        },
        chain: [read(server.cert).raw, read(over).raw],
        peer: "localhost:1",
        nameWanted: loopbackNames[0] ?? ""
      },
      "open"
    )
    expect(verified.validUntil).toBe(nextUpdate)
  })
)
