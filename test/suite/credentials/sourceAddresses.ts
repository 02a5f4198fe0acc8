/** Two peers of one address and port: each is who its certificate says. */
import { describe, expect } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import { Authorizer, type DevCa, Transport } from "effect-transport"
import { rawMaterial } from "../fixtures/certificates.js"
import { EchoService, echo } from "../fixtures/echo.js"
import { freePort, fromPort } from "../fixtures/proxy.js"
import type { Suite } from "./harness.js"

export const sourceAddresses = ({ build, fixed, pki, tcp, test }: Suite): void => {
  // Datagrams of one source would be answered from one address: a network like this can't exist for QUIC.
  describe.skipIf(!tcp)("two peers of one address and port", () => {
    /** A listener that lets the client's certificate call, and tells whom it let. */
    const guarded = (host: string) =>
      Effect.gen(function* () {
        const { client, good, trusted } = yield* pki
        const callers: Array<string> = []
        const handlers = Transport.handlers(
          EchoService,
          {
            ...echo,
            echo: ({ message }, { peer }) =>
              Effect.sync(() => {
                callers.push(`${message} ${Option.getOrThrow(peer.identity).fingerprint}`)
                return { message }
              })
          },
          { authorize: Authorizer.spiffeId("spiffe://mesh/client") }
        )
        const { address } = yield* Effect.provide(
          Transport.listen([handlers], { host }),
          yield* build(fixed(rawMaterial(good, trusted.ca)))
        )
        const connect = (target: string, issued: DevCa.Issued) =>
          Effect.flatMap(build(fixed(rawMaterial(issued, trusted.ca))), (context) =>
            Effect.provide(Transport.client(EchoService, target), context)
          )
        return { allowed: client, denied: good, callers, connect, port: address.port }
      })
    const isDenied = { _tag: "PermissionDenied" }

    test(
      "at two addresses of the listener are told apart, whoever comes first",
      Effect.gen(function* () {
        const { allowed, callers, connect, denied, port } = yield* guarded("0.0.0.0")
        for (const allowedFirst of [true, false]) {
          const from = yield* freePort
          const one = yield* fromPort(from, { host: "127.0.0.1", port })
          const other = yield* fromPort(from, { host: "127.0.0.2", port })
          const first = yield* connect(one.target, allowedFirst ? allowed : denied)
          const second = yield* connect(other.target, allowedFirst ? denied : allowed)
          const [good, bad] = allowedFirst ? [first, second] : [second, first]
          for (let round = 0; round < 3; round++) {
            expect(yield* Effect.flip(bad.echo({ message: "bad" }))).toMatchObject(isDenied)
            expect(yield* good.echo({ message: "good" })).toMatchObject({ message: "good" })
          }
          one.close()
          const left = allowedFirst ? bad.echo({ message: "bad" }) : good.echo({ message: "good" })
          expect(yield* Effect.either(left)).toMatchObject(
            allowedFirst ? { left: isDenied } : { right: { message: "good" } }
          )
        }
        expect(callers.every((caller) => caller.startsWith("good "))).toBe(true)
        expect(new Set(callers).size).toBe(1)
      })
    )

    test(
      "one after the other are told apart",
      Effect.gen(function* () {
        const { allowed, callers, connect, denied, port } = yield* guarded("127.0.0.1")
        const from = yield* freePort
        for (const [issued, isAllowed] of [
          [allowed, true],
          [denied, false],
          [allowed, true],
          [denied, false]
        ] as const) {
          yield* Effect.scoped(
            Effect.gen(function* () {
              const path = yield* fromPort(from, { host: "127.0.0.1", port })
              const client = yield* connect(path.target, issued)
              const result = yield* Effect.either(client.echo({ message: "hello" }))
              expect(result._tag).toBe(isAllowed ? "Right" : "Left")
              path.close()
            })
          )
        }
        expect(callers.length).toBe(2)
      })
    )
  })
}
