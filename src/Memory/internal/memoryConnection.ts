/** What clients of a target share: a connection to whatever listens there when a call is made. */
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import { constVoid } from "effect/Function"
import * as Option from "effect/Option"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import * as CallErrors from "../../Calls/CallErrors.js"
import * as Deadlines from "../../Calls/Deadlines.js"
import * as Timing from "../../Calls/Timing.js"
import type { Pending } from "../../Connections/ReconnectingConnection.js"
import * as Deferred from "../../effect/Deferred.js"
import type { OutgoingCall } from "../../Transport/Connection.js"
import * as Gate from "../../Transport/internal/admissionGate.js"
import * as CallMetrics from "../../Transport/internal/callMetrics.js"
import * as Count from "../../Transport/internal/gauge.js"
import type { Where } from "../../Transport/internal/where.js"
import * as Peer from "../../Transport/Peer.js"
import { Cancelled, type DeadlineExceeded, HandshakeFailed, Unavailable } from "../../Transport/TransportError.js"
import * as TransportMetrics from "../../Transport/TransportMetrics.js"
import * as MemoryLink from "./memoryLink.js"
import type { Listening, Network, Settings } from "./network.js"

type Failure = Cancelled | DeadlineExceeded | HandshakeFailed | Unavailable

const unavailable = (peer: string, where?: Where) =>
  new Unavailable({ message: `nothing listens on ${peer}`, processed: "no", peer, ...where })

const notAuthorized = (peer: string, where?: Where) =>
  new HandshakeFailed({
    message: `${peer} refused the connection: NotAuthorized`,
    reason: "NotAuthorized",
    refusedBy: "remote",
    peer,
    ...where
  })

const turnedAway = (reason: Gate.Turned, peer: string, where?: Where): HandshakeFailed | Unavailable =>
  reason === "NotAuthorized"
    ? notAuthorized(peer, where)
    : new Unavailable({
        message: `${peer} ended the connection: ${Gate.turnedText(reason)}`,
        processed: "no",
        peer,
        ...where
      })

/** Nobody proves an identity here, so that a listener lets in everybody or nobody. */
const enter = ({ allows }: Listening, peer: string, where?: Where): Effect.Effect<void, HandshakeFailed> =>
  allows(Option.none(), "memory") ? Effect.void : Effect.fail(notAuthorized(peer, where))

export const connect = (
  network: Network,
  settings: Settings,
  target: Peer.Target
): Effect.Effect<Pending, never, Scope.Scope> =>
  Effect.gen(function* () {
    const peer = Peer.formatTarget(target)
    const timing = Timing.ofClock(yield* Effect.clock)
    const deadlines = Deadlines.make(undefined, timing)
    let link: MemoryLink.MemoryLink | undefined
    /** Those whose listeners still let calls end too. */
    const links = new Set<MemoryLink.MemoryLink>()
    let isClosed = false
    const closed = Deferred.makeUnsafe<void>()
    const listeners = new Set<() => void>()
    yield* Count.whileOpen(TransportMetrics.connectionsOpened)
    yield* Effect.addFinalizer(() =>
      Effect.sync(() => {
        isClosed = true
        for (const open of [...links]) {
          open.close()
        }
        deadlines.stop()
        Deferred.doneUnsafe(closed, Effect.void)
        for (const listener of [...listeners]) {
          listener()
        }
      })
    )

    /** The link to what listens now, where there is one already. */
    const current = () => {
      const listening = network.find(peer)
      return !isClosed && listening !== undefined && link?.listening === listening ? link : undefined
    }

    const linkTo = (
      listening: Listening,
      where?: Where
    ): Effect.Effect<MemoryLink.MemoryLink, HandshakeFailed | Unavailable> =>
      Effect.suspend(() => {
        if (link?.listening === listening) {
          return Effect.succeed(link)
        }
        const opened = MemoryLink.make(listening, settings, peer, deadlines, () => {
          if (typeof opened !== "string") {
            links.delete(opened)
            // One that the listener's admission has ended is not used again.
            link = link === opened ? undefined : link
          }
        })
        if (typeof opened === "string") {
          return Effect.fail(turnedAway(opened, peer, where))
        }
        links.add(opened)
        link = opened
        return Effect.succeed(opened)
      })

    const open = (
      where: Where,
      call: OutgoingCall
    ): Effect.Effect<readonly [MemoryLink.MemoryLink, OutgoingCall], Failure> =>
      Effect.suspend(() => {
        const listening = network.find(peer)
        if (isClosed) {
          return Effect.fail(new Cancelled({ message: "the client was closed", processed: "no", ...where }))
        }
        if (listening !== undefined) {
          return Effect.map(
            Effect.zipRight(enter(listening, peer, where), linkTo(listening, where)),
            (link) => [link, call] as const
          )
        }
        return call.waitForReady ? waitFor(where, call) : Effect.fail(unavailable(peer, where))
      })

    const methods = CallMetrics.client(settings.metrics, undefined, peer)

    /** `open`, measured where it fails: the link measures what it runs. */
    const reach = (where: Where, call: OutgoingCall) =>
      Effect.suspend(() => {
        const since = timing.now()
        return Effect.onError(open(where, call), (cause) =>
          Effect.sync(() => {
            const failure = Option.getOrUndefined(Cause.failureOption(cause))
            if (failure === undefined || !call.goesElsewhere?.(failure)) {
              CallMetrics.ended(methods?.(where.method), CallMetrics.codeOfCause(cause), timing.now() - since)
            }
          })
        )
      })

    const waitFor = (where: Where, call: OutgoingCall) => {
      const since = timing.now()
      return Effect.zipRight(
        Effect.timeoutFail(
          Effect.raceFirst(
            network.until(() => network.find(peer) !== undefined),
            Deferred.await(closed)
          ),
          {
            duration: call.timeout,
            onTimeout: () => CallErrors.deadlinePassed(where)
          }
        ),
        Effect.suspend(() => open(where, { ...call, timeout: Math.max(1, call.timeout - (timing.now() - since)) }))
      )
    }

    const state = () => (isClosed ? "Closed" : network.find(peer) === undefined ? "BackingOff" : "Ready")

    return {
      status: {
        current: () => {
          const _tag = state()
          return _tag === "BackingOff" ? { _tag, error: unavailable(peer) } : { _tag }
        },
        // Most changes of the network are of others, of whom there may be thousands.
        onChange: (listener) => {
          let before = state()
          const look = () => {
            const now = state()
            if (now !== before) {
              before = now
              listener()
            }
          }
          listeners.add(look)
          const stop = network.onChange(look)
          return () => {
            listeners.delete(look)
            stop()
          }
        },
        hurry: constVoid
      },
      ready: (waitForReady) =>
        Effect.suspend((): Effect.Effect<void, Unavailable | HandshakeFailed> => {
          const listening = network.find(peer)
          return listening !== undefined
            ? Effect.asVoid(Effect.zipRight(enter(listening, peer), linkTo(listening)))
            : waitForReady
              ? Effect.void
              : Effect.fail(unavailable(peer))
        }),
      unary: (method, request, call) =>
        Effect.suspend(() => {
          const { connection } = current() ?? {}
          return connection !== undefined
            ? connection.unary(method, request, call)
            : Effect.flatMap(reach({ method: method.path, peer }, call), ([{ connection }, call]) =>
                connection.unary(method, request, call)
              )
        }),
      stream: (method, requests, call) =>
        Stream.unwrap(
          Effect.map(reach({ method: method.path, peer }, call), ([{ connection }, call]) =>
            connection.stream(method, requests, call)
          )
        )
    }
  })
