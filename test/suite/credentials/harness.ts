/** What the parts of the suite are given: how two sides meet, and a way to write a test of that. */
import { expect, it } from "@effect/vitest"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Metric from "effect/Metric"
import * as Option from "effect/Option"
import type * as Scope from "effect/Scope"
import { Credentials, HandshakeFailed, type HandshakeReason, Transport, TransportMetrics } from "effect-transport"
import { authority } from "../fixtures/certificates.js"
import { EchoService, echo } from "../fixtures/echo.js"
import { eventually, leavesNothing, soon, testTimeout } from "../fixtures/expect.js"
import { captureLog, type Line } from "../fixtures/observe.js"
import type { Side } from "./sides.js"

/** What happened to a client and to its listener. */
export interface Meeting {
  readonly call: Effect.Effect<string, unknown, Scope.Scope>
  readonly client: Effect.Effect<Transport.Client<typeof EchoService>, unknown, Scope.Scope>
  readonly target: string
  readonly log: ReadonlyArray<Line>
  readonly presented: { readonly [side in "client" | "server"]: Credentials.Tls["certificate"] }
}

/** What transports say of the life of connections. */
export interface RotationOptions {
  readonly maxConnectionAge?: Duration.DurationInput | undefined
  readonly gracePeriod?: Duration.DurationInput | undefined
  readonly initialReconnectBackoff?: Duration.DurationInput | undefined
  readonly rehandshakeWithin?: Duration.DurationInput | undefined
}

/** The transport under test, and what it may do without. */
export interface CredentialsSuiteOptions<E> {
  /** Makes the layer under test on whatever credentials a test has. */
  readonly layer: (options?: RotationOptions) => Layer.Layer<Transport.Transport, E, Credentials.Credentials>
  /** The same layer, with what an empty configuration leaves it. */
  readonly layerConfig: Layer.Layer<Transport.Transport, unknown, Credentials.Credentials>
  /** What it says of itself when it listens, such as "TLS". */
  readonly wire: string
  /** Whether a connection is one of TCP, so that a proxy can carry it, hold it up, change what it carries and cut it. Default true. */
  readonly tcp?: boolean | undefined
  /** Whether it works on `Credentials.insecure`. Default false. */
  readonly insecure?: boolean | undefined
  /** Whether it knows keys of RSA-PSS. Default true. */
  readonly rsaPss?: boolean | undefined
  /**
   * Why it refuses calls that were sent before their client had heard that the connection is to be left, if it does. Such
   * calls fail as not processed. Default: it runs them.
   */
  readonly refusesLateCalls?: string | undefined
}

export const make = <E>(options: CredentialsSuiteOptions<E>) => {
  const { layer, layerConfig, wire, refusesLateCalls } = options
  const build = (credentials: Layer.Layer<Credentials.Credentials, unknown>, options?: RotationOptions) =>
    Layer.build(Layer.provide(layer(options), credentials))

  const fixed = (material: Credentials.Material) => Layer.succeed(Credentials.Credentials, Credentials.make(material))

  const pki = Effect.runSync(Effect.cached(authority))

  const refusals = (reason: HandshakeReason) =>
    Effect.map(Metric.value(Metric.tagged(TransportMetrics.handshakesRefused, "reason", reason)), ({ count }) => count)

  /** A listener of one side and a client of the other. */
  const meet = (
    server: Side,
    client: Side,
    options: {
      readonly listen?: Transport.ListenOptions
      readonly handlers?: Transport.HandlersOptions<typeof EchoService>
    } = {}
  ): Effect.Effect<Meeting, unknown, Scope.Scope> =>
    Effect.gen(function* () {
      const { layer, lines } = yield* captureLog
      const known = yield* pki
      const [ours, theirs] = [yield* client(known), yield* server(known)]
      const there = yield* build(fixed(theirs))
      const here = yield* build(fixed(ours))
      const handlers = Transport.handlers(EchoService, echo, options.handlers)
      const { target } = yield* Transport.listen([handlers], options.listen).pipe(
        Effect.provide(there),
        Effect.provide(layer)
      )
      const connect = Effect.provide(Transport.client(EchoService, target), here)
      return {
        target,
        log: lines,
        presented: { client: ours.certificate, server: theirs.certificate },
        client: connect,
        call: Effect.flatMap(connect, (client) =>
          Effect.map(client.echo({ message: "hello" }), ({ message }) => message)
        )
      }
    })

  const test = (title: string, body: Effect.Effect<void, unknown, Scope.Scope>, timeout = testTimeout) =>
    it.live(title, () => leavesNothing(body), timeout)

  const agree = (title: string, server: Side, client: Side) =>
    test(
      title,
      Effect.gen(function* () {
        const { call } = yield* meet(server, client)
        expect(yield* soon(call)).toBe("hello")
      })
    )

  const expectRefusal = (meeting: Meeting, reason: HandshakeReason, refusedBy: "local" | "remote") =>
    Effect.gen(function* () {
      const before = yield* refusals(reason)
      const error = yield* Effect.flip(meeting.call)
      expect(error).toMatchObject({ _tag: "HandshakeFailed", reason, refusedBy, peer: meeting.target })
      // Both sides can say which certificate it is about, where there is one.
      if (!(error instanceof HandshakeFailed) || reason === "CertificateRequired") {
        expect(error).not.toHaveProperty("fingerprint")
      } else {
        const { identity } = Option.getOrThrow(
          refusedBy === "remote" ? meeting.presented.client : meeting.presented.server
        )
        expect(error).toMatchObject({ fingerprint: identity.fingerprint, notAfter: identity.notAfter })
      }
      if (refusedBy === "remote") {
        yield* eventually(
          Effect.map(refusals(reason), (after) => {
            expect(after).toBeGreaterThan(before)
            expect(meeting.log.some(({ level, text }) => level === "WARN" && text.startsWith("refused "))).toBe(true)
          })
        )
      }
      return error
    })

  const refuse = (title: string, server: Side, client: Side, reason: HandshakeReason, refusedBy: "local" | "remote") =>
    test(
      title,
      Effect.flatMap(meet(server, client), (meeting) => expectRefusal(meeting, reason, refusedBy))
    )

  return {
    agree,
    build,
    expectRefusal,
    fixed,
    layer,
    layerConfig,
    meet,
    pki,
    refuse,
    test,
    wire,
    refusesLateCalls,
    tcp: options.tcp ?? true,
    insecure: options.insecure ?? false,
    rsaPss: options.rsaPss ?? true
  }
}

/** What the parts of the suite are given. */
export type Suite = ReturnType<typeof make<unknown>>
