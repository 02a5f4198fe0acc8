/** Who the node and the app of one transport are, whom they trust, and how that changes while they talk. */
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import { Credentials, type CredentialsError, type DevCa, type Peer } from "effect-transport"
import * as Rotating from "./Rotating.js"
import type { TransportName } from "./transports.js"

export const appId = "spiffe://verify/app"

export interface Identities {
  readonly node: Layer.Layer<Credentials.Credentials>
  readonly app: Layer.Layer<Credentials.Credentials>
  /** The node's own, as its current certificate says. */
  readonly identity: Effect.Effect<Option.Option<Peer.Identity>>
  /** Gives the node a new key and certificate, which the app pins before the node shows it. */
  readonly rotate: Effect.Effect<void, CredentialsError>
  /** Puts the certificate of the app on the revocation list that the node has. */
  readonly revoke: Effect.Effect<void, CredentialsError>
  /** Gives the app a new key and certificate. */
  readonly renew: Effect.Effect<void, CredentialsError>
  /** A certificate that the node has had on its list from the start. */
  readonly revoked: DevCa.Issued
}

const identityOf = (material: Credentials.Material) =>
  material._tag === "Tls" ? Option.map(material.certificate, ({ identity }) => identity) : Option.none()

/** What a certificate and its key are, before any transport uses them. */
const identityIn = (issued: DevCa.Issued, ca: string) =>
  Layer.build(Credentials.layerPem({ ...issued, ca })).pipe(
    Effect.flatMap((context) => Context.get(context, Credentials.Credentials).current),
    Effect.map(identityOf),
    Effect.scoped
  )

/** Each transport has a node and an app of its own, so that what is done to one is not done to the others. */
export const make = (ca: DevCa.DevCa, name: TransportName) =>
  Effect.gen(function* () {
    const issueNode = ca.issue({ names: [`${name}-node`, "127.0.0.1"], spiffeId: `spiffe://verify/${name}-node` })
    const issueApp = ca.issue({ names: ["verify-app"], spiffeId: appId })
    const revoked = yield* ca.issue({ names: ["verify-app"], spiffeId: appId })
    const listed: Array<DevCa.Issued> = [revoked]
    let own = yield* issueNode
    let app = yield* issueApp
    /** The certificates that the app takes for the node's: of two while one replaces the other. */
    let pins: ReadonlyArray<string> = []

    const pinned = Effect.map(
      Effect.suspend(() => identityIn(own, ca.ca)),
      (identity) => {
        pins = Option.match(identity, {
          onNone: () => pins,
          onSome: ({ fingerprint }) => [...pins.slice(-1), `certificate:${fingerprint}`]
        })
      }
    )
    const nodeOptions = Effect.suspend(() =>
      Effect.map(ca.crl({ revoked: listed }), (crl) => ({ ...own, ca: ca.ca, crl }))
    )
    const appOptions = () => ({ ...app, ca: ca.ca, pins: { all: pins } })

    yield* pinned
    const node = yield* Effect.flatMap(nodeOptions, Rotating.make)
    const caller = yield* Rotating.make(appOptions())

    const toNode = Effect.flatMap(nodeOptions, node.replace)
    const toApp = Effect.suspend(() => caller.replace(appOptions()))
    const identities: Identities = {
      node: node.layer,
      app: caller.layer,
      identity: Effect.map(node.current, identityOf),
      rotate: Effect.gen(function* () {
        own = yield* issueNode
        yield* pinned
        yield* toApp
        yield* toNode
      }),
      revoke: Effect.suspend(() => {
        listed.push(app)
        return toNode
      }),
      renew: Effect.gen(function* () {
        app = yield* issueApp
        yield* toApp
      }),
      revoked
    }
    return identities
  })
