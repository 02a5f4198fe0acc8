import * as Arr from "effect/Array"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Redacted from "effect/Redacted"
import type { DevCa } from "effect-transport"
import { type TransportName, transports } from "../../shared/transports.js"
import { Join, type NodeEvent, Rest, Work } from "../protocol.js"
import * as FiberHost from "./FiberHost.js"
import * as Member from "./Member.js"
import * as ProcessHost from "./ProcessHost.js"

interface Options {
  readonly ca: DevCa.DevCa
  readonly transport: TransportName
  readonly names: Arr.NonEmptyReadonlyArray<string>
  readonly hear: (name: string, event: NodeEvent) => Effect.Effect<void>
}

/** Nodes that know each other, on loopback. All of them end with the scope. */
export const make = ({ ca, hear, names, transport }: Options) =>
  Effect.gen(function* () {
    const host = transports[transport].nodes === "processes" ? ProcessHost.start : FiberHost.start
    const lost = yield* Deferred.make<never, Member.NodeLost>()
    const members = new Map<string, Member.Member>()

    const start = (name: string, port: number) =>
      Effect.gen(function* () {
        const { cert, key } = yield* ca.issue({ names: [name, "127.0.0.1"] })
        const environment = {
          NODE_NAME: name,
          NODE_PORT: String(port),
          NODE_TRANSPORT: transport,
          TRANSPORT_CA: ca.ca,
          TRANSPORT_CERT: cert,
          TRANSPORT_KEY: Redacted.value(key)
        }
        const member = yield* Member.start({ host, name, environment, lost, hear: (event) => hear(name, event) })
        members.set(name, member)
        return member
      })

    const join = (member: Member.Member) => {
      const others = [...members.values()].filter((other) => other !== member)
      return Effect.zipRight(member.order(new Join({ peers: others.map(({ address }) => address) })), member.ready)
    }

    const all = <A, E, R>(f: (member: Member.Member) => Effect.Effect<A, E, R>) =>
      Effect.suspend(() => Effect.forEach(members.values(), f, { concurrency: "unbounded", discard: true }))

    const member = (name: string) => Option.getOrThrow(Option.fromNullable(members.get(name)))

    const started = yield* Effect.forEach(names, (name) => start(name, 0), { concurrency: "unbounded" })
    yield* all(join)
    yield* all(({ order }) => order(new Work()))

    return {
      addresses: Arr.map(started, ({ address }) => address),
      /** Fails when a node ends that nobody has ended. */
      lost: Deferred.await(lost),
      kill: (name: string) => member(name).kill,
      /** Starts a node that was killed on the port that it had, and completes when it has what its peers have. */
      restart: (name: string) =>
        Effect.gen(function* () {
          const returned = yield* start(name, member(name).port)
          const ready = yield* join(returned)
          yield* returned.order(new Work())
          return ready
        }),
      /** Has all nodes submit nothing new. They go on making blocks of what was submitted. */
      rest: all((member) => Effect.zipRight(member.order(new Rest()), member.resting)),
      leave: all((member) => member.leave)
    }
  })
