/** One endpoint of a client: its connection, how it is, and how its calls went. */
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type * as Fiber from "effect/Fiber"
import { constVoid } from "effect/Function"
import * as Option from "effect/Option"
import type * as Scope from "effect/Scope"
import * as EffectFiber from "../../../effect/Fiber.js"
import type { EndpointState, EndpointStatus } from "../../../Transport/Balancing.js"
import type { Connection } from "../../../Transport/Connection.js"
import * as Unreachable from "../../../Transport/internal/unreachable.js"
import type { ConnectError } from "../../../Transport/TransportError.js"
import type { TransportService } from "../../../Transport/TransportService.js"
import type { Endpoint } from "../discovery/endpoints.js"
import * as Health from "./health.js"
import * as Outlier from "./outlier.js"
import * as Rendezvous from "./rendezvous.js"

/** What members have in common. */
export interface Host {
  readonly transport: Pick<TransportService, "connect">
  readonly health: string | undefined
  /** Runs something until the scope closes. */
  readonly run: (effect: Effect.Effect<void>) => Fiber.RuntimeFiber<void>
  /** Called with 1 when a call begins, and with -1 when it has ended. */
  readonly onCalls: (change: 1 | -1) => void
  /** Called after each change of a member's state. */
  readonly onChange: (member: Member, before: EndpointState) => void
}

export interface Member {
  endpoint: Endpoint
  readonly hash: number
  /** Of the endpoint. */
  weight: number
  pending: number
  pass: number
  state: EndpointState
  /** Whether it has failed since it was last ready: also while it is tried again. */
  hasFailed: boolean
  /** Why the latest attempt failed. */
  error: ConnectError | undefined
  connection: Connection | undefined
  /** When it became ready. */
  readySince: number
  readonly record: Outlier.Record
  ejectedFor: string | undefined
  /** Milliseconds. */
  roundTrip: number | undefined
  /** Connects, unless it has begun to. */
  readonly connect: () => void
  /** Gives the connection up, once no call runs on it; a member that is not removed may connect again. */
  readonly leave: () => void
  /** A call begins. */
  readonly begin: () => void
  /** A call has ended. */
  readonly release: () => void
  /** Says that a call waits. */
  readonly hurry: () => void
  readonly eject: (reason: string) => void
  readonly readmit: () => void
  /** Asks how long an answer takes. Undefined where there is none. */
  readonly probe: () => Effect.Effect<number | undefined>
}

/** A peer that has not said how it is counts as healthy after so long. */
const healthPatience = Duration.seconds(1)

/** Pauses between attempts of transports that don't connect again by themselves until they have connected once. */
const firstPauseMillis = 1000
const maxPauseMillis = 120_000

const smoothing = 1 / 8

export const make = (endpoint: Endpoint, host: Host): Member => {
  /** Holds the connection: its end closes that. */
  let holding: Fiber.RuntimeFiber<void> | undefined
  let isLeaving = false
  let unhook = constVoid
  let watching: Fiber.RuntimeFiber<void> | undefined
  let isUp = false
  /** Whether it says that it serves; undefined until it has said anything. */
  let serves: boolean | undefined

  const stopWatching = () => {
    EffectFiber.interruptUnsafe(watching)
    watching = undefined
    serves = undefined
  }

  const stateOf = (): EndpointState => {
    if (holding === undefined) {
      return "idle"
    }
    if (isLeaving) {
      return "draining"
    }
    if (!isUp) {
      return member.error === undefined ? "connecting" : "backingOff"
    }
    return serves === undefined
      ? "connecting"
      : !serves
        ? "unhealthy"
        : member.ejectedFor === undefined
          ? "ready"
          : "ejected"
  }

  const update = () => {
    const before = member.state
    member.state = stateOf()
    if (before !== member.state) {
      if (member.state === "ready" || member.state === "idle") {
        member.hasFailed = false
      } else if (member.state !== "connecting" && member.state !== "draining") {
        member.hasFailed = true
      }
      member.readySince = member.state === "ready" ? performance.now() : member.readySince
      host.onChange(member, before)
    }
  }

  const measured = (millis: number) => {
    member.roundTrip =
      member.roundTrip === undefined ? millis : member.roundTrip + (millis - member.roundTrip) * smoothing
  }

  const watchHealth = (connection: Connection, service: string) => {
    const setServes = (value: boolean) => {
      serves = value
      update()
    }
    const patience = Effect.zipRight(
      Effect.sleep(healthPatience),
      Effect.sync(() => setServes(serves ?? true))
    )
    const follow = Health.follow(connection, service, { answered: measured, serves: setServes })
    watching = host.run(Effect.asVoid(Effect.all([patience, follow], { concurrency: "unbounded", discard: true })))
  }

  const onUp = (connection: Connection) => {
    isUp = true
    member.error = undefined
    if (member.record.isConnection) {
      member.record.failures = 0
      member.ejectedFor = undefined
    }
    if (host.health === undefined) {
      serves = true
    } else if (!isLeaving) {
      watchHealth(connection, host.health)
    }
    update()
  }

  const onStatus = (connection: Connection) => {
    const status = connection.status?.current() ?? { _tag: "Ready" }
    if (status._tag === "Ready") {
      if (!isUp) {
        onUp(connection)
      }
      return
    }
    isUp = false
    stopWatching()
    if (status._tag === "BackingOff") {
      const isNew = member.error !== status.error
      member.error = status.error
      const before = member.state
      update()
      // Each attempt that fails is news, though the state is the same.
      if (isNew && before === member.state) {
        host.onChange(member, before)
      }
      return
    }
    member.error = undefined
    update()
  }

  const open = (failures: number): Effect.Effect<void, never, Scope.Scope> =>
    host.transport
      .connect(member.endpoint.target, {
        background: true,
        ...(member.endpoint.names === undefined ? {} : { names: member.endpoint.names })
      })
      .pipe(
        // A transport of somebody else's may throw.
        Effect.catchAllDefect((cause) => Effect.fail(Unreachable.unreachable(member.endpoint.address, cause))),
        Effect.matchEffect({
          onFailure: (error) => {
            member.error = error
            update()
            const pause = Math.min(maxPauseMillis, firstPauseMillis * 1.6 ** Math.min(failures, 32))
            return Effect.zipRight(Effect.sleep(pause), open(failures + 1))
          },
          onSuccess: (connection) =>
            Effect.sync(() => {
              member.connection = connection
              unhook = connection.status?.onChange(() => onStatus(connection)) ?? constVoid
              onStatus(connection)
            })
        })
      )

  const close = () => {
    const held = holding
    holding = undefined
    unhook()
    unhook = constVoid
    stopWatching()
    isUp = false
    member.connection = undefined
    member.error = undefined
    update()
    EffectFiber.interruptUnsafe(held)
  }

  const member: Member = {
    endpoint,
    hash: Rendezvous.hash(endpoint.id),
    weight: endpoint.weight,
    pending: 0,
    pass: 0,
    state: "idle",
    hasFailed: false,
    error: undefined,
    connection: undefined,
    readySince: 0,
    record: Outlier.make(),
    ejectedFor: undefined,
    roundTrip: undefined,
    connect: () => {
      const wasLeaving = isLeaving
      isLeaving = false
      if (holding === undefined) {
        holding = host.run(Effect.scoped(Effect.zipRight(open(0), Effect.never)))
      } else if (wasLeaving && isUp && member.connection !== undefined) {
        isUp = false
        onStatus(member.connection)
      }
      update()
    },
    leave: () => {
      if (holding !== undefined) {
        isLeaving = true
        stopWatching()
        if (member.pending === 0) {
          close()
        }
      }
      update()
    },
    begin: () => {
      member.pending += 1
      host.onCalls(1)
    },
    release: () => {
      member.pending -= 1
      host.onCalls(-1)
      if (isLeaving && member.pending === 0) {
        close()
      }
    },
    hurry: () => member.connection?.status?.hurry(),
    eject: (reason) => {
      member.ejectedFor = reason
      Outlier.ejected(member.record)
      update()
    },
    readmit: () => {
      member.ejectedFor = undefined
      update()
    },
    probe: () => {
      const { connection } = member
      return connection === undefined || host.health === undefined || !isUp
        ? Effect.succeed(undefined)
        : Effect.tap(Health.probe(connection, host.health), (millis) =>
            Effect.sync(() => (millis === undefined ? undefined : measured(millis)))
          )
    }
  }
  return member
}

const reasonOf = ({ ejectedFor, error, state }: Member): string | undefined =>
  state === "backingOff"
    ? error?.message
    : state === "ejected"
      ? ejectedFor
      : state === "unhealthy"
        ? "it says that it does not serve"
        : undefined

/** What is shown of a member. */
export const statusOf = (member: Member): EndpointStatus => {
  const { endpoint, pending, roundTrip, state } = member
  return {
    address: endpoint.address,
    serverName: Option.fromNullable(endpoint.names?.serverName ?? endpoint.names?.hostName),
    weight: endpoint.weight,
    attributes: endpoint.attributes,
    state,
    reason: Option.fromNullable(reasonOf(member)),
    pending,
    roundTrip: Option.map(Option.fromNullable(roundTrip), Duration.millis)
  }
}
