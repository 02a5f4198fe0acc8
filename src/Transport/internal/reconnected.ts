import * as Cause from "effect/Cause"
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Exit from "effect/Exit"
import * as Option from "effect/Option"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import {
  type CallError,
  Cancelled,
  type ConnectError,
  DeadlineExceeded,
  type HandshakeFailed,
  Unavailable
} from "../TransportError.js"
import * as TransportMetrics from "../TransportMetrics.js"
import type { Connection, OutgoingCall } from "./connection.js"
import * as Count from "./count.js"
import * as Reconnect from "./reconnect.js"
import * as Status from "./status.js"

type Failure = Unavailable | DeadlineExceeded | HandshakeFailed

/** A live connection with calls on it. */
export interface Live extends Reconnect.Live {
  readonly connection: Connection
  readonly isLost: () => boolean
}

/** A connection that stays when what it runs on is replaced. */
export interface Reconnected<L> extends Connection {
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

/** Connects within the time. */
export const inTime = <L, E, R>(
  connect: Effect.Effect<L, E, R>,
  duration: Reconnect.Backoff["max"],
  peer: string
): Effect.Effect<L, E | DeadlineExceeded, R> => Effect.timeoutFail(connect, { duration, onTimeout: () => late(peer) })

/** Connects, and runs calls on the connection, or on the one that replaces it. */
export const make = <L extends Live>(
  connectOnce: Effect.Effect<L, Failure, Scope.Scope>,
  backoff: Reconnect.Backoff,
  peer: string
): Effect.Effect<Reconnected<L>, ConnectError, Scope.Scope> =>
  Effect.gen(function* () {
    yield* Count.whileOpen(TransportMetrics.connectionsOpened)
    let closed = false
    const lost = () => new Unavailable({ message: `the connection to ${peer} was lost`, peer, processed: "no" })
    const { changed, current, wake } = yield* Reconnect.make<L, Failure>(connectOnce, backoff)

    /** To who connects its time-out is his own; to the calls on a lost connection it is one more reason. */
    const whyNot = (cause: Cause.Cause<Failure>) => {
      const failure = Option.getOrElse(Cause.failureOption(cause), lost)
      return failure._tag === "DeadlineExceeded"
        ? new Unavailable({ message: failure.message, peer, processed: "no" })
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
        const started = yield* Clock.currentTimeMillis
        let live = usable(method)
        while (live === undefined || (Either.isLeft(live) && call.waitForReady && live.left._tag !== "Cancelled")) {
          yield* changed
          live = usable(method)
        }
        const spent = (yield* Clock.currentTimeMillis) - started
        return run(yield* live, { ...call, timeout: Math.max(1, call.timeout - spent) })
      }).pipe(Effect.timeoutFail({ duration: call.timeout, onTimeout: () => late(peer, method) }))

    return {
      withLive,
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
