/** The connection of a client with several endpoints, shared by all clients of one transport that ask for the same. */
import * as Effect from "effect/Effect"
import * as Equal from "effect/Equal"
import * as Hash from "effect/Hash"
import * as Queue from "effect/Queue"
import * as RcMap from "effect/RcMap"
import * as Schedule from "effect/Schedule"
import * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import type { BalanceOptions, EndpointStatus } from "../Transport/Balancing.js"
import type { Connection } from "../Transport/Connection.js"
import * as Boundary from "../Transport/internal/boundary.js"
import * as CallMetrics from "../Transport/internal/callMetrics.js"
import { type ConnectError, DeadlineExceeded } from "../Transport/TransportError.js"
import type { TransportService } from "../Transport/TransportService.js"
import type { Discovery } from "./Discovery.js"
import * as Balancer from "./internal/balancing/balancer.js"
import * as Calls from "./internal/balancing/calls.js"
import * as Settings from "./internal/balancing/settings.js"

/** What is to be reached: as it was asked for, which tells it from others, and where its endpoints are. */
export interface Reached {
  readonly target: unknown
  readonly discovery: Discovery
}

interface Key extends Reached, Equal.Equal {
  readonly settings: Settings.Settings
  readonly text: string
}

const makeKey = ({ discovery, target }: Reached, settings: Settings.Settings): Key => {
  const text = Settings.keyOf(settings)
  const hash = Hash.string(text)
  return {
    target,
    discovery,
    settings,
    text,
    [Hash.symbol]: () => hash,
    [Equal.symbol]: (that: Equal.Equal) => {
      const other = that as Key
      return other.target === target && other.text === text && Settings.isSameBalance(other.settings, settings)
    }
  }
}

interface Balanced {
  readonly balancer: Balancer.Balancer
  readonly connection: Connection
}

/** The balancers of one transport. */
interface Balancers {
  readonly get: (key: Key) => Effect.Effect<Balanced, never, Scope.Scope>
  /** That of the clients that there are, by target: whoever looks on wants to see theirs. */
  readonly keys: Map<unknown, Key>
}

const ofTransport = new WeakMap<TransportService, Balancers>()

const start = (transport: TransportService, { discovery, settings }: Key) =>
  Effect.gen(function* () {
    const boundary = yield* Boundary.make
    const balancer = yield* Balancer.make({
      transport,
      source: discovery.source,
      label: discovery.name,
      settings,
      boundary
    })
    const methods = CallMetrics.client(transport.metrics ?? true, transport.system, discovery.name)
    return { balancer, connection: Calls.make(balancer, settings.balance, methods) }
  })

const balancersOf = (transport: TransportService): Effect.Effect<Balancers> =>
  Effect.suspend(() => {
    const known = ofTransport.get(transport)
    if (known !== undefined) {
      return Effect.succeed(known)
    }
    const keys = new Map<unknown, Key>()
    // The map holds nothing beyond its entries, each of which ends with its last user.
    return Effect.map(
      Effect.flatMap(Scope.make(), (scope) =>
        Scope.extend(
          RcMap.make({
            lookup: (key: Key) =>
              Effect.zipRight(
                Effect.acquireRelease(
                  Effect.sync(() => keys.set(key.target, key)),
                  () => Effect.sync(() => keys.get(key.target) === key && keys.delete(key.target))
                ),
                start(transport, key)
              )
          }),
          scope
        )
      ),
      (entries) => {
        const made = ofTransport.get(transport) ?? { get: (key: Key) => RcMap.get(entries, key), keys }
        ofTransport.set(transport, made)
        return made
      }
    )
  })

/** A balancer that found nothing and failed with nothing within this time never will: a stream that is silent. */
const patience = "15 seconds"

/** Completes when a call can run, or when it is clear that none can. */
const ready = (
  { changed, isClosed, label, pick, start, whyNot }: Balancer.Balancer,
  waitForReady: boolean
): Effect.Effect<void, ConnectError> =>
  Effect.gen(function* () {
    start()
    while (!isClosed()) {
      const errors = whyNot()
      if (errors !== undefined) {
        const error = Calls.summary(errors, label)
        return yield* waitForReady && error._tag !== "HandshakeFailed" && error._tag !== "InvalidArgument"
          ? Effect.void
          : Effect.fail(error)
      }
      if (pick(undefined) !== undefined) {
        return
      }
      yield* changed
    }
  }).pipe(
    Effect.timeoutFail({
      duration: patience,
      onTimeout: () => new DeadlineExceeded({ message: `no connection to ${label} in time`, peer: label })
    }),
    Effect.catchTag("DeadlineExceeded", (error) => (waitForReady ? Effect.void : Effect.fail(error)))
  )

/** The connection to what was asked for, and to all others who ask alike, until the last of them is done. */
export const connect = (
  transport: TransportService,
  reached: Reached,
  options: BalanceOptions & { readonly waitForReady?: boolean | undefined }
): Effect.Effect<Connection, ConnectError, Scope.Scope> =>
  Effect.gen(function* () {
    const settings = Settings.make(options)
    const balancers = yield* balancersOf(transport)
    const { balancer, connection } = yield* balancers.get(makeKey(reached, settings))
    if (!settings.isLazy) {
      yield* ready(balancer, options.waitForReady ?? false)
    }
    return connection
  })

const measuredEvery = "5 seconds"

/** The states of all endpoints now, and after each change: those that the clients of a target have, or else its own. */
export const states = (
  transport: TransportService,
  reached: Reached,
  options: BalanceOptions
): Stream.Stream<ReadonlyArray<EndpointStatus>> =>
  Stream.unwrapScoped(
    Effect.gen(function* () {
      const balancers = yield* balancersOf(transport)
      const key = balancers.keys.get(reached.target) ?? makeKey(reached, Settings.make(options))
      const { balancer } = yield* balancers.get(key)
      const changes = yield* Queue.sliding<void>(1)
      const tell = () => {
        Queue.unsafeOffer(changes, undefined)
      }
      tell()
      yield* Effect.acquireRelease(
        Effect.sync(() => balancer.onChange(tell)),
        (stop) => Effect.sync(stop)
      )
      if (!key.settings.isLazy) {
        balancer.start()
      }
      yield* Effect.forkScoped(Effect.repeat(balancer.measure, Schedule.spaced(measuredEvery)))
      return Stream.map(Stream.fromQueue(changes), balancer.statuses)
    })
  )
