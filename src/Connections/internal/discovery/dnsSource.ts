/** Endpoints by DNS: the addresses of a name, or the targets of its SRV records. */
import type * as Dns from "node:dns"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as LogLevel from "effect/LogLevel"
import { type Boundary, escapeText } from "../../../Transport/internal/boundary.js"
import * as Unreachable from "../../../Transport/internal/unreachable.js"
import { type ConnectError, DeadlineExceeded, InvalidArgument } from "../../../Transport/TransportError.js"
import * as Addresses from "../../Addresses.js"
import type { Input } from "./endpoints.js"
import * as Lookups from "./lookups.js"
import * as Names from "./names.js"
import * as Polling from "./polling.js"
import * as Resolver from "./resolver.js"
import type { Source } from "./source.js"

/** What is asked of whom. */
export interface Options {
  /** As in errors and logs: `"dns:///name:port"`. */
  readonly label: string
  /** Those of the system where undefined. */
  readonly servers: ReadonlyArray<string> | undefined
  readonly interval: Duration.Duration
}

/** Targets of one SRV answer, each of which is asked for. */
const maxTargets = 256
const concurrentTargets = 8

/** An answer that holds for no time at all would be asked for without end. */
const minMillis = 1000

const millisOf = (ttl: number) => Math.max(minMillis, ttl * 1000)

const late = (label: string) => () =>
  new DeadlineExceeded({
    message: `no connection to ${label} in time: its name is still being looked up`,
    peer: label
  })

const none = (label: string) => Unreachable.unreachable(label, new Error("its name has no address"))

/** The addresses of a name by the system's own resolver: hosts file, DNS, and what else it is configured for. */
export const system = (name: string, port: number, { interval, label }: Omit<Options, "servers">): Source =>
  Polling.make(
    Lookups.run(() => Addresses.resolve(name)).pipe(
      Effect.mapError((cause) => Unreachable.unreachable(label, cause)),
      Effect.filterOrFail(
        (addresses) => addresses.length > 0,
        () => none(label)
      ),
      Effect.map((addresses) => ({ endpoints: Names.endpointsOf(addresses, port, { hostName: name }) }))
    ),
    interval,
    late(label)
  )

/** Makes a source of a resolver; one that can't be made fails for good. */
const withResolver =
  (
    { interval, label, servers }: Options,
    ask: (resolver: Resolver.Resolver, boundary: Boundary) => Effect.Effect<Polling.Answer, ConnectError>
  ): Source =>
  (sink) =>
    Effect.flatMap(Effect.exit(Resolver.make(servers)), (resolver) => {
      if (resolver._tag === "Failure") {
        const message = `${label} names a DNS server that is no address: ${(servers ?? []).map((each) => escapeText(String(each))).join(", ")}`
        sink.failed(new InvalidArgument({ message, peer: label }))
        return Effect.succeed({ again: () => undefined })
      }
      return Polling.make(ask(resolver.value, sink.boundary), interval, late(label))(sink)
    })

/** The addresses of a name by DNS servers. */
export const addresses = (name: string, port: number, options: Options): Source =>
  withResolver(options, (resolver) =>
    resolver.addresses(name).pipe(
      Effect.mapError((cause) => Unreachable.unreachable(options.label, cause)),
      Effect.map(({ addresses, ttl }) => ({
        endpoints: Names.endpointsOf(addresses, port, { hostName: name }),
        validMillis: millisOf(ttl)
      }))
    )
  )

/** A host that certificates and resolvers can know. RFC 2782: a single dot says that there is no such service. */
const isHost = (name: string): boolean => name.length <= 253 && /^[\w-]{1,63}(\.[\w-]{1,63})*\.?$/.test(name)

const isUsable = ({ name, port }: Dns.SrvRecord): boolean => isHost(name) && port >= 1 && port <= 65535

/** The targets of the SRV records of a name: an endpoint each, with its weight and priority. */
export const services = (name: string, options: Options): Source =>
  withResolver(options, (resolver, boundary) =>
    Effect.gen(function* () {
      const { label } = options
      const records = yield* Effect.mapError(resolver.services(name), (cause) => Unreachable.unreachable(label, cause))
      const usable = records.filter(isUsable).slice(0, maxTargets)
      if (usable.length < records.length) {
        boundary.log(
          LogLevel.Warning,
          "srv-records",
          `${records.length - usable.length} SRV records of ${escapeText(name)} were left out: no host, or more than ${maxTargets}`
        )
      }
      let ttl = Number.POSITIVE_INFINITY
      let failure: unknown
      const found = yield* Effect.forEach(
        usable,
        ({ name: host, port, priority, weight }) =>
          resolver.addresses(host).pipe(
            Effect.map((answer): ReadonlyArray<Input> => {
              ttl = Math.min(ttl, answer.ttl)
              // A weight of 0 is one that is hardly ever chosen beside others.
              return Names.endpointOf(answer.addresses, port, { hostName: host, priority, weight: weight || 0.01 })
            }),
            Effect.catchAll((cause) =>
              Effect.sync((): ReadonlyArray<Input> => {
                failure ??= cause
                return []
              })
            )
          ),
        { concurrency: concurrentTargets }
      )
      const endpoints = found.flat()
      if (endpoints.length === 0) {
        return yield* failure === undefined ? none(label) : Unreachable.unreachable(label, failure)
      }
      return { endpoints, validMillis: millisOf(ttl) }
    })
  )
