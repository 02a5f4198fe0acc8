/** The connection that clients hold: it outlives the live connections that its calls run on. */
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as LogLevel from "effect/LogLevel"
import * as Option from "effect/Option"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import type { Connection, ConnectionState, ConnectionStatus, OutgoingCall } from "../Transport/Connection.js"
import * as Boundary from "../Transport/internal/boundary.js"
import * as CallMetrics from "../Transport/internal/callMetrics.js"
import * as Count from "../Transport/internal/gauge.js"
import * as Status from "../Transport/internal/status.js"
import {
  type CallError,
  Cancelled,
  type ConnectError,
  DeadlineExceeded,
  type HandshakeFailed,
  Unavailable
} from "../Transport/TransportError.js"
import * as TransportMetrics from "../Transport/TransportMetrics.js"
import * as Reconnect from "./Reconnect.js"

type Failure = Unavailable | DeadlineExceeded | HandshakeFailed

/** A connection that is up and runs calls. */
export interface Live extends Reconnect.Live {
  readonly connection: Connection
  readonly isLost: () => boolean
  /**
   * Asks the peer to begin no more calls, and completes when no call is in flight, of either end, and no plain request.
   * Absent where the peer begins none, and calls are all that there is.
   */
  readonly drainPeer?: Effect.Effect<void>
}

const connecting: ConnectionState = { _tag: "Connecting" }
const isReady: ConnectionState = { _tag: "Ready" }

/** A connection that may not be up yet. */
export interface Pending extends Connection {
  /**
   * Completes when it is up. Fails with the error of the attempt under way; with `waitForReady` only with
   * `HandshakeFailed`, since another attempt would fail alike.
   */
  readonly ready: (waitForReady: boolean) => Effect.Effect<void, ConnectError>
  /** `Live.drainPeer` of the one that is up. */
  readonly drainPeer?: Effect.Effect<void>
}

/** A connection that stays when the live one below it is replaced. */
export interface Reconnected<L> extends Pending {
  /**
   * Runs a call on the live connection. Waits for the next one if the last was lost just now, or if the call has
   * `waitForReady`; `run` gets what is left of the timeout. Fails with `DeadlineExceeded` if there is none in time,
   * with the error of the latest attempt if the call doesn't wait, and with `Cancelled` if the client was closed.
   */
  readonly withLive: <A, C extends Pick<OutgoingCall, "timeout" | "waitForReady" | "goesElsewhere">>(
    method: string,
    call: C,
    run: (live: L, call: C) => A
  ) => Effect.Effect<A, CallError>
}

/** The error of a call or an attempt that had no connection in time. */
export const late = (peer: string, method?: string): DeadlineExceeded =>
  new DeadlineExceeded({
    message: `no connection to ${peer} in time`,
    peer,
    ...(method === undefined ? undefined : { method })
  })

/** After so many connections in a row that were lost at once there is a line in the log. */
const lossesToLog = 3

/** Connects, and runs calls on the connection or on the one that replaces it. Never fails: `ready` and the calls do. */
export const make = <L extends Live>(
  connectOnce: Effect.Effect<L, Failure, Scope.Scope>,
  backoff: Reconnect.Backoff,
  peer: string,
  /** Where calls are measured that found no connection. Default: nowhere. */
  methods?: CallMetrics.Methods
): Effect.Effect<Reconnected<L>, never, Scope.Scope> =>
  Effect.gen(function* () {
    yield* Count.whileOpen(TransportMetrics.connectionsOpened)
    const boundary = yield* Boundary.make
    let isAsked = false
    const lost = () => new Unavailable({ message: `the connection to ${peer} was lost`, peer, processed: "no" })
    const { changed, current, hurry, onChange } = yield* Reconnect.make<L, Failure>(connectOnce, backoff, {
      error: lost,
      tell: (losses) => {
        if (losses === lossesToLog) {
          const message = `${losses} connections to ${peer} in a row were lost before they served a call; backing off`
          boundary.log(LogLevel.Warning, "connections-lost", message, { peer })
        }
      }
    })

    /**
     * A time-out is an error of its own to whoever connects; to calls it is one more reason why there is no connection.
     */
    const whyNot = (cause: Cause.Cause<Failure>) => {
      const failure = Option.getOrElse(Cause.failureOption(cause), lost)
      return failure._tag === "DeadlineExceeded"
        ? new Unavailable({ message: failure.message, peer, processed: "no", cause: failure })
        : failure
    }

    /** The connection for a new call, or why there is none; undefined while that is open. */
    const usable = (method: string): Either.Either<L, Unavailable | HandshakeFailed | Cancelled> | undefined => {
      const state = current()
      switch (state._tag) {
        case "Connected":
          return state.live.isLost() ? undefined : Either.right(state.live)
        case "Connecting":
          return undefined
        case "Failed":
          return Either.left(Status.ofCall(whyNot(state.cause), method))
        case "Closed":
          return Either.left(new Cancelled({ message: "the client was closed", processed: "no", method, peer }))
      }
    }

    const withLive: Reconnected<L>["withLive"] = (method, call, run) =>
      Effect.gen(function* () {
        const started = performance.now()
        let live = usable(method)
        while (live === undefined || Either.isLeft(live)) {
          hurry()
          if (live !== undefined && !(call.waitForReady && live.left._tag !== "Cancelled")) {
            return yield* live.left
          }
          yield* changed
          live = usable(method)
        }
        return run(live.right, { ...call, timeout: Math.max(1, call.timeout - (performance.now() - started)) })
      }).pipe(Effect.timeoutFail({ duration: call.timeout, onTimeout: () => late(peer, method) }))

    /** `withLive`, measured where it fails: the connection measures what it runs. */
    const reach: Reconnected<L>["withLive"] = (method, call, run) =>
      Effect.suspend(() => {
        const since = performance.now()
        return Effect.onError(withLive(method, call, run), (cause) =>
          Effect.sync(() => {
            const failure = Option.getOrUndefined(Cause.failureOption(cause))
            if (failure === undefined || !call.goesElsewhere?.(failure)) {
              CallMetrics.ended(methods?.(method), CallMetrics.codeOfCause(cause), performance.now() - since)
            }
          })
        )
      })

    /** The result of the next attempt, or of one that is over and that nobody has asked for yet. */
    const attempt: Effect.Effect<void, Failure> = Effect.gen(function* () {
      let state = current()
      if (state._tag === "Failed" && isAsked) {
        hurry()
        yield* changed
        state = current()
      }
      isAsked = true
      while (state._tag === "Connecting") {
        yield* changed
        state = current()
      }
      if (state._tag === "Failed") {
        return yield* Effect.failCause(state.cause)
      }
      if (state._tag === "Closed") {
        return yield* lost()
      }
    })

    const ready: Pending["ready"] = (waitForReady) =>
      waitForReady
        ? isAsked
          ? Effect.void
          : Effect.catchIf(
              attempt,
              ({ _tag }) => _tag !== "HandshakeFailed",
              () => Effect.void
            )
        : attempt

    const status: ConnectionStatus = {
      current: () => {
        const state = current()
        switch (state._tag) {
          case "Connected":
            return state.live.isLost() ? connecting : isReady
          case "Connecting":
            return connecting
          case "Failed":
            return { _tag: "BackingOff", error: Option.getOrElse(Cause.failureOption(state.cause), lost) }
          case "Closed":
            return { _tag: "Closed" }
        }
      },
      onChange,
      hurry
    }

    return {
      withLive,
      ready,
      drainPeer: Effect.suspend(() => {
        const state = current()
        return (state._tag === "Connected" ? state.live.drainPeer : undefined) ?? Effect.void
      }),
      status,
      unary: (method, request, call) => {
        const live = usable(method.path)
        return live !== undefined && Either.isRight(live)
          ? live.right.connection.unary(method, request, call)
          : Effect.flatten(reach(method.path, call, ({ connection }, call) => connection.unary(method, request, call)))
      },
      stream: (method, requests, call) =>
        Stream.unwrap(reach(method.path, call, ({ connection }, call) => connection.stream(method, requests, call)))
    }
  })
