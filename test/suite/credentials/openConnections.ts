/** Open connections: they end when their peer is trusted no more. */
import { describe, expect } from "@effect/vitest"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Metric from "effect/Metric"
import * as Stream from "effect/Stream"
import * as SubscriptionRef from "effect/SubscriptionRef"
import {
  Credentials,
  type CredentialsError,
  type DevCa,
  type HandshakeReason,
  Pins,
  Transport,
  TransportMetrics
} from "effect-transport"
import { loopbackNames, rawMaterial } from "../fixtures/certificates.js"
import * as Lists from "../fixtures/crl.js"
import { EchoService, echo } from "../fixtures/echo.js"
import { eventually, soon, within } from "../fixtures/expect.js"
import { holder, issued, mint } from "../fixtures/mint.js"
import { captureLog } from "../fixtures/observe.js"
import type { Suite } from "./harness.js"
import type { Pki } from "./sides.js"

export const openConnections = ({ build, fixed, pki, test }: Suite): void => {
  describe("open connections", () => {
    /** Credentials that a test replaces. */
    const changing = (material: Credentials.Tls) =>
      Effect.map(SubscriptionRef.make<Credentials.Material>(material), (ref) => ({
        service: { current: SubscriptionRef.get(ref), changes: ref.changes } satisfies Credentials.CredentialsService,
        become: (next: Partial<Credentials.Tls>) => SubscriptionRef.set(ref, { ...material, ...next })
      }))

    const rejections = (reason: HandshakeReason) =>
      Effect.map(
        Metric.value(Metric.tagged(TransportMetrics.connectionsRejected, "reason", reason)),
        ({ count }) => count
      )

    /** A client with a call that goes on, both with credentials that change. */
    const opened = (theirs: Credentials.Tls, ours: Credentials.Tls, listenOptions?: Transport.ListenOptions) =>
      Effect.gen(function* () {
        const { layer, lines } = yield* captureLog
        const server = yield* changing(theirs)
        const client = yield* changing(ours)
        const interrupted = yield* Deferred.make<void>()
        const handlers = Transport.handlers(EchoService, {
          ...echo,
          echoServerStream: () =>
            Stream.concat(Stream.make({}), Stream.never).pipe(Stream.ensuring(Deferred.succeed(interrupted, undefined)))
        })
        const on = (service: Credentials.CredentialsService) =>
          Effect.provide(build(Layer.succeed(Credentials.Credentials, service)), layer)
        const there = yield* on(server.service)
        const { target } = yield* Transport.listen([handlers], listenOptions).pipe(
          Effect.provide(there),
          Effect.provide(layer)
        )
        const echoes = yield* Effect.provide(Transport.client(EchoService, target), yield* on(client.service))
        const begun = yield* Deferred.make<void>()
        const stream = yield* Effect.fork(
          Effect.flip(Stream.runForEach(echoes.echoServerStream({}), () => Deferred.succeed(begun, undefined)))
        )
        yield* soon(Deferred.await(begun))
        const call = echoes.echo({ message: "again" }, { timeout: "25 seconds" })
        const goesOn = Effect.gen(function* () {
          expect((yield* call).message).toBe("again")
          expect(stream.unsafePoll()).toBe(null)
        })
        /** The connection has ended for the reason, on both sides, and there is no other. */
        const isClosed = (reason: HandshakeReason, by: "listener" | "client", before: number) =>
          Effect.gen(function* () {
            expect(yield* within(Fiber.join(stream), "5 seconds")).toMatchObject({ _tag: "Unavailable" })
            yield* within(Deferred.await(interrupted), "3 seconds")
            yield* eventually(
              Effect.map(Effect.either(call), (result) =>
                expect(result).toMatchObject({
                  left: { _tag: "HandshakeFailed", reason, refusedBy: by === "listener" ? "remote" : "local" }
                })
              ),
              "5 seconds"
            )
            expect(yield* rejections(reason)).toBe(before + 1)
            const said = lines.filter(({ text }) =>
              text.startsWith("a peer is not admitted any more, closing its connection: ")
            )
            expect(said.map(({ level }) => level)).toEqual(["WARN"])
          })
        return { call, client, goesOn, isClosed, lines, server, stream, target }
      })

    const sides = (known: Pki) => ({
      server: rawMaterial(known.good, known.trusted.ca),
      client: rawMaterial(known.client, known.trusted.ca)
    })

    type Change = (known: Pki, judged: "good" | "client") => Effect.Effect<Partial<Credentials.Tls>, CredentialsError>

    const changes: ReadonlyArray<readonly [string, HandshakeReason, Change]> = [
      ["is revoked", "Revoked", (known, judged) => revocation(known, judged)],
      ["has lost its CA", "UntrustedIssuer", (known) => Effect.succeed({ ca: [known.other.ca] })],
      ["is pinned no more", "PinMismatch", (known) => pinsOf(known.selfSigned, "additional")],
      [
        "has no pin where pins stand instead",
        "PinMismatch",
        (known) => Effect.map(pinsOf(known.selfSigned, "instead"), (pins) => ({ ...pins, ca: [] }))
      ],
      [
        "has a trust domain that is bound to another CA",
        "NotAuthorized",
        (known) => Effect.succeed({ trustDomains: { mesh: [known.other.ca] } })
      ]
    ]

    const revocation = (known: Pki, which: "good" | "client") =>
      Effect.map(known.trusted.crl({ revoked: [known[which]] }), (crl) => ({ crl: [crl] }))

    const pinsOf = (issued: DevCa.Issued, mode: "additional" | "instead") =>
      Effect.gen(function* () {
        return { pins: yield* Pins.make({ mode, all: [yield* Pins.publicKey(issued.cert)] }) }
      })

    for (const [title, reason, change] of changes) {
      for (const by of ["listener", "client"] as const) {
        test(
          `a ${by} closes the connection of a peer that ${title}`,
          Effect.gen(function* () {
            const known = yield* pki
            const meshed = yield* known.trusted.issue({ names: loopbackNames, spiffeId: "spiffe://mesh/server" })
            const { client, server } = { ...sides(known), server: rawMaterial(meshed, known.trusted.ca) }
            const meeting = yield* opened(server, client)
            const before = yield* rejections(reason)
            const side = by === "listener" ? meeting.server : meeting.client
            yield* side.become(yield* change({ ...known, good: meshed }, by === "listener" ? "client" : "good"))
            yield* meeting.isClosed(reason, by, before)
          })
        )
      }
    }

    test(
      "a listener closes the connection of a peer whose authorizer has changed its mind",
      Effect.gen(function* () {
        const { client, server } = sides(yield* pki)
        let mayConnect = true
        const meeting = yield* opened(server, client, { authorize: () => mayConnect })
        mayConnect = false
        const before = yield* rejections("NotAuthorized")
        yield* meeting.server.become({})
        yield* meeting.isClosed("NotAuthorized", "listener", before)
      })
    )

    test(
      "they stay where the peer is trusted as before",
      Effect.gen(function* () {
        const known = yield* pki
        const { client, server } = sides(known)
        const meeting = yield* opened(server, client)
        const judged = yield* Effect.forEach(
          ["UntrustedIssuer", "BadCertificate", "Revoked", "NotAuthorized"] as const,
          rejections
        )
        for (const next of [
          { ca: [known.other.ca, known.trusted.ca] },
          { ...(yield* revocation(known, "good")) },
          yield* pinsOf(known.client, "additional"),
          { trustDomains: { mesh: [known.trusted.ca] } }
        ]) {
          yield* meeting.server.become(next)
          yield* meeting.goesOn
        }
        yield* meeting.client.become({ ca: [known.other.ca, known.trusted.ca] })
        yield* meeting.goesOn
        // Long enough for whoever would close it.
        yield* Effect.sleep("100 millis")
        yield* meeting.goesOn
        expect(
          yield* Effect.forEach(["UntrustedIssuer", "BadCertificate", "Revoked", "NotAuthorized"] as const, rejections)
        ).toEqual(judged)
      })
    )

    const inTwoSeconds = Effect.sync(() => new Date(Math.ceil(Date.now() / 1000) * 1000 + 2000))

    for (const by of ["listener", "client"] as const) {
      test(
        `a ${by} closes the connection of a peer whose certificate expires`,
        Effect.gen(function* () {
          const known = yield* pki
          const brief = yield* known.trusted.issue({ names: loopbackNames, notAfter: yield* inTwoSeconds })
          const material = sides(known)
          const meeting = yield* opened(
            by === "listener" ? material.server : rawMaterial(brief, known.trusted.ca),
            by === "listener" ? rawMaterial(brief, known.trusted.ca) : material.client
          )
          const before = yield* rejections("Expired")
          yield* meeting.isClosed("Expired", by, before)
        })
      )
    }

    for (const by of ["listener", "client"] as const) {
      test(
        `a ${by} closes the connection of a peer when its list of those that are revoked gets out of date`,
        Effect.gen(function* () {
          const made = yield* Lists.certificateAuthority
          const [server, client] = [yield* made.issue("77"), yield* made.issue("78")]
          const crl = [Lists.pem(made.list({ nextUpdate: (yield* inTwoSeconds).getTime() }))]
          const judging = (side: "listener" | "client") => (side === by ? { crl } : {})
          const meeting = yield* opened(
            { ...rawMaterial(server, made.ca), ...judging("listener") },
            { ...rawMaterial(client, made.ca), ...judging("client") }
          )
          const before = yield* rejections("BadCertificate")
          yield* meeting.isClosed("BadCertificate", by, before)
        })
      )
    }

    test(
      "a listener closes the connection of a peer whose intermediate CA expires",
      Effect.gen(function* () {
        const [root, middle, leaf] = [yield* holder("root"), yield* holder("middle"), yield* holder("leaf")]
        const ca = yield* mint(root, root)
        const above = yield* mint(middle, root, { notAfter: yield* inTwoSeconds })
        const brief = yield* issued(leaf, yield* mint(leaf, middle, { names: loopbackNames }), above)
        const { server } = sides(yield* pki)
        const known = yield* pki
        const meeting = yield* opened({ ...server, ca: [ca] }, rawMaterial(brief, known.trusted.ca))
        const before = yield* rejections("Expired")
        yield* meeting.isClosed("Expired", "listener", before)
      })
    )

    test(
      "one that is made while the credentials change is judged by the new ones",
      Effect.gen(function* () {
        const known = yield* pki
        const { client, server } = sides(known)
        const theirs = yield* changing(server)
        const there = yield* build(Layer.succeed(Credentials.Credentials, theirs.service))
        const handlers = Transport.handlers(EchoService, echo)
        const { target } = yield* Effect.provide(Transport.listen([handlers]), there)
        const here = yield* build(fixed(client))
        const crl = yield* revocation(known, "client")
        const connecting = yield* Effect.fork(
          Effect.either(Effect.provide(Transport.client(EchoService, target), here))
        )
        yield* theirs.become(crl)
        const made = yield* Fiber.join(connecting)
        if (Either.isRight(made)) {
          yield* eventually(
            Effect.map(Effect.either(made.right.echo({}, { timeout: "2 seconds" })), (result) =>
              expect(result).toMatchObject({ left: { _tag: "HandshakeFailed", reason: "Revoked" } })
            ),
            "5 seconds"
          )
        } else {
          expect(made.left).toMatchObject({ _tag: "HandshakeFailed", reason: "Revoked" })
        }
      })
    )
  })
}
