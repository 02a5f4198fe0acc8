/** Those who try to get in where they may not, and the reason that each is given. */
import { createSocket } from "node:dgram"
import { connect } from "node:net"
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import type * as Scope from "effect/Scope"
import {
  type BindError,
  type CallError,
  type ConnectError,
  Credentials,
  type CredentialsError,
  DevCa,
  type MissingPackage,
  Transport
} from "effect-transport"
import { EchoService } from "../gen/echo/v1/echo_pb.js"
import * as EchoNode from "./EchoNode.js"
import type { Failure } from "./Failure.js"
import { appId } from "./Identities.js"
import type { Attempted, IntruderName } from "./model.js"
import { type Node, Nodes } from "./Nodes.js"
import type { TransportName } from "./transports.js"

/** How long each may try. */
const patience = "5 seconds"

interface Scene {
  readonly node: Node
  readonly ca: DevCa.DevCa
}

type Outcome = Pick<Attempted, "admitted" | "reason" | "refusedBy" | "message">

type Attempt = Effect.Effect<Outcome, never, Scope.Scope>

const admitted: Outcome = { admitted: true, reason: "none", message: "the call was answered" }

const refused = (error: CallError | ConnectError | CredentialsError | BindError | MissingPackage): Outcome => {
  const { _tag, message } = error
  switch (error._tag) {
    case "HandshakeFailed":
      return { admitted: false, reason: error.reason, refusedBy: error.refusedBy, message }
    case "CredentialsError":
      return { admitted: false, reason: error.reason, refusedBy: "local", message }
    default:
      return { admitted: false, reason: _tag, message }
  }
}

const toOutcome = Effect.match({ onFailure: refused, onSuccess: () => admitted })

/** One call with credentials of its own. */
const callWith = ({ node: { choice } }: Scene, target: string, options: Credentials.PemOptions): Attempt =>
  Effect.gen(function* () {
    const credentials = yield* Layer.build(Credentials.layerPem(options))
    const transport = yield* Layer.build(Layer.provide(choice.layer, Layer.succeedContext(credentials)))
    const client = yield* Effect.provide(Transport.client(EchoService, target), transport)
    yield* client.echo({ message: "let me in" }, { timeout: patience })
  }).pipe(toOutcome)

const issued = (scene: Scene, options: DevCa.IssueOptions, ca = scene.ca) =>
  Effect.flatMap(ca.issue(options), (own) => callWith(scene, scene.node.target, { ...own, ca: scene.ca.ca }))

/**
 * Shows a certificate that expires between the moment in which it is loaded and that in which it is shown, because nobody
 * can load one that has expired. A slow machine needs one that lives longer.
 */
const expired = (scene: Scene, lifeMillis = 2_000): Attempt =>
  Effect.gen(function* () {
    const notAfter = new Date((yield* Clock.currentTimeMillis) + lifeMillis)
    const own = yield* scene.ca.issue({ names: ["verify-app"], spiffeId: appId, notAfter })
    const credentials = yield* Layer.build(Credentials.layerPem({ ...own, ca: scene.ca.ca }))
    const transport = yield* Layer.build(Layer.provide(scene.node.choice.layer, Layer.succeedContext(credentials)))
    // A certificate counts whole seconds.
    yield* Effect.sleep(notAfter.getTime() + 1_000 - (yield* Clock.currentTimeMillis))
    const client = yield* Effect.provide(Transport.client(EchoService, scene.node.target), transport)
    yield* client.echo({ message: "let me in" }, { timeout: patience })
  }).pipe(
    toOutcome,
    Effect.flatMap((outcome) =>
      outcome.refusedBy === "local" && lifeMillis < 10_000 ? expired(scene, 3 * lifeMillis) : Effect.succeed(outcome)
    )
  )

/** A node under another name, at an address where the app looks for its own: it is the app that refuses. */
const wrongName = (scene: Scene): Attempt =>
  Effect.gen(function* () {
    const own = yield* scene.ca.issue({ names: ["somebody-else"] })
    const impostor = yield* Layer.build(
      Layer.provide(scene.node.choice.layer, Credentials.layerPem({ ...own, ca: scene.ca.ca }))
    )
    const { target } = yield* Effect.provide(
      Transport.listen([EchoNode.handlers(() => Effect.void)], { gracePeriod: 0 }),
      impostor
    )
    const app = yield* scene.ca.issue({ names: ["verify-app"], spiffeId: appId })
    return yield* callWith(scene, target, { ...app, ca: scene.ca.ca })
  }).pipe(Effect.catchAll((error) => Effect.succeed(refused(error))))

const portOf = (target: string) => Number(target.slice(target.lastIndexOf(":") + 1))

const request = "GET / HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n"

const notUnderstood = (message: string): Outcome => ({ admitted: false, reason: "NoCommonProtocol", message })

/** Bytes without TLS over TCP. What comes back is counted, and is no answer to a request. */
const plainTcp = (target: string): Effect.Effect<Outcome> =>
  Effect.async((resume) => {
    let bytes = 0
    const socket = connect({ host: "127.0.0.1", port: portOf(target) }, () => socket.write(request))
    const end = () =>
      resume(Effect.succeed(notUnderstood(`closed after ${bytes === 0 ? "no answer" : `${bytes} bytes that say why`}`)))
    socket.on("data", (data) => {
      bytes += data.length
    })
    socket.once("error", end).once("close", end)
    return Effect.sync(() => socket.destroy())
  })

/** A datagram that is no packet of QUIC gets no answer at all. */
const plainUdp = (target: string): Effect.Effect<Outcome> =>
  Effect.async<Outcome>((resume) => {
    const socket = createSocket("udp4")
    socket.once("message", () => resume(Effect.succeed(notUnderstood("answered with a packet"))))
    socket.once("error", ({ message }) => resume(Effect.succeed(notUnderstood(message))))
    socket.send(request, portOf(target), "127.0.0.1")
    return Effect.sync(() => socket.close())
  }).pipe(
    Effect.timeoutTo({
      duration: "1 second",
      onSuccess: (outcome) => outcome,
      onTimeout: () => notUnderstood("no answer: what is no packet is dropped")
    })
  )

const plainText = ({ node: { choice, target } }: Scene): Attempt =>
  choice.name === "quic"
    ? plainUdp(target)
    : Effect.timeoutTo(plainTcp(target), {
        duration: patience,
        onSuccess: (outcome) => outcome,
        onTimeout: () => notUnderstood("neither answered nor closed")
      })

const intruders: { readonly [name in IntruderName]: (scene: Scene) => Attempt } = {
  noCertificate: (scene) => callWith(scene, scene.node.target, { ca: scene.ca.ca }),
  otherCa: (scene) =>
    Effect.flatMap(DevCa.make({ commonName: "somebody else's CA" }), (other) =>
      issued(scene, { names: ["verify-app"], spiffeId: appId }, other)
    ),
  wrongName,
  expired: (scene) => expired(scene),
  revoked: (scene) => callWith(scene, scene.node.target, { ...scene.node.identities.revoked, ca: scene.ca.ca }),
  notAuthorized: (scene) => issued(scene, { names: ["visitor"], spiffeId: "spiffe://verify/visitor" }),
  plainText
}

/** What becomes of one of them at a node. */
export const run = (transport: TransportName, intruder: IntruderName): Effect.Effect<Attempted, Failure, Nodes> =>
  Effect.gen(function* () {
    const { ca, get } = yield* Nodes
    const node = yield* get(transport)
    if (!node.choice.authenticated) {
      return yield* Effect.fail<Failure>({
        _tag: "FailedPrecondition",
        message: `nobody proves anything over ${transport}`,
        transport
      })
    }
    const started = yield* Clock.currentTimeMillis
    const outcome = yield* Effect.scoped(intruders[intruder]({ node, ca }))
    return { transport, intruder, ...outcome, millis: (yield* Clock.currentTimeMillis) - started }
  })
