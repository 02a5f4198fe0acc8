import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as ExecutionStrategy from "effect/ExecutionStrategy"
import * as Exit from "effect/Exit"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Ref from "effect/Ref"
import * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import * as SubscriptionRef from "effect/SubscriptionRef"
import { Authorizer, type CredentialsError, DevCa, type MissingPackage, type Peer, Transport } from "effect-transport"
import { EchoService } from "../gen/echo/v1/echo_pb.js"
import * as EchoNode from "./EchoNode.js"
import { type Failure, fromError } from "./Failure.js"
import * as Identities from "./Identities.js"
import type { Certificate, ConnectionView, NodesView, NodeView } from "./model.js"
import type { Choice, TransportName } from "./transports.js"

/** A node that was started, and what can be done to it. */
export interface Node {
  readonly choice: Choice
  readonly target: string
  readonly client: Transport.Client<typeof EchoService>
  readonly identities: Identities.Identities
  /** How the app's connection to it is. */
  readonly connection: Effect.Effect<ConnectionView>
  readonly kill: Effect.Effect<void, Failure>
  readonly restart: Effect.Effect<void, Failure>
  /** New keys for the node, while it is called. */
  readonly rotate: Effect.Effect<void, Failure>
  /** The app may not call any more. */
  readonly revoke: Effect.Effect<void, Failure>
  /** New keys for the app, with which it may. */
  readonly renew: Effect.Effect<void, Failure>
}

/** The echo nodes of this process, one for each transport that there is. They end with the layer. */
export class Nodes extends Context.Tag("verify/Nodes")<
  Nodes,
  {
    readonly get: (transport: TransportName) => Effect.Effect<Node, Failure>
    readonly view: Effect.Effect<NodesView>
    readonly connections: Effect.Effect<ReadonlyArray<ConnectionView>>
    /** The CA that all of them trust. */
    readonly ca: DevCa.DevCa
    /** What there is now, and then each change. */
    readonly changes: Stream.Stream<NodesView>
  }
>() {}

const certificate = (identity: Peer.Identity): Certificate => ({
  subject: identity.subject,
  names: identity.subjectAltNames,
  spiffeId: Option.getOrUndefined(identity.spiffeId),
  fingerprint: identity.fingerprint,
  notAfter: identity.notAfter.toISOString()
})

const make = (choices: ReadonlyArray<Choice>) =>
  Effect.gen(function* () {
    const ca = yield* DevCa.make()
    const views = yield* SubscriptionRef.make<NodesView>({
      version: 0,
      nodes: choices.map(({ name, title, wire }) => ({
        transport: name,
        title,
        wire,
        status: "down",
        access: "allowed",
        since: ""
      }))
    })

    const change = (name: TransportName, f: (view: NodeView) => NodeView) =>
      SubscriptionRef.update(views, ({ nodes, version }) => ({
        version: version + 1,
        nodes: nodes.map((view) => (view.transport === name ? f(view) : view))
      }))

    /** What is newer than what a page has seen is told by the time. */
    const turn = (name: TransportName, more: Partial<NodeView>) =>
      Effect.flatMap(Clock.currentTimeMillis, (now) =>
        change(name, (view) => ({ ...view, ...more, since: new Date(now).toISOString() }))
      )

    const shown = ({ authenticated }: Choice, { identity }: Identities.Identities) =>
      Effect.map(identity, (own) => (authenticated ? Option.getOrUndefined(Option.map(own, certificate)) : undefined))

    const start = (choice: Choice) =>
      Effect.gen(function* () {
        const { name } = choice
        const identities = yield* Effect.orDie(Identities.make(ca, name))
        const node = yield* Layer.build(Layer.provide(choice.layer, identities.node))
        const caller = yield* Layer.build(Layer.provide(choice.layer, identities.app))
        const scope = yield* Effect.scope
        const one = yield* Effect.makeSemaphore(1)
        let running: Scope.CloseableScope | undefined

        let seen = ""
        const onCaller = (caller: Option.Option<Peer.Identity>) =>
          Option.match(
            Option.filter(caller, ({ fingerprint }) => fingerprint !== seen),
            {
              onNone: () => Effect.void,
              onSome: (identity) => {
                seen = identity.fingerprint
                return change(name, (view) => ({ ...view, caller: certificate(identity) }))
              }
            }
          )

        const listen = (port: number) =>
          Effect.uninterruptibleMask((restore) =>
            Effect.gen(function* () {
              const own = yield* Scope.fork(scope, ExecutionStrategy.sequential)
              const listener = yield* Transport.listen([EchoNode.handlers(onCaller)], {
                port,
                gracePeriod: "0 millis",
                authorize: choice.authenticated ? Authorizer.spiffeId(Identities.appId) : Authorizer.any
              }).pipe(
                Scope.extend(own),
                Effect.provide(node),
                // What it forks would never end otherwise.
                restore,
                Effect.onError((cause) => Scope.close(own, Exit.failCause(cause)))
              )
              running = own
              yield* turn(name, {
                status: "up",
                target: listener.target,
                certificate: yield* shown(choice, identities)
              })
              return listener
            })
          )

        const { address, target } = yield* listen(0)
        const client = yield* Effect.provide(Transport.client(EchoService, target), caller)

        const connection = yield* Ref.make<ConnectionView>({ transport: name, state: "connecting" })
        yield* Transport.connection(target, { health: false }).pipe(
          Stream.runForEach(([status]) =>
            status === undefined
              ? Effect.void
              : Ref.set(connection, {
                  transport: name,
                  state: status.state,
                  reason: Option.getOrUndefined(status.reason)
                })
          ),
          Effect.provide(caller),
          // The target is that of a listener.
          Effect.orDie,
          Effect.forkScoped
        )

        /** A change of who is who, one at a time. */
        const identified = (
          effect: Effect.Effect<void, CredentialsError>,
          more: Effect.Effect<Partial<NodeView>>
        ): Effect.Effect<void, Failure> =>
          choice.authenticated
            ? one.withPermits(1)(
                effect.pipe(
                  Effect.mapError(({ message }): Failure => ({ _tag: "Internal", message, transport: name })),
                  Effect.zipRight(Effect.flatMap(more, (more) => turn(name, more)))
                )
              )
            : Effect.fail<Failure>({
                _tag: "FailedPrecondition",
                message: `nobody proves anything over ${name}`,
                transport: name
              })

        return {
          choice,
          target,
          client,
          identities,
          connection: Ref.get(connection),
          kill: one.withPermits(1)(
            Effect.uninterruptible(
              Effect.suspend(() => {
                const own = running
                running = undefined
                return own === undefined
                  ? Effect.fail<Failure>({
                      _tag: "NodeNotRunning",
                      message: `the ${name} node is down`,
                      transport: name
                    })
                  : Effect.zipRight(Scope.close(own, Exit.void), turn(name, { status: "down" }))
              })
            )
          ),
          restart: one.withPermits(1)(
            Effect.suspend(() =>
              running === undefined
                ? Effect.asVoid(Effect.mapError(listen(address.port), fromError(name)))
                : Effect.fail<Failure>({ _tag: "NodeRunning", message: `the ${name} node runs`, transport: name })
            )
          ),
          rotate: identified(
            identities.rotate,
            Effect.map(shown(choice, identities), (certificate) => ({ certificate }))
          ),
          revoke: identified(identities.revoke, Effect.succeed({ access: "revoked" as const })),
          renew: identified(identities.renew, Effect.succeed({ access: "allowed" as const }))
        } satisfies Node
      })

    const absent = (name: TransportName) => (error: MissingPackage) =>
      Effect.as(turn(name, { status: "absent", reason: error.message }), undefined)

    const nodes = new Map(
      yield* Effect.forEach(
        choices,
        (choice) =>
          start(choice).pipe(
            Effect.catchTag("MissingPackage", absent(choice.name)),
            Effect.map((node) => [choice.name, node] as const)
          ),
        { concurrency: "unbounded" }
      )
    )

    return {
      ca,
      connections: Effect.forEach(
        [...nodes.values()].flatMap((node) => (node === undefined ? [] : [node])),
        ({ connection }) => connection
      ),
      view: SubscriptionRef.get(views),
      changes: views.changes,
      get: (transport: TransportName) =>
        Effect.flatMap(SubscriptionRef.get(views), (view) => {
          const node = nodes.get(transport)
          const reason = view.nodes.find((each) => each.transport === transport)?.reason ?? "it was not started"
          return node === undefined
            ? Effect.fail<Failure>({
                _tag: "TransportAbsent",
                message: `there is no ${transport} here: ${reason}`,
                transport
              })
            : Effect.succeed(node)
        })
    }
  })

/** The nodes. What can't be started is an error, but for QUIC without its engine, which is shown as absent. */
export const layer = (choices: ReadonlyArray<Choice>) => Layer.scoped(Nodes, make(choices))
