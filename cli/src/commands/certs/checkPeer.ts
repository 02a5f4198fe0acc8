/** `certs check` of a live node: its chain, what this side would say to it, and what it says to this side. */
import { X509Certificate } from "node:crypto"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import { Credentials, HandshakeFailed, Peer, Pins, Transport, Verification } from "effect-transport"
import { Health } from "../../gen/grpc/health/v1/health_pb.js"
import * as Given from "../../shared/credentials.js"
import { exitCodes, Failure } from "../../shared/failure.js"
import * as Hint from "../../shared/hint.js"
import * as Wires from "../../shared/transport.js"
import { materialOf } from "./contents.js"
import { describe } from "./describe.js"
import { presentedBy } from "./presented.js"
import { type Checked, refused, type Verdict } from "./verdict.js"

/** What a node says to this side, which trusts it for the occasion whoever has issued its certificate. */
const saysToUs = (
  target: string,
  config: Wires.ConnectionConfig,
  own: Credentials.Tls,
  leaf: X509Certificate
): Effect.Effect<Verdict, Failure> =>
  Effect.gen(function* () {
    const pins = yield* Pins.make({ mode: "instead", all: [yield* Pins.certificate(leaf.toString())] })
    const { crl: _, trustDomains: __, ...rest } = own
    const material: Credentials.Tls = { ...rest, ca: [], pins }
    const by = `the node, which sees ${Option.isSome(own.certificate) ? own.certificate.value.identity.subject : "no certificate"}`
    const said = yield* Effect.either(
      Effect.flatMap(Transport.client(Health, target), (client) =>
        // A node that has no health answers all the same.
        Effect.catchTag(client.check({}), "Unimplemented", () => Effect.void)
      ).pipe(
        Effect.scoped,
        Effect.provide(Wires.layerWith(config, Layer.succeed(Credentials.Credentials, Credentials.make(material))))
      )
    )
    return Either.match(said, {
      onRight: (): Verdict => ({ as: "client", by, accepted: true, message: "accepted" }),
      onLeft: (error): Verdict =>
        error instanceof HandshakeFailed
          ? { ...refused("client", by, error), hint: Hint.ofHandshake(error) }
          : { as: "client", by, accepted: false, message: error.message, hint: "check --wire and the node's log" }
    })
  }).pipe(
    Effect.catchTag(
      "CredentialsError",
      (cause) => new Failure({ message: cause.message, hint: Hint.ofCredentials(cause), cause })
    )
  )

/** The chain without what only this side has added. */
const verdictOfOurs = (
  target: string,
  nameWanted: string,
  own: Credentials.Tls,
  chain: ReadonlyArray<Uint8Array>
): Verdict =>
  Either.match(Verification.verify({ peerIs: "server", chain, material: own, nameWanted, peer: target }), {
    onLeft: (error) => ({
      ...refused("server", `you, who call it ${nameWanted}`, error),
      hint: Hint.ofHandshake(error)
    }),
    onRight: ({ validUntil }) => ({
      as: "server",
      by: `you, who call it ${nameWanted}`,
      accepted: true,
      message: `accepted until ${validUntil.toISOString().slice(0, 10)}`,
      validUntil: validUntil.toISOString()
    })
  })

const nameOf = (target: string, config: Wires.ConnectionConfig): string =>
  Option.getOrElse(config.serverName, () =>
    Either.match(Peer.parseTarget(target), {
      onLeft: () => target,
      onRight: (parsed) => (parsed._tag === "Unix" ? "localhost" : parsed.host.replace(/%.*$/, "").replace(/\.$/, ""))
    })
  )

export const checkPeer = (target: string, config: Wires.ConnectionConfig) =>
  Effect.gen(function* () {
    if (config.insecure) {
      return yield* new Failure({
        message: "without TLS there is no certificate to check",
        hint: "leave --insecure away",
        exitCode: exitCodes.usage
      })
    }
    const nameWanted = nameOf(target, config)
    const context = yield* Layer.build(Given.layer(config))
    const own = yield* materialOf(Layer.succeedContext(context))
    const { chain, protocol } = yield* presentedBy(target, nameWanted, config).pipe(
      Effect.timeoutFail({
        duration: config.timeout,
        onTimeout: () =>
          new Failure({
            message: `${target} has not answered within ${Duration.format(config.timeout)}`,
            hint: "check the target and --wire, or give a longer --timeout",
            exitCode: exitCodes.handshake
          })
      })
    )
    const certificates = chain.map((der) => new X509Certificate(der))
    const [leaf] = certificates
    if (leaf === undefined) {
      return yield* new Failure({
        message: `${target} presents no certificate`,
        hint: "check --wire and the port",
        exitCode: exitCodes.handshake
      })
    }
    const checked: Checked = {
      checked: target,
      wire: config.wire,
      ...(protocol === undefined ? {} : { protocol }),
      chain: yield* Effect.forEach(certificates, describe),
      verdicts: [verdictOfOurs(target, nameWanted, own, chain), yield* saysToUs(target, config, own, leaf)]
    }
    return checked
  }).pipe(Effect.scoped)
