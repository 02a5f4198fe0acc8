/** The connection that clients hold: it outlives the live connections that its calls run on. */
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Exit from "effect/Exit"
import * as LogLevel from "effect/LogLevel"
import * as Option from "effect/Option"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import type { Connection, OutgoingCall } from "../Transport/Connection.js"
import * as Boundary from "../Transport/internal/boundary.js"
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

/** A live connection with calls on it. */
export interface Live extends Reconnect.Live {
  readonly connection: Connection
  readonly isLost: () => boolean
}

/** A connection that need not be there yet. */
export interface Pending extends Connection {
  /**
   * Completes when it is there; fails as the attempt under way does, or with `waitForReady` only where another can't do
   * better.
   */
  readonly ready: (waitForReady: boolean) => Effect.Effect<void, ConnectError>
}

/** A connection that stays when what it runs on is replaced. */
export interface Reconnected<L> extends Pending {
  /**
   * Runs something on the live connection. Waits for one that was just lost, or where the call wants that; `run` gets what
   * is left of the timeout.
   */
  readonly withLive: <A, C extends Pick<OutgoingCall, "timeout" | "waitForReady">>(
    method: string,
    call: C,
    run: (live: L, call: C) => A
  ) => Effect.Effect<A, CallError>
}

/** There was no connection in the time for one. */
export const late = (peer: string, method?: string): DeadlineExceeded =>
  new DeadlineExceeded({
    message: `no connection to ${peer} in time`,
    peer,
    ...(method === undefined ? undefined : { method })
  })

/** So many connections in a row that are lost at once are worth a line in the log. */
const lossesToLog = 3

/** Connects, and runs calls on the connection, or on the one that replaces it. */
export const make = <L extends Live>(
  connectOnce: Effect.Effect<L, Failure, Scope.Scope>,
  backoff: Reconnect.Backoff,
  peer: string
): Effect.Effect<Reconnected<L>, never, Scope.Scope> =>
  Effect.gen(function* () {
    yield* Count.whileOpen(TransportMetrics.connectionsOpened)
    const boundary = yield* Boundary.make
    let closed = false
    let isAsked = false
    const lost = () => new Unavailable({ message: `the connection to ${peer} was lost`, peer, processed: "no" })
    const { changed, current, hurry, wake } = yield* Reconnect.make<L, Failure>(connectOnce, backoff, {
      error: lost,
      tell: (losses) => {
        if (losses === lossesToLog) {
          const message = `${losses} connections to ${peer} in a row were lost before they served a call; backing off`
          boundary.log(LogLevel.Warning, "connections-lost", message, { peer })
        }
      }
    })

    /** To who connects its time-out is his own; to the calls on a lost connection it is one more reason. */
    const whyNot = (cause: Cause.Cause<Failure>) => {
      const failure = Option.getOrElse(Cause.failureOption(cause), lost)
      return failure._tag === "DeadlineExceeded"
        ? new Unavailable({ message: failure.message, peer, processed: "no", cause: failure })
        : failure
    }

    yield* Effect.addFinalizer(() =>
      Effect.sync(() => {
        closed = true
        wake()
      })
    )

    /** The connection for a new call, or why there is none; undefined while that is open. */
    const usable = (method: string): Either.Either<L, Unavailable | HandshakeFailed | Cancelled> | undefined => {
      const now = current()
      return closed
        ? Either.left(new Cancelled({ message: "the client was closed", processed: "no", method, peer }))
        : now === undefined || (Exit.isSuccess(now) && now.value.isLost())
          ? undefined
          : Exit.isFailure(now)
            ? Either.left(Status.ofCall(whyNot(now.cause), method))
            : Either.right(now.value)
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

    /** What the next attempt comes to, or the one that is over and that nobody has asked for yet. */
    const attempt: Effect.Effect<void, Failure> = Effect.gen(function* () {
      let now = current()
      if (now !== undefined && Exit.isFailure(now) && isAsked) {
        hurry()
        yield* changed
        now = current()
      }
      isAsked = true
      while (now === undefined && !closed) {
        yield* changed
        now = current()
      }
      yield* now ?? Exit.fail(lost())
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

    return {
      withLive,
      ready,
      unary: (method, request, call) => {
        const live = usable(method.path)
        return live !== undefined && Either.isRight(live)
          ? live.right.connection.unary(method, request, call)
          : Effect.flatten(
              withLive(method.path, call, ({ connection }, call) => connection.unary(method, request, call))
            )
      },
      stream: (method, requests, call) =>
        Stream.unwrap(withLive(method.path, call, ({ connection }, call) => connection.stream(method, requests, call)))
    }
  })
