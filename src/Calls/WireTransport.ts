/** A transport of what its wire knows: how to reach a target, and how to accept connections at an address. */
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Metric from "effect/Metric"
import type * as Option from "effect/Option"
import type * as Scope from "effect/Scope"
import * as ConnectionPool from "../Connections/ConnectionPool.js"
import type { Pending } from "../Connections/ReconnectingConnection.js"
import * as Authorizer from "../Transport/Authorizer.js"
import type { Turned, Visit } from "../Transport/internal/admissionGate.js"
import * as Authorization from "../Transport/internal/authorization.js"
import * as Boundary from "../Transport/internal/boundary.js"
import * as EventLoopDelay from "../Transport/internal/eventLoopDelay.js"
import * as Count from "../Transport/internal/gauge.js"
import type * as Peer from "../Transport/Peer.js"
import type { BindError } from "../Transport/TransportError.js"
import * as TransportMetrics from "../Transport/TransportMetrics.js"
import type { ListenOptions, TargetNames, TransportService } from "../Transport/TransportService.js"
import * as HandlerFibers from "./HandlerFibers.js"
import type * as ServerCalls from "./ServerCalls.js"

/** What a wire needs of the listener that it accepts connections for. */
export interface Listening {
  /** For `ServerCalls`. */
  readonly server: ServerCalls.Server
  /** Whether a peer may connect. A refusal is counted; the wire tells the peer. */
  readonly allows: (identity: Option.Option<Peer.Identity>, peer: string) => boolean
  /**
   * Asks the listener's admission for a connection that it allows; its calls are asked for with what this returns. `end` ends
   * the connection. Undefined where everything is let in; a text says why the connection is not, which the wire tells the peer.
   */
  readonly visit?: (peer: Peer.Peer, end: (reason: Turned) => void) => Visit | Turned | undefined
  /** Adds a connection that is accepted. Returns what removes it once it has ended, which may be called twice. */
  readonly add: (accepted: Accepted) => () => void
}

/** A connection as its listener knows it. */
export interface Accepted {
  /** Lets the calls in flight end, and begins no more. */
  readonly goAway: () => void
  /**
   * Completes when the connection has ended, for a peer that ends it when it has heard that this end goes away: until then it
   * may open calls, and is told that they were not taken. Default: at once.
   */
  readonly left?: Effect.Effect<void>
  /** Ends the connection, and the calls that are left, whatever their handlers do. */
  readonly end: () => void
}

/** What makes a wire a transport. */
export interface Wire {
  /** The connection that all clients of a target share, until the last of them is gone. See `ReconnectingConnection`. */
  readonly connect: (
    target: Peer.Target,
    boundary: Boundary.Boundary,
    names: TargetNames
  ) => Effect.Effect<Pending, never, Scope.Scope>
  /** Accepts connections until the scope closes. Those that are open then drain. */
  readonly listen: (listening: Listening, options: ListenOptions) => Effect.Effect<Peer.Address, BindError, Scope.Scope>
  /** The wire in a few words, for the log. */
  readonly description: string
}

/** How long peers may take to leave once nothing is answered any more. */
const leavePeriod = Duration.seconds(1)

interface Settings {
  readonly defaultTimeout: Duration.DurationInput
  readonly gracePeriod: Duration.DurationInput
  /** Whether the delay of the event loop is measured. Default true. */
  readonly metrics?: boolean | undefined
}

export const make = (
  { defaultTimeout, gracePeriod, metrics }: Settings,
  wire: Wire
): Effect.Effect<TransportService, never, Scope.Scope> =>
  Effect.gen(function* () {
    const boundary = yield* Boundary.make
    yield* EventLoopDelay.whileOpen(metrics)
    const connect = yield* ConnectionPool.make((target, names) => wire.connect(target, boundary, names))
    const listen: TransportService["listen"] = (routes, options) =>
      Effect.gen(function* () {
        const inFlight = yield* HandlerFibers.make
        const boundary = yield* Boundary.make
        const clock = yield* Effect.clock
        const authorize = options.authorize ?? Authorizer.any
        const connections = new Set<Accepted>()
        const forEach = (f: (accepted: Accepted) => void) =>
          Effect.sync(() => {
            for (const accepted of [...connections]) {
              f(accepted)
            }
          })
        // The wire accepts no more by then: what is acquired last is released first.
        yield* Effect.addFinalizer(() =>
          Effect.gen(function* () {
            yield* forEach(({ goAway }) => goAway())
            yield* inFlight.drain(options.gracePeriod ?? gracePeriod)
            const left = Array.from(connections, (accepted) => accepted.left ?? Effect.void)
            yield* Effect.timeoutOption(
              Effect.interruptible(Effect.all(left, { concurrency: "unbounded", discard: true })),
              leavePeriod
            )
            yield* forEach(({ end }) => end())
          })
        )
        return yield* wire.listen(
          {
            server: { routes, inFlight, clock, boundary },
            allows: (identity, peer) => {
              const isAllowed = Authorization.allows(boundary, authorize, identity, peer)
              if (!isAllowed) {
                Metric.tagged(TransportMetrics.handshakesRefused, "reason", "NotAuthorized").unsafeUpdate(1, [])
              }
              return isAllowed
            },
            visit: (peer, end) => options.admission?.gate.visit(peer, end),
            add: (accepted) => {
              connections.add(accepted)
              Count.add(TransportMetrics.connectionsAccepted, 1)
              return () => {
                if (connections.delete(accepted)) {
                  Count.add(TransportMetrics.connectionsAccepted, -1)
                }
              }
            }
          },
          options
        )
      })
    return { connect, listen, defaultTimeout, metrics: metrics ?? true, description: Effect.succeed(wire.description) }
  })
