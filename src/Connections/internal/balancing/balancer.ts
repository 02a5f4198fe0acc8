/** Holds the endpoints of a client: finds them, connects to them, and says which one gets a call. */
import * as Effect from "effect/Effect"
import * as FiberSet from "effect/FiberSet"
import * as LogLevel from "effect/LogLevel"
import type * as Scope from "effect/Scope"
import type { EndpointStatus } from "../../../Transport/Balancing.js"
import { type Boundary, escapeText } from "../../../Transport/internal/boundary.js"
import type { ConnectError } from "../../../Transport/TransportError.js"
import type { TransportService } from "../../../Transport/TransportService.js"
import { clean, type Endpoint } from "../discovery/endpoints.js"
import type { Running, Source } from "../discovery/source.js"
import * as Ejection from "./ejection.js"
import * as Member from "./member.js"
import * as Pick from "./pick.js"
import * as Reasking from "./reasking.js"
import * as Rendezvous from "./rendezvous.js"
import * as Selection from "./selection.js"
import type { Settings } from "./settings.js"

export interface Balancer {
  readonly label: string
  readonly boundary: Boundary
  /** Finds endpoints and connects to them, unless that has begun. */
  readonly start: () => void
  /** The endpoint for a call, by its key where it has one, other than the one that it has failed on. */
  readonly pick: (key: string | undefined, except?: Member.Member) => Member.Member | undefined
  /** Says that a call of this key waits. */
  readonly want: (key: string | undefined) => void
  /** Why no endpoint is ready; undefined while that is open. */
  readonly whyNot: () => ReadonlyArray<ConnectError> | undefined
  /** Completes with the next change. */
  readonly changed: Effect.Effect<void>
  /** Calls back after each change, until the function that it returns is called. */
  readonly onChange: (listener: () => void) => () => void
  readonly isClosed: () => boolean
  readonly statuses: () => ReadonlyArray<EndpointStatus>
  /** Measures the round trips of those that are ready. */
  readonly measure: Effect.Effect<void>
  readonly ejection: Ejection.Ejection
}

export interface Options {
  readonly transport: Pick<TransportService, "connect">
  readonly source: Source
  readonly label: string
  readonly settings: Settings
  readonly boundary: Boundary
}

/** Of a list so long not all are measured. */
const maxMeasured = 32
const concurrentMeasures = 4

/** With more endpoints than these, what changes within some milliseconds is taken together. */
const maxAtOnce = 256
const refreshDelay = "5 millis"

const noMembers: ReadonlyArray<Member.Member> = []

export const make = ({
  boundary,
  label,
  settings,
  source,
  transport
}: Options): Effect.Effect<Balancer, never, Scope.Scope> =>
  Effect.gen(function* () {
    const run = yield* FiberSet.makeRuntime<never, void, never>()
    const seed = Rendezvous.hash(`${label} ${Math.random()}`)
    const selection = Selection.make(settings, seed, run)
    const reasking = Reasking.make(boundary, label)
    const listeners = new Set<() => void>()
    const waiting = new Set<() => void>()
    let members: ReadonlyMap<string, Member.Member> = new Map()
    /** Those that are on the list no more, and have calls. */
    const leaving = new Map<string, Member.Member>()
    /** Those that calls may go to; those of the lowest priority number that has any. */
    let ready = noMembers
    /** Those that would be ready if they had not been ejected: where no other is left, they are better than none. */
    let ejected = noMembers
    /** The greatest `pass` that any has had. */
    let furthest = 0
    let inFlight = 0
    let failing = noMembers
    let isConnecting = false
    let unhealthy = 0
    let failure: ConnectError | undefined
    let isFound = false
    let isStarted = false
    let isClosed = false
    let isRefreshing = false
    let isStale = false

    const tell = () => {
      for (const wake of [...waiting]) {
        waiting.delete(wake)
        wake()
      }
      for (const listener of [...listeners]) {
        listener()
      }
    }

    const lowest = (candidates: ReadonlyArray<Member.Member>) => {
      const priority = candidates.reduce((least, { endpoint }) => Math.min(least, endpoint.priority), Number.MAX_VALUE)
      return candidates.filter(({ endpoint }) => endpoint.priority === priority)
    }

    /** Goes by the members' states, and again if that has changed them. */
    const refresh = () => {
      if (isRefreshing || isClosed) {
        isStale = true
        return
      }
      isRefreshing = true
      do {
        isStale = false
        selection.update(members)
        const usable = [...members.values()].filter(selection.isSelected)
        ready = lowest(usable.filter(({ state }) => state === "ready"))
        ejected = lowest(usable.filter(({ state }) => state === "ejected"))
      } while (isStale)
      isRefreshing = false
      const all = [...members.values()]
      failing = all.filter(({ state }) => state === "backingOff")
      isConnecting = all.some(({ state }) => state === "connecting")
      unhealthy = all.reduce((count, { state }) => count + (state === "unhealthy" ? 1 : 0), 0)
      reasking.set(isConnecting || failing.length > 0)
      tell()
    }

    let isDue = false

    /** Of a long list many change at a time, and each refresh looks at all. */
    const refreshSoon = () => {
      if (members.size <= maxAtOnce) {
        return refresh()
      }
      if (!isDue) {
        isDue = true
        run(
          Effect.delay(
            Effect.sync(() => {
              isDue = false
              refresh()
            }),
            refreshDelay
          )
        )
      }
    }

    /** One that comes back does not make up for the calls that others had while it was away. */
    const catchUp = (member: Member.Member) => {
      const others = ready.filter((other) => other !== member)
      if (others.length > 0) {
        member.pass = Math.max(member.pass, Math.min(...others.map(({ pass }) => pass)))
      }
    }

    const host: Member.Host = {
      transport,
      health: settings.health,
      run,
      onCalls: (change) => {
        inFlight += change
      },
      onChange: (member, before) => {
        if (member.state === "ready") {
          catchUp(member)
        }
        if (before === "ready" || member.state === "backingOff") {
          reasking.lost()
        }
        if (leaving.get(member.endpoint.id) === member && member.state === "idle") {
          leaving.delete(member.endpoint.id)
        }
        refreshSoon()
      }
    }

    const memberOf = (endpoint: Endpoint): Member.Member => {
      const known = members.get(endpoint.id) ?? leaving.get(endpoint.id)
      if (known === undefined) {
        return Member.make(endpoint, host)
      }
      leaving.delete(endpoint.id)
      known.endpoint = endpoint
      known.weight = endpoint.weight
      return known
    }

    const found = (endpoints: ReadonlyMap<string, Endpoint>) => {
      const before = members
      members = new Map(Array.from(endpoints.values(), (endpoint) => [endpoint.id, memberOf(endpoint)]))
      isFound = true
      failure = undefined
      isRefreshing = true
      for (const [id, member] of before) {
        if (!members.has(id)) {
          member.leave()
          if (member.state !== "idle") {
            leaving.set(id, member)
          }
        }
      }
      isRefreshing = false
      refresh()
    }

    const failed = (error: ConnectError) => {
      failure = error
      if (isFound) {
        boundary.log(
          LogLevel.Warning,
          "discovery-failed",
          `the endpoints of ${escapeText(label)} can't be looked up; keeping the last ${members.size}: ${escapeText(error.message)}`
        )
      }
      tell()
    }

    const start = () => {
      if (!isStarted && !isClosed) {
        isStarted = true
        const sink = {
          found: (list: Parameters<typeof clean>[0]) => isClosed || found(clean(list, label, boundary)),
          failed: (error: ConnectError) => isClosed || failed(error),
          boundary
        }
        run(
          Effect.scoped(
            Effect.flatMap(source(sink), (running: Running) => {
              reasking.use(running.again)
              return Effect.never
            })
          )
        )
      }
    }

    yield* Effect.addFinalizer(() =>
      Effect.sync(() => {
        isClosed = true
        ready = noMembers
        ejected = noMembers
        reasking.stop()
        tell()
      })
    )

    const share = (member: Member.Member, now: number) =>
      Pick.slowStart(now - member.readySince, settings.slowStartMillis) *
      (settings.balance === "weighted" ? member.weight : 1)

    const choose = (candidates: ReadonlyArray<Member.Member>) =>
      settings.balance === "leastPending" ? Pick.leastPending(candidates, Math.random) : Pick.inTurn(candidates)

    const isOnDemand = typeof settings.balance !== "string"

    /** Where keys may belong: of a large list also to those that nobody has needed yet. */
    const keyed = () =>
      isOnDemand && members.size > settings.subset
        ? lowest(
            [...members.values()].filter(({ state }) => state === "ready" || state === "idle" || state === "connecting")
          )
        : ready

    const ofKey = (key: string, candidates: ReadonlyArray<Member.Member>) =>
      Rendezvous.best(candidates, Rendezvous.hash(key))

    /** Its connection may have been lost a moment ago, and the state not have followed yet. */
    const isReady = ({ connection, state }: Member.Member) =>
      connection !== undefined &&
      (state === "ready" || state === "ejected") &&
      (connection.status === undefined || connection.status.current()._tag === "Ready")

    const pickOf = (
      candidates: ReadonlyArray<Member.Member>,
      key: string | undefined,
      except: Member.Member | undefined
    ): Member.Member | undefined => {
      const usable = except === undefined ? candidates : candidates.filter((member) => member !== except)
      const member = key === undefined ? choose(usable) : ofKey(key, usable)
      return member === undefined || isReady(member)
        ? member
        : key !== undefined && isOnDemand && member.state !== "ready"
          ? undefined
          : pickOf(usable, key, member)
    }

    const pick: Balancer["pick"] = (key, except) => {
      const candidates = key === undefined ? ready : keyed()
      const member = pickOf(candidates, key, except) ?? (ready.length === 0 ? pickOf(ejected, key, except) : undefined)
      if (member !== undefined) {
        const part = share(member, performance.now())
        member.pass =
          settings.balance === "leastPending"
            ? Pick.advance(member.pass, furthest, inFlight, part)
            : member.pass + 1 / part
        furthest = Math.max(furthest, member.pass)
      }
      return member
    }

    return {
      label,
      boundary,
      start,
      pick,
      want: (key) => {
        const member = key === undefined ? undefined : ofKey(key, keyed())
        if (member !== undefined) {
          selection.need(member)
        }
        for (const each of failing) {
          each.hurry()
        }
      },
      whyNot: () => {
        if (!isFound) {
          return failure === undefined ? undefined : [failure]
        }
        const isOpen = isConnecting || ready.length > 0 || ejected.length > 0
        return isOpen || (failing.length === 0 && unhealthy === 0 && members.size > 0)
          ? undefined
          : failing.flatMap(({ error }) => (error === undefined ? [] : [error]))
      },
      changed: Effect.async<void>((resume) => {
        const wake = () => resume(Effect.void)
        waiting.add(wake)
        return Effect.sync(() => waiting.delete(wake))
      }),
      onChange: (listener) => {
        listeners.add(listener)
        return () => {
          listeners.delete(listener)
        }
      },
      isClosed: () => isClosed,
      statuses: () => [...members.values(), ...leaving.values()].map(Member.statusOf),
      measure: Effect.suspend(() =>
        Effect.forEach(ready.slice(0, maxMeasured), (member) => member.probe(), {
          concurrency: concurrentMeasures,
          discard: true
        }).pipe(Effect.zipRight(Effect.sync(tell)))
      ),
      ejection: Ejection.make(settings, run, () => [...members.values()])
    }
  })
