/** Revocation lists: which of them count, and for whom. */
import { describe, expect } from "@effect/vitest"
import * as Effect from "effect/Effect"
import { Credentials, Transport } from "effect-transport"
import { rawMaterial } from "../fixtures/certificates.js"
import * as Lists from "../fixtures/crl.js"
import { EchoService, echo } from "../fixtures/echo.js"
import type { Suite } from "./harness.js"

export const revocationLists = ({ build, fixed, test }: Suite): void => {
  describe("revocation lists", () => {
    const ca = Effect.runSync(Effect.cached(Lists.certificateAuthority))
    type Ca = Effect.Effect.Success<typeof ca>
    const serial = "11223344"
    const hour = 3600_000
    const many = Lists.others(10_000)
    const long = "ff".repeat(20)
    const { scopes } = Lists
    const point = (part: number) => `http://ca.example/${part}.crl`

    /** A listener with the lists, and a client whose certificate has the serial number. */
    const under = (lists: (ca: Ca) => Credentials.PemOptions["crl"], number = serial, points?: ReadonlyArray<string>) =>
      Effect.gen(function* () {
        const made = yield* ca
        const [server, client] = [yield* made.issue("77"), yield* made.issue(number, ...(points ?? []))]
        const there = yield* build(Credentials.layerPem({ ...server, ca: made.ca, crl: lists(made) }))
        const here = yield* build(fixed(rawMaterial(client, made.ca)))
        const handlers = Transport.handlers(EchoService, echo)
        const { target } = yield* Effect.provide(Transport.listen([handlers]), there)
        const echoes = yield* Effect.provide(Transport.client(EchoService, target), here)
        return (yield* echoes.echo({ message: "hello" })).message
      })

    const table: ReadonlyArray<
      readonly [
        title: string,
        lists: (ca: Ca) => Credentials.PemOptions["crl"],
        result: string,
        serial?: string,
        points?: ReadonlyArray<string>
      ]
    > = [
      ["of 10,000 others", ({ list }) => list({ entries: many }), "hello"],
      ["of 10,000, it among them", ({ list }) => list({ entries: [...many, { serial }] }), "Revoked"],
      ["of DER", ({ list }) => list({ entries: [{ serial }] }), "Revoked"],
      ["of PEM", ({ list }) => Lists.pem(list({ entries: [{ serial }] })), "Revoked"],
      ["that are empty", ({ list }) => list(), "hello"],
      [
        "in one file, of which the newest counts",
        ({ list }) =>
          [list({ thisUpdate: Date.now() - hour }), list({ entries: [{ serial }] })].map(Lists.pem).join("text\n"),
        "Revoked"
      ],
      [
        "that have expired",
        ({ list }) => list({ thisUpdate: Date.now() - 2 * hour, nextUpdate: Date.now() - hour }),
        "BadCertificate"
      ],
      ["that are not valid yet", ({ list }) => list({ thisUpdate: Date.now() + hour }), "BadCertificate"],
      ["by the key of somebody else", ({ forged }) => forged(), "BadCertificate"],
      ["with a critical extension that nobody knows", ({ list }) => list({ critical: true }), "Malformed"],
      ["of changes to another list", ({ list }) => list({ delta: true }), "Malformed"],
      ["that take it off again", ({ list }) => list({ entries: [{ serial, reason: 8 }] }), "hello"],
      ["with a reason", ({ list }) => list({ entries: [{ serial, reason: 1 }] }), "Revoked"],
      ["with a zero in front", ({ list }) => list({ entries: [{ serial: "00f1f2" }] }), "Revoked", "00f1f2"],
      ["with 20 bytes", ({ list }) => list({ entries: [{ serial: "7f".repeat(20) }] }), "Revoked", "7f".repeat(20)],
      ["with 21 bytes", ({ list }) => list({ entries: [{ serial: `00${long}` }] }), "Revoked", `00${long}`],
      ["with 40 bytes", ({ list }) => list({ entries: [{ serial: "7f".repeat(40) }] }), "Revoked", "7f".repeat(40)],
      ["with a negative one", ({ list }) => list({ entries: [{ serial: "80ff" }] }), "Revoked", "80ff"],
      ["with the same number, positive", ({ list }) => list({ entries: [{ serial: "7f01" }] }), "hello", "80ff"],
      ["with one that only begins alike", ({ list }) => list({ entries: [{ serial: `${serial}00` }] }), "hello"],
      [
        "of which one by the key of somebody else is newer",
        ({ forged, list }) => [list({ thisUpdate: Date.now() - hour }), forged()],
        "hello"
      ],
      [
        "of which one by the key of somebody else is newer, and revokes nothing",
        ({ forged, list }) => [list({ entries: [{ serial }], thisUpdate: Date.now() - hour }), forged()],
        "Revoked"
      ],
      ["of certificates that are no CAs", ({ list }) => list({ scope: scopes.users }), "hello"],
      [
        "of certificates that are no CAs, it among them",
        ({ list }) => list({ entries: [{ serial }], scope: scopes.users }),
        "Revoked"
      ],
      ["of CAs only", ({ list }) => list({ scope: scopes.authorities }), "BadCertificate"],
      [
        "of CAs, and of others",
        ({ list }) => [list({ scope: scopes.authorities }), list({ entries: [{ serial }], scope: scopes.users })],
        "Revoked"
      ],
      ["of a distribution point", ({ list }) => list({ scope: scopes.point(point(1)) }), "hello", serial, [point(1)]],
      [
        "of several distribution points, of which its own counts",
        ({ list }) => [
          list({ entries: [{ serial }], scope: scopes.point(point(1)), thisUpdate: Date.now() - hour }),
          list({ scope: scopes.point(point(2)) })
        ],
        "Revoked",
        serial,
        [point(1)]
      ],
      [
        "of several distribution points, one of them another's",
        ({ list }) => [
          list({ entries: [{ serial }], scope: scopes.point(point(1)) }),
          list({ scope: scopes.point(point(2)), thisUpdate: Date.now() - hour })
        ],
        "hello",
        serial,
        [point(3), point(2)]
      ],
      [
        "of another distribution point",
        ({ list }) => list({ scope: scopes.point(point(1)) }),
        "BadCertificate",
        serial,
        [point(2)]
      ],
      [
        "of a distribution point that it has not",
        ({ list }) => list({ scope: scopes.point(point(1)) }),
        "BadCertificate"
      ],
      ["of a distribution point of any name", ({ list }) => list({ scope: scopes.relative }), "Malformed"],
      ["of some reasons", ({ list }) => list({ scope: scopes.reasons }), "Malformed"],
      ["of other issuers", ({ list }) => list({ scope: scopes.indirect }), "Malformed"],
      ["of attribute certificates", ({ list }) => list({ scope: scopes.attributes }), "Malformed"]
    ]
    for (const [title, lists, result, number, points] of table) {
      test(
        `${title}: ${result}`,
        Effect.gen(function* () {
          const seen = yield* Effect.either(under(lists, number, points))
          expect(seen._tag === "Right" ? seen.right : seen.left).toEqual(
            result === "hello" ? result : expect.objectContaining({ reason: result })
          )
        })
      )
    }
  })
}
