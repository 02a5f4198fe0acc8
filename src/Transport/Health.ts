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
import * as Stream from "effect/Stream"
import * as SubscriptionRef from "effect/SubscriptionRef"
import {
  Health as HealthContract,
  HealthCheckResponse_ServingStatus as ServingStatus
} from "../gen/grpc/health/v1/health_pb.js"
import * as Handlers from "./Handlers.js"
import { NotFound } from "./TransportError.js"

/**
 * @since 0.1.0
 * @category models
 */
export type Status = "SERVING" | "NOT_SERVING"

/**
 * What this process says of its services.
 *
 * @since 0.1.0
 * @category tags
 */
export class Health extends Context.Tag("effect-transport/Health")<Health, HealthService>() {}

/**
 * @since 0.1.0
 * @category models
 */
export interface HealthService {
  /** Sets the status of a service by its full name; the empty name is the whole process, which serves unless told otherwise. */
  readonly set: (service: string, status: Status) => Effect.Effect<void>
  /** The status of a service now and at every change; undefined for a service that was never set. */
  readonly changes: (service: string) => Stream.Stream<Status | undefined>
  /** All services that were set. */
  readonly all: Effect.Effect<ReadonlyMap<string, Status>>
}

/**
 * @since 0.1.0
 * @category layers
 */
export const layer: Layer.Layer<Health> = Layer.effect(
  Health,
  Effect.map(SubscriptionRef.make<ReadonlyMap<string, Status>>(new Map([["", "SERVING"]])), (statuses) => ({
    set: (service, status) => SubscriptionRef.update(statuses, (all) => new Map(all).set(service, status)),
    changes: (service) => Stream.changes(Stream.map(statuses.changes, (all) => all.get(service))),
    all: SubscriptionRef.get(statuses)
  }))
)

const reply = (status: Status | undefined) => ({
  status: status === undefined ? ServingStatus.SERVICE_UNKNOWN : ServingStatus[status]
})

/**
 * Answers health checks. Watchers are told `NOT_SERVING` when the listener begins to shut down, and let go.
 *
 * @since 0.1.0
 * @category server
 */
export const handlers: Handlers.Handlers<Health> = Handlers.handlers(HealthContract, {
  check: ({ service }, call) =>
    Effect.flatMap(Health, (health) =>
      Effect.flatMap(health.all, (all) =>
        all.has(service)
          ? Effect.succeed(reply(all.get(service)))
          : Effect.fail(new NotFound({ message: `unknown service ${service}`, method: call.method }))
      )
    ),
  watch: ({ service }, call) =>
    Stream.unwrap(
      Effect.map(Health, (health) =>
        Stream.concat(
          Stream.interruptWhen(Stream.map(health.changes(service), reply), call.draining),
          Stream.succeed(reply("NOT_SERVING"))
        )
      )
    ),
  list: () =>
    Effect.flatMap(Health, (health) =>
      Effect.map(health.all, (all) => ({
        statuses: Object.fromEntries([...all].map(([service, status]) => [service, reply(status)]))
      }))
    )
})
