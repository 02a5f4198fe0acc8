/** The calls of a client with several endpoints: each on the endpoint that is picked for it, and once on another if it was not taken. */
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Exit from "effect/Exit"
import * as Option from "effect/Option"
import * as Stream from "effect/Stream"
import type { Balance } from "../../../Transport/Balancing.js"
import type { Connection, OutgoingCall } from "../../../Transport/Connection.js"
import * as CallMetrics from "../../../Transport/internal/callMetrics.js"
import * as Status from "../../../Transport/internal/status.js"
import * as Unreachable from "../../../Transport/internal/unreachable.js"
import type * as Method from "../../../Transport/Method.js"
import {
  type CallError,
  Cancelled,
  type ConnectError,
  DeadlineExceeded,
  HandshakeFailed,
  Internal,
  isStatusError,
  Unavailable
} from "../../../Transport/TransportError.js"
import type { Balancer } from "./balancer.js"
import type { Member } from "./member.js"
import * as Repeatable from "./repeatable.js"

type AnyMethod = Pick<Method.Any, "path" | "shape">

/** Why no endpoint can be reached, as whoever connects is told. */
export const summary = (errors: ReadonlyArray<ConnectError>, label: string): ConnectError => {
  const [first] = errors
  if (first === undefined) {
    return Unreachable.unreachable(label, new Error("there is no endpoint that serves"))
  }
  const isRefusal = errors.every(({ _tag }) => _tag === "HandshakeFailed")
  return errors.length === 1 || isRefusal
    ? first
    : Unreachable.unreachable(label, new AggregateError(errors.map((error) => error.cause ?? error)))
}

/** The same to a call: it has not begun. */
const ofCall = (error: ConnectError, method: string, label: string): Unavailable | HandshakeFailed =>
  error._tag === "HandshakeFailed" || error._tag === "Unavailable"
    ? Status.ofCall(error, method)
    : new Unavailable({ message: error.message, peer: error.peer ?? label, processed: "no", method, cause: error })

const isUntaken = (error: unknown): boolean =>
  (error instanceof Unavailable && error.processed === "no") || error instanceof HandshakeFailed

/** A call, and the endpoint that it goes to if this one has not taken it. */
interface Attempt {
  readonly call: OutgoingCall
  readonly since: number
  readonly next: () => Member | undefined
}

/** `methods` is where calls are measured that found no endpoint. */
export const make = (balancer: Balancer, balance: Balance, methods: CallMetrics.Methods | undefined): Connection => {
  const { boundary, ejection, label } = balancer

  const keyOf = (
    { path }: AnyMethod,
    call: OutgoingCall,
    request: unknown
  ): Either.Either<string | undefined, Internal> => {
    if (call.key !== undefined || typeof balance === "string") {
      return Either.right(call.key)
    }
    try {
      return Either.right(String(balance.byKey({ method: path, metadata: call.metadata, request })))
    } catch (cause) {
      boundary.caught("callback", label, cause)
      return Either.left(new Internal({ message: "the key's function threw", method: path, peer: label, cause }))
    }
  }

  const failed = <E extends CallError>({ path }: AnyMethod, since: number, error: E): E => {
    CallMetrics.ended(methods?.(path), CallMetrics.codeOf(error), performance.now() - since)
    return error
  }

  /** Waits for an endpoint, as long as one may come or the call wants to wait. */
  const wait = (method: AnyMethod, call: OutgoingCall, key: string | undefined): Effect.Effect<Member, CallError> =>
    Effect.gen(function* () {
      balancer.start()
      for (;;) {
        const member = balancer.pick(key)
        if (member !== undefined) {
          return member
        }
        if (balancer.isClosed()) {
          return yield* new Cancelled({
            message: "the client was closed",
            processed: "no",
            method: method.path,
            peer: label
          })
        }
        const errors = balancer.whyNot()
        balancer.want(key)
        if (errors !== undefined && !call.waitForReady) {
          return yield* ofCall(summary(errors, label), method.path, label)
        }
        // Asking for one may have made it ready at once.
        const now = balancer.pick(key)
        if (now !== undefined) {
          return now
        }
        yield* balancer.changed
      }
    }).pipe(
      Effect.timeoutFail({
        duration: call.timeout,
        onTimeout: () =>
          new DeadlineExceeded({ message: `no connection to ${label} in time`, peer: label, method: method.path })
      })
    )

  /** Picks an endpoint: at once, where one is ready. */
  const withMember = <A, E>(
    method: AnyMethod,
    call: OutgoingCall,
    request: unknown,
    run: (member: Member, call: OutgoingCall, key: string | undefined) => Effect.Effect<A, E>
  ): Effect.Effect<A, E | CallError> =>
    Effect.suspend((): Effect.Effect<A, E | CallError> => {
      const since = performance.now()
      const key = keyOf(method, call, request)
      if (Either.isLeft(key)) {
        return Effect.fail(failed(method, since, key.left))
      }
      const member = balancer.pick(key.right)
      return member !== undefined
        ? run(member, call, key.right)
        : Effect.matchEffect(wait(method, call, key.right), {
            onFailure: (error) => Effect.fail(failed(method, since, error)),
            onSuccess: (member) => run(member, within(call, since), key.right)
          })
    })

  const within = (call: OutgoingCall, since: number): OutgoingCall => ({
    ...call,
    timeout: Math.max(1, call.timeout - (performance.now() - since))
  })

  /** The first attempt of a call. `mayMove` says whether it can be made again at all. */
  const attempt = (member: Member, call: OutgoingCall, key: string | undefined, mayMove: () => boolean): Attempt => {
    let next: Member | undefined
    return {
      since: performance.now(),
      next: () => next,
      call: {
        ...call,
        goesElsewhere: (error) => {
          next ??= isUntaken(error) && mayMove() ? balancer.pick(key, member) : undefined
          return next !== undefined
        }
      }
    }
  }

  const end = (member: Member, exit: Exit.Exit<unknown, unknown>, latency: number | undefined) => {
    if (Exit.isSuccess(exit)) {
      ejection.succeeded(member, latency)
    } else {
      const error = Option.getOrUndefined(Cause.failureOption(exit.cause))
      if (isStatusError(error)) {
        ejection.failed(member, error)
      }
    }
    member.release()
  }

  const unaryOn = <I, O, II, OO>(
    member: Member,
    method: Method.Method<I, O, Method.Shape, II, OO>,
    request: II,
    call: OutgoingCall
  ): Effect.Effect<O, CallError> =>
    Effect.suspend(() => {
      const { connection } = member
      if (connection === undefined) {
        return Effect.fail(ofCall(summary([], label), method.path, label))
      }
      const since = performance.now()
      member.begin()
      return Effect.onExit(connection.unary(method, request, call), (exit) =>
        Effect.sync(() => end(member, exit, performance.now() - since))
      )
    })

  const always = () => true

  const unary: Connection["unary"] = (method, request, call) =>
    withMember(method, call, request, (member, call, key) => {
      const first = attempt(member, call, key, always)
      return Effect.catchAll(unaryOn(member, method, request, first.call), (error) => {
        const next = first.next()
        return next === undefined
          ? Effect.fail(error)
          : unaryOn(next, method, request, { ...within(call, first.since), goesElsewhere: undefined })
      })
    })

  const streamOn = <I, O, II, OO, E>(
    member: Member,
    method: Method.Method<I, O, Method.Shape, II, OO>,
    requests: Stream.Stream<II, E>,
    call: OutgoingCall
  ): Stream.Stream<O, CallError | E> =>
    Stream.suspend(() => {
      const { connection } = member
      if (connection === undefined) {
        return Stream.fail(ofCall(summary([], label), method.path, label))
      }
      member.begin()
      return Stream.ensuringWith(connection.stream(method, requests, call), (exit) =>
        Effect.sync(() => end(member, exit, undefined))
      )
    })

  const stream = <I, O, II, OO, E>(
    method: Method.Method<I, O, Method.Shape, II, OO>,
    requests: Stream.Stream<II, E>,
    call: OutgoingCall
  ): Stream.Stream<O, CallError | E> =>
    Stream.unwrap(
      withMember(method, call, undefined, (member, call, key) => {
        const repeatable = Repeatable.make(requests, method.shape === "serverStreaming")
        const first = attempt(member, call, key, repeatable.mayRepeat)
        return Effect.succeed(
          Stream.catchAll(streamOn(member, method, repeatable.requests, first.call), (error) => {
            const next = first.next()
            return next === undefined || !isUntaken(error)
              ? Stream.fail(error)
              : streamOn(next, method, repeatable.requests, { ...within(call, first.since), goesElsewhere: undefined })
          })
        )
      })
    )

  return { unary, stream }
}
