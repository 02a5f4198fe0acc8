/** Accepts the calls of a connection for their heads, or refuses them. */
import type * as Clock from "effect/Clock"
import type { CallDurations } from "../Connections/TransportOptions.js"
import type { CallConnection } from "../Transport/Call.js"
import * as IncomingCall from "../Transport/IncomingCall.js"
import type { Visit } from "../Transport/internal/admissionGate.js"
import type { Boundary } from "../Transport/internal/boundary.js"
import * as CallMetrics from "../Transport/internal/callMetrics.js"
import * as Time from "../Transport/internal/time.js"
import type * as Metadata from "../Transport/Metadata.js"
import type * as Route from "../Transport/Route.js"
import type { StatusError } from "../Transport/TransportError.js"
import * as CallDuration from "./CallDuration.js"
import * as CallErrors from "./CallErrors.js"
import type { ServerStream, ServerWire } from "./CallStream.js"
import type { Deadlines } from "./Deadlines.js"
import type { InFlight } from "./HandlerFibers.js"
import * as MetadataLimit from "./MetadataLimit.js"
import type { ServerResponse } from "./ServerResponse.js"

/** A route, with the fibers of its handlers where it is drained by itself. Default: those of all routes. */
export type Served = Route.Route & { readonly inFlight?: InFlight | undefined }

/** What the calls of one listener have in common. */
export interface Server {
  readonly routes: ReadonlyMap<string, Served>
  readonly inFlight: InFlight
  readonly clock: Clock.Clock
  readonly boundary: Boundary
  /** The connection's place in the admission of its listener. Default: everything is let in. */
  readonly visit?: Visit | undefined
}

/** What the calls of one connection have in common. */
export interface ServerConnection {
  readonly connection: CallConnection
  readonly deadlines: Deadlines
  readonly settings: Settings
}

interface Settings {
  readonly maxCallDuration: CallDurations
  readonly maxMessageElements: number
  readonly maxMetadataSize: number
  readonly maxReceiveMessageSize: number
  /** Whether calls are measured. Default true. */
  readonly metrics?: boolean | undefined
}

export interface Acceptance<S> {
  /**
   * A call for its head, or undefined where that was refused: its status has been sent then. The timeout is in milliseconds,
   * `Infinity` where the caller named none, and `NaN` where what it named is malformed.
   */
  readonly accept: (
    stream: S,
    path: string,
    metadata: Metadata.Metadata,
    timeout: number
  ) => ServerStream<S> | undefined
  /** Refuses a call for its head, for a reason that only the wire knows. */
  readonly reject: (stream: S, error: StatusError) => void
}

export const make = <S>(
  wire: ServerWire<S>,
  { boundary, clock, inFlight: shared, routes, visit }: Server,
  { connection, settings }: ServerConnection,
  response: Pick<ServerResponse<S>, "reject" | "turnAway">
): Acceptance<S> => {
  const { peer } = connection
  const now = () => Time.now(clock)
  const system = wire.system ?? CallMetrics.ownSystem
  const methods = CallMetrics.server(settings.metrics ?? true, system)

  /** Refuses a call of a path that is served, or of one that no contract has. */
  const refuse = (stream: S, path: string, error: StatusError) => {
    visit?.spend("refusal")
    CallMetrics.refused(methods, error, path)
    return response.reject(stream, error)
  }

  const onDenied =
    visit === undefined
      ? wire.useless
      : () => {
          visit.spend("denial")
          wire.useless()
        }

  const reject = (stream: S, error: StatusError) => refuse(stream, CallMetrics.unknown, error)

  const accept: Acceptance<S>["accept"] = (stream, path, metadata, wanted) => {
    const route = routes.get(path)
    if (route === undefined) {
      return reject(stream, CallErrors.unknownMethod(path))
    }
    if (!MetadataLimit.fits(metadata, settings.maxMetadataSize)) {
      return refuse(stream, path, MetadataLimit.tooLarge(settings.maxMetadataSize))
    }
    if (Number.isNaN(wanted)) {
      return refuse(stream, path, CallErrors.malformedTimeout())
    }
    if (wanted <= 0) {
      return refuse(stream, path, CallErrors.deadlinePassed())
    }
    const denied = route.denies?.({ boundary, peer, onDenied })
    if (denied !== undefined) {
      CallMetrics.refused(methods, denied, path)
      return response.turnAway(stream, denied)
    }
    const timeout = Math.min(wanted, CallDuration.limitOf(settings.maxCallDuration, route))
    const inFlight = route.inFlight ?? shared
    const began = now()
    const pass = visit?.enter(path, metadata, began, began + timeout, route._tag === "Stream")
    if (pass !== undefined && pass._tag !== "Pass") {
      CallMetrics.refused(methods, pass, path)
      return response.turnAway(stream, pass)
    }
    const incoming = IncomingCall.make(
      {
        method: path,
        peer,
        metadata,
        deadline: began + timeout,
        began,
        system,
        draining: inFlight.draining,
        boundary,
        endConnection: wire.onThrown,
        onDenied
      },
      connection
    )
    return {
      stream,
      route,
      inFlight,
      incoming,
      where: { method: path, peer: peer.address },
      metrics: methods?.(path),
      wanted,
      timeout,
      inbox: undefined,
      request: undefined,
      cost: 0,
      costOnConnection: 0,
      handler: undefined,
      deadline: undefined,
      answer: undefined,
      isOver: false,
      pass,
      held: 0,
      wait: undefined,
      isComplete: false
    }
  }

  return { accept, reject }
}
