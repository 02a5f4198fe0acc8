/** The token that calls are sent with: obtained once for all of them, and again before it expires or when it was refused. */
import * as Cause from "effect/Cause"
import type * as Clock from "effect/Clock"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as FiberSet from "effect/FiberSet"
import * as Redacted from "effect/Redacted"
import type * as Scope from "effect/Scope"
import * as Deferred from "../../effect/Deferred.js"
import * as Metadata from "../Metadata.js"
import { type CallError, DeadlineExceeded, InvalidArgument, Unauthenticated, Unavailable } from "../TransportError.js"
import * as Time from "./time.js"

/** What a program's token source gives. */
export interface Obtained {
  readonly value: Redacted.Redacted
  readonly expiresAt?: number | undefined
}

/** A token as it is sent. */
export interface Token {
  readonly metadata: Metadata.Metadata
  readonly obtainedAt: number
  readonly refreshAt: number
  readonly expiresAt: number
}

export interface TokenSource {
  /** The token to use now, where there is one. Where it ends soon, another is obtained meanwhile. */
  readonly current: (clock: Clock.Clock) => Token | undefined
  /** Waits for a token; fails as the last try to obtain one. */
  readonly next: (clock: Clock.Clock) => Effect.Effect<Token, CallError>
  /** A peer has refused a token. Whether there is another now, or will be. */
  readonly refuse: (token: Token, clock: Clock.Clock) => boolean
}

interface Settings<R> {
  readonly obtain: Effect.Effect<Obtained, CallError, R>
  readonly refreshBefore: Duration.Duration
  readonly timeout: Duration.Duration
}

/** How long nothing is asked for again: whatever peers answer, and however many calls there are. */
const retryDelayMillis = 1000

/** What RFC 6750 section 2.1 lets a token be. */
const pattern = /^[A-Za-z0-9\-._~+/]+=*$/

const toToken = ({ expiresAt = Number.POSITIVE_INFINITY, value }: Obtained, refreshBefore: number) =>
  Effect.clockWith((clock): Effect.Effect<Token, InvalidArgument | Unauthenticated> => {
    const now = Time.now(clock)
    const text = Redacted.value(value)
    if (typeof text !== "string" || !pattern.test(text)) {
      return new InvalidArgument({ message: "the bearer token has characters that a token can't have" })
    }
    // Written so that what is no number has expired too.
    if (!(expiresAt > now)) {
      return new Unauthenticated({ message: "the bearer token that was obtained has expired" })
    }
    return Effect.succeed({
      metadata: Metadata.make([["authorization", `Bearer ${text}`]]),
      obtainedAt: now,
      // One that lasts shorter than that is not obtained again for each call.
      refreshAt: expiresAt - Math.min(refreshBefore, (expiresAt - now) / 2),
      expiresAt
    })
  })

export const make = <R>({
  obtain,
  refreshBefore,
  timeout
}: Settings<R>): Effect.Effect<TokenSource, never, R | Scope.Scope> =>
  Effect.map(FiberSet.makeRuntime<R, Token, CallError>(), (run) => {
    let current: Token | undefined
    let pending: Deferred.Deferred<Token, CallError> | undefined
    let failed: { readonly exit: Exit.Exit<never, CallError>; readonly at: number } | undefined

    const obtaining = Effect.flatMap(obtain, (obtained) => toToken(obtained, Duration.toMillis(refreshBefore))).pipe(
      Effect.timeoutFail({
        duration: timeout,
        onTimeout: () => new DeadlineExceeded({ message: "the bearer token took too long to obtain" })
      })
    )

    const refreshing = Effect.tapErrorCause(obtaining, (cause) =>
      // The cause is the program's own, and so is what it says; the token is in neither.
      Effect.logWarning("the bearer token could not be refreshed; keeping the previous one", cause)
    )

    const closedOr = (cause: Cause.Cause<CallError>): Cause.Cause<CallError> =>
      Cause.isInterruptedOnly(cause)
        ? Cause.fail(new Unavailable({ message: "the source of bearer tokens is closed", processed: "no" }))
        : cause

    const settle = (exit: Exit.Exit<Token, CallError>, clock: Clock.Clock): Exit.Exit<Token, CallError> => {
      pending = undefined
      if (Exit.isSuccess(exit)) {
        current = exit.value
        failed = undefined
        return exit
      }
      failed = { exit: Exit.failCause(closedOr(exit.cause)), at: Time.now(clock) }
      return failed.exit
    }

    /** Asks once, however many wait for it. */
    const start = (how: typeof obtaining, clock: Clock.Clock): Deferred.Deferred<Token, CallError> => {
      if (pending !== undefined) {
        return pending
      }
      const started = Deferred.makeUnsafe<Token, CallError>()
      pending = started
      run(how).addObserver((exit) => Deferred.doneUnsafe(started, settle(exit, clock)))
      return started
    }

    const isRecent = (at: number, clock: Clock.Clock) => Time.now(clock) - at < retryDelayMillis

    /** How the last try failed, where it is too early for another. */
    const recentFailure = (clock: Clock.Clock) =>
      failed !== undefined && isRecent(failed.at, clock) ? failed.exit : undefined

    return {
      current: (clock) => {
        const now = Time.now(clock)
        if (current === undefined || now >= current.expiresAt) {
          return undefined
        }
        if (now >= current.refreshAt && recentFailure(clock) === undefined) {
          start(refreshing, clock)
        }
        return current
      },
      next: (clock) => recentFailure(clock) ?? Deferred.await(start(obtaining, clock)),
      refuse: (token, clock) => {
        if (token !== current) {
          return true
        }
        if (isRecent(token.obtainedAt, clock)) {
          return false
        }
        current = undefined
        return true
      }
    }
  })
