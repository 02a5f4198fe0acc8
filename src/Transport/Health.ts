/**
 * The standard `grpc.health.v1.Health` service, for load balancers, orchestrators and peers.
 *
 * Source: "health-checking.md" of gRPC.
 *
 * @since 0.1.0
 */
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import {
  Health as HealthContract,
  HealthCheckResponse_ServingStatus as ServingStatus
} from "../gen/grpc/health/v1/health_pb.js"
import * as Handlers from "./Handlers.js"
import * as Served from "./internal/served.js"
import * as ServingStatuses from "./internal/servingStatuses.js"
import { InvalidArgument, NotFound, ResourceExhausted } from "./TransportError.js"

/**
 * @since 0.1.0
 * @category models
 */
export type Status = ServingStatuses.Status

/**
 * The services of one listener: they serve once it has opened, and no longer when it is about to close.
 *
 * @since 0.1.0
 * @category models
 */
export type Registration = ServingStatuses.Registration

/**
 * What this process says of its services.
 *
 * @since 0.1.0
 * @category tags
 */
export class Health extends Context.Tag("effect-transport/Health")<Health, HealthService>() {}

/**
 * What is known without being set: the whole process, which has the empty name, serves; so does each service of each
 * listener that is open and was made with this `Health` in its context, as by `Transport.serve`.
 *
 * @since 0.1.0
 * @category models
 */
export interface HealthService {
  /**
   * Sets the status of a service by its full name, or that of the whole process by the empty name, until it is set again.
   * The two are independent. Services all of whose listeners are closing are `NOT_SERVING` whatever was set.
   */
  readonly set: (service: string, status: Status) => Effect.Effect<void>
  /** Forgets what was set, so that a service serves for as long as a listener is open that has it. */
  readonly clear: (service: string) => Effect.Effect<void>
  /**
   * The status of a service now and at every change; undefined for one that was never set and no listener has. Who reads
   * slowly gets the last.
   */
  readonly changes: (service: string) => Stream.Stream<Status | undefined>
  /** All services that were set or are served. */
  readonly all: Effect.Effect<ReadonlyMap<string, Status>>
  /**
   * Tells of a listener that has these services, until the scope closes. `Transport.serve` and `Transport.listen` do so by
   * themselves.
   */
  readonly register: (services: ReadonlyArray<string>) => Effect.Effect<Registration, never, Scope.Scope>
}

/**
 * The statuses of this process: what listeners under it serve, and what is set.
 *
 * @since 0.1.0
 * @category layers
 */
export const layer: Layer.Layer<Health> = Layer.effect(Health, ServingStatuses.make)

/**
 * The contract, for clients: `Transport.client(Health.Contract, "peer-node:50051")`.
 *
 * @since 0.1.0
 * @category client
 */
export const Contract: typeof HealthContract = HealthContract

const reply = (status: Status | undefined) => ({
  status: status === undefined ? ServingStatus.SERVICE_UNKNOWN : ServingStatus[status]
})

/** The longest name that is watched, in characters: each watcher keeps its own. */
const maxNameLength = 1024

/** How many services `List` tells of, as in other implementations. */
const maxListed = 100

/** The statuses as the callers of one listener have them: while it closes, nothing of it serves. */
const statuses = Effect.gen(function* () {
  const { isClosing } = yield* Served.current
  const all = yield* (yield* Health).all
  return isClosing() ? new Map(Array.from(all.keys(), (service) => [service, "NOT_SERVING" as const])) : all
})

/**
 * Answers health checks of all that the process serves: in `Transport.serve([DagHandlers, Health.handlers])` every service
 * of the listener is `SERVING` by itself, and `Health.set` says otherwise.
 *
 * - `Check` of a service that is unknown is `NotFound`.
 * - `Watch` of one tells `SERVICE_UNKNOWN`, and goes on. Before the listener tells its peers to go away, and before it takes
 *   no more calls, watchers get `NOT_SERVING`; then their streams end. Watchers that do not read hold it up for two seconds.
 * - `List` tells of up to 100 services, and is `ResourceExhausted` where there are more.
 *
 * @since 0.1.0
 * @category server
 */
export const handlers: Handlers.Handlers<Health> = Handlers.handlers(HealthContract, {
  check: ({ service }, call) =>
    Effect.flatMap(statuses, (all) =>
      all.has(service)
        ? Effect.succeed(reply(all.get(service)))
        : Effect.fail(
            new NotFound({ message: `unknown service ${service.slice(0, maxNameLength)}`, method: call.method })
          )
    ),
  watch: ({ service }, call) =>
    service.length > maxNameLength
      ? Stream.fail(
          new InvalidArgument({ message: `a name of more than ${maxNameLength} characters`, method: call.method })
        )
      : Stream.unwrap(
          Effect.gen(function* () {
            const health = yield* Health
            const served = yield* Served.current
            const told = yield* served.telling
            const now = Stream.interruptWhen(health.changes(service), served.closing)
            return Stream.concat(now, Stream.succeed("NOT_SERVING" as const)).pipe(
              Stream.changes,
              Stream.map(reply),
              // Pulled once the wire has taken the last message.
              Stream.concat(Stream.drain(Stream.fromEffect(Effect.zipRight(told, call.draining))))
            )
          })
        ),
  list: (_, call) =>
    Effect.flatMap(statuses, (all) =>
      all.size > maxListed
        ? Effect.fail(new ResourceExhausted({ message: `more than ${maxListed} services`, method: call.method }))
        : Effect.succeed({
            statuses: Object.fromEntries(Array.from(all, ([service, status]) => [service, reply(status)]))
          })
    )
})
