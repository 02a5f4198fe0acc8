/**
 * Bearer tokens in `authorization`: clients that send them, and services that verify them.
 *
 * Source: RFC 6750, section 2.1.
 *
 * @since 0.1.0
 */
import { createHash, timingSafeEqual } from "node:crypto"
import type * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Redacted from "effect/Redacted"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import type { Call } from "../Call.js"
import type { Deadline } from "../Deadline.js"
import * as CallDeadline from "../internal/callDeadline.js"
import * as TokenSource from "../internal/tokenSource.js"
import * as Metadata from "../Metadata.js"
import { type CallError, Unauthenticated } from "../TransportError.js"
import { type ClientCall, type ClientMiddleware, selfContained } from "./ClientMiddleware.js"
import { type ServerMiddleware, server } from "./ServerMiddleware.js"

/**
 * @since 0.1.0
 * @category models
 */
export interface BearerToken {
  readonly value: Redacted.Redacted
  /** When it ends, in milliseconds since the epoch by the program's `Clock`. Default: never. */
  readonly expiresAt?: Deadline | undefined
}

/**
 * @since 0.1.0
 * @category models
 */
export interface BearerTokenOptions<out R> {
  /** Obtains a token. It runs once for all calls that wait for one, and no more than once a second where it fails. */
  readonly token: Effect.Effect<BearerToken, CallError, R>
  /**
   * How long before its end a token is replaced, while calls go on with it. Default 1 minute, and never more than half of the
   * token's time.
   */
  readonly refreshBefore?: Duration.DurationInput | undefined
  /** How long obtaining one may take. Default 30 seconds; a call waits no longer than its deadline. */
  readonly timeout?: Duration.DurationInput | undefined
  /**
   * Whether a call that ends as `Unauthenticated` is made once more, with a new token. Default true. Where a handler
   * behind the verification may pass on the `Unauthenticated` of another node, it would run twice: say false.
   */
  readonly retry?: boolean | undefined
}

/**
 * For clients: sends a token with each call, unless the call has an `authorization` of its own. The token is obtained when the
 * first call needs it, and again before it expires and after a peer has refused it as `Unauthenticated`; in the second case the
 * call is made once more, where it has one request and no answer has come. It is one token for all clients that are given the
 * middleware.
 *
 * A call fails as `token` does where there is none. No error and no log line of this middleware's has the token in it.
 * Whoever can read the connection can read the token: it belongs on connections with TLS.
 *
 * @example
 * ```ts
 * import { Clock, Effect, Redacted } from "effect"
 * import { Middleware, Transport } from "effect-transport"
 * import { EchoService } from "./gen/echo/v1/echo_pb.js"
 *
 * declare const login: Effect.Effect<{ readonly access_token: string; readonly expires_in: number }>
 *
 * const program = Effect.gen(function* () {
 *   const auth = yield* Middleware.bearerToken({
 *     token: Effect.gen(function* () {
 *       const now = yield* Clock.currentTimeMillis
 *       const { access_token, expires_in } = yield* login
 *       return { value: Redacted.make(access_token), expiresAt: now + expires_in * 1000 }
 *     })
 *   })
 *   return yield* Transport.client(EchoService, "peer-node:50051", { middleware: [auth] })
 * })
 * ```
 *
 * @since 0.1.0
 * @category ready-made
 */
export const bearerToken = <R = never>({
  refreshBefore = "1 minute",
  retry = true,
  timeout = "30 seconds",
  token
}: BearerTokenOptions<R>): Effect.Effect<ClientMiddleware, never, R | Scope.Scope> =>
  Effect.map(
    TokenSource.make({
      obtain: token,
      refreshBefore: Duration.decode(refreshBefore),
      timeout: Duration.decode(timeout)
    }),
    (source) => sending(source, retry)
  )

const sending = (source: TokenSource.TokenSource, retry: boolean): ClientMiddleware => {
  /** A token, before the call's deadline. */
  const tokenFor = (call: ClientCall): Effect.Effect<TokenSource.Token, CallError> =>
    Effect.clockWith((clock) => {
      const token = source.current(clock)
      return token !== undefined ? Effect.succeed(token) : CallDeadline.until(source.next(clock), call)
    })

  /** Whether a call has failed for its token, and there will be another. */
  const isReplaced = (error: unknown, { method }: ClientCall, token: TokenSource.Token): Effect.Effect<boolean> =>
    Effect.clockWith((clock) =>
      Effect.succeed(error instanceof Unauthenticated && error.method === method && source.refuse(token, clock))
    )

  return selfContained({
    unary: (call, next) => {
      if (hasOwn(call)) {
        return next(call)
      }
      const send = Effect.flatMap(tokenFor(call), (token) =>
        Effect.catchAll(next(withToken(call, token)), (error) =>
          Effect.flatMap(isReplaced(error, call, token), (replaced) => (replaced && retry ? again : Effect.fail(error)))
        )
      )
      const again = Effect.flatMap(tokenFor(call), (token) => next(withToken(call, token)))
      return send
    },
    stream: (call, next) => {
      if (hasOwn(call)) {
        return next(call)
      }
      const again = Stream.unwrap(Effect.map(tokenFor(call), (token) => next(withToken(call, token))))
      return Stream.unwrap(
        Effect.map(tokenFor(call), (token) => {
          // Requests that stream can't be taken a second time.
          let mayRepeat = retry && call.shape === "serverStreaming"
          return next(withToken(call, token)).pipe(
            Stream.mapChunks((chunk) => {
              mayRepeat = false
              return chunk
            }),
            Stream.catchAll((error) =>
              Stream.unwrap(
                Effect.map(isReplaced(error, call, token), (replaced) =>
                  replaced && mayRepeat ? again : Stream.fail(error)
                )
              )
            )
          )
        })
      )
    }
  })
}

const hasOwn = ({ metadata }: ClientCall): boolean => metadata.entries.some(([name]) => name === "authorization")

const withToken = <C extends ClientCall>(call: C, token: TokenSource.Token): C => ({
  ...call,
  metadata: Metadata.concat(call.metadata, token.metadata)
})

/**
 * @since 0.1.0
 * @category models
 */
export interface VerifyBearerTokenOptions<in out I, in out S, out R> {
  /** The service that handlers know the caller by. */
  readonly provides: Context.Tag<I, S>
  /** Who has the token: any failure ends the call with its status. */
  readonly verify: (token: Redacted.Redacted, call: Call) => Effect.Effect<S, CallError, R>
}

const scheme = /^bearer +([A-Za-z0-9\-._~+/]+=*) *$/i

/**
 * For handlers: verifies the token that a call was sent with, and provides whom it belongs to. A call without a token, with
 * two, or with what is none, fails with `Unauthenticated` before `verify` is asked.
 *
 * Compare a token that is known with `tokenEquals`, which takes the same time whatever is in it.
 *
 * @example
 * ```ts
 * import { Config, Context, Effect } from "effect"
 * import { Middleware, Unauthenticated } from "effect-transport"
 *
 * class Caller extends Context.Tag("app/Caller")<Caller, { readonly name: string }>() {}
 *
 * const auth = Effect.map(Config.redacted("METRICS_TOKEN"), (known) =>
 *   Middleware.verifyBearerToken({
 *     provides: Caller,
 *     verify: (token) =>
 *       Middleware.tokenEquals(token, known)
 *         ? Effect.succeed({ name: "metrics" })
 *         : new Unauthenticated({ message: "this token is not known" })
 *   })
 * )
 * ```
 *
 * @since 0.1.0
 * @category ready-made
 */
export const verifyBearerToken = <I, S, R = never>({
  provides,
  verify
}: VerifyBearerTokenOptions<I, S, R>): ServerMiddleware<I, R> =>
  server({
    provides,
    run: (call) => {
      const [value = "", ...others] = Metadata.getAll(call.metadata, "authorization")
      const token = others.length === 0 ? scheme.exec(value)?.[1] : undefined
      return token === undefined
        ? new Unauthenticated({ message: "a bearer token is required", method: call.method })
        : verify(Redacted.make(token), call)
    }
  })

const digest = (token: Redacted.Redacted) => createHash("sha256").update(Redacted.value(token)).digest()

/**
 * Whether two tokens are the same, in a time that does not tell where they differ.
 *
 * @since 0.1.0
 * @category ready-made
 */
export const tokenEquals = (self: Redacted.Redacted, that: Redacted.Redacted): boolean =>
  timingSafeEqual(digest(self), digest(that))
