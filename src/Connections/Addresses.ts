/** Looks up the addresses of a name, and connects to the first that works: the same on every wire. */
import Dns from "node:dns"
import * as Net from "node:net"
import * as Arr from "effect/Array"
import * as Deferred from "effect/Deferred"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as ExecutionStrategy from "effect/ExecutionStrategy"
import * as Exit from "effect/Exit"
import * as Scope from "effect/Scope"
import * as Unreachable from "../Transport/internal/unreachable.js"
import * as Peer from "../Transport/Peer.js"
import { DeadlineExceeded, type HandshakeFailed, type Unavailable } from "../Transport/TransportError.js"
import type { TargetNames } from "../Transport/TransportService.js"

type Failure = Unavailable | DeadlineExceeded | HandshakeFailed

/** How long an address may be silent until the next is tried beside it (RFC 8305, section 5). */
const attemptDelay = Duration.millis(250)

/** Lookups of one name at a time: each holds one of the few threads of the process while it hangs. */
const maxLookups = 2

/** The lookups under way, by the function that does them, which a program may replace, and by name. */
const lookups = new WeakMap<typeof Dns.promises.lookup, Map<string, Array<Promise<ReadonlyArray<string>>>>>()

const lookup = (name: string): Promise<ReadonlyArray<string>> => {
  const by = Dns.promises.lookup
  const names = lookups.get(by) ?? new Map<string, Array<Promise<ReadonlyArray<string>>>>()
  const running = names.get(name) ?? []
  const last = running.at(-1)
  if (last !== undefined && running.length >= maxLookups) {
    return last
  }
  const begun = by(name, { all: true }).then((all) => all.map(({ address }) => address))
  const done = () => {
    running.splice(running.indexOf(begun), 1)
    if (running.length === 0) {
      names.delete(name)
    }
  }
  running.push(begun)
  names.set(name, running)
  lookups.set(by, names)
  begun.then(done, done)
  return begun
}

/**
 * Names that always mean this machine (RFC 6761, section 6.3), even if its hosts file has one address for them or none.
 */
const isLocalhost = (name: string): boolean => /(^|\.)localhost\.?$/.test(name)
const loopback = ["127.0.0.1", "::1"]

const isUnknown = (cause: unknown): boolean => cause instanceof Error && "code" in cause && cause.code === "ENOTFOUND"

/** Alternates the address families, so that one that leads nowhere costs little (RFC 8305, section 4). */
const interleave = (addresses: ReadonlyArray<string>): ReadonlyArray<string> => {
  const first = addresses.filter((address) => Net.isIP(address) === Net.isIP(addresses[0] ?? ""))
  const second = addresses.filter((address) => !first.includes(address))
  return first.flatMap((address, i) => [address, ...second.slice(i, i + 1)]).concat(second.slice(first.length))
}

/**
 * The addresses of a name as the system knows them, those of both IP versions in turn. Rejects with the error of
 * `dns.lookup`.
 */
export const resolve = async (name: string): Promise<ReadonlyArray<string>> => {
  try {
    const found = await lookup(name)
    return interleave([...new Set(isLocalhost(name) ? [...found, ...loopback] : found)])
  } catch (cause) {
    if (isUnknown(cause) && isLocalhost(name)) {
      return loopback
    }
    // Hosts files know no names that end with a dot.
    if (isUnknown(cause) && name.endsWith(".")) {
      return resolve(name.slice(0, -1))
    }
    throw cause
  }
}

const endpointsOf = <T extends Peer.Target>(target: T, peer: string): Effect.Effect<ReadonlyArray<T>, Unavailable> =>
  target._tag === "Unix" || Net.isIP(target.host) !== 0
    ? Effect.succeed([target])
    : Effect.map(
        Effect.tryPromise({ try: () => resolve(target.host), catch: (cause) => Unreachable.unreachable(peer, cause) }),
        Arr.map((host) => ({ ...target, host }))
      )

/** The first attempt that succeeds. Each begins when the one before it has failed or has been silent for a while. */
const firstOf = <A, E, R>([attempt, ...others]: Arr.NonEmptyReadonlyArray<Effect.Effect<A, E, R>>): Effect.Effect<
  A,
  E,
  R
> =>
  Arr.isNonEmptyReadonlyArray(others)
    ? Effect.flatMap(Deferred.make<void>(), (failed) =>
        Effect.race(
          Effect.tapErrorCause(attempt, () => Deferred.succeed(failed, undefined)),
          Deferred.await(failed).pipe(Effect.timeoutOption(attemptDelay), Effect.zipRight(firstOf(others)))
        )
      )
    : attempt

/** The error for all failures. A refusal tells most, because that peer has answered. */
const summary = (failures: ReadonlyArray<Failure>, peer: string): Failure | undefined =>
  failures.length === 1
    ? failures[0]
    : (failures.find(({ _tag }) => _tag === "HandshakeFailed") ??
      (failures.length === 0
        ? undefined
        : Unreachable.unreachable(peer, new AggregateError(failures.map((failure) => failure.cause ?? failure)))))

const late = (peer: string, isResolved: boolean, failures: ReadonlyArray<Failure>): Failure => {
  const known = summary(failures, peer)
  if (known?._tag === "HandshakeFailed") {
    return known
  }
  const message = `no connection to ${peer} in time`
  const why = failures.map((failure) => failure.cause ?? failure)
  return new DeadlineExceeded({
    message: !isResolved
      ? `${message}: its name is still being looked up`
      : why.length > 0
        ? `${message}: ${Unreachable.reasonOf(new AggregateError(why))}`
        : message,
    peer,
    ...(known === undefined ? {} : { cause: known })
  })
}

/**
 * Connects to the first address of a target that works, within the time. A slow attempt goes on while the next address
 * is tried beside it ("Happy Eyeballs", RFC 8305).
 *
 * Fails with `DeadlineExceeded` if the time is over, with `HandshakeFailed` if an address has refused this side, and
 * with `Unavailable` if the name is unknown or no address can be reached.
 */
export const connect = <T extends Peer.Target, A, R>(
  target: T,
  timeout: Duration.Duration,
  attempt: (to: T) => Effect.Effect<A, Failure, R | Scope.Scope>,
  /** Other addresses of the same peer. */
  alternatives: ReadonlyArray<T> = []
): Effect.Effect<A, Failure, R | Scope.Scope> => {
  const peer = Peer.formatTarget(target)
  return Effect.gen(function* () {
    const scope = yield* Effect.scope
    const failures: Array<Failure> = []
    let isResolved = false
    let isDecided = false
    /** An attempt in a scope of its own, which closes if the attempt fails. */
    const one = (to: T) =>
      Effect.flatMap(Scope.fork(scope, ExecutionStrategy.sequential), (own) =>
        attempt(to).pipe(
          Scope.extend(own),
          Effect.tapError((failure) => Effect.sync(() => failures.push(failure))),
          Effect.tap(() => {
            // Two attempts may succeed at once.
            const isFirst = !isDecided
            isDecided = true
            return isFirst ? Effect.void : Effect.never
          }),
          Effect.onError((cause) => Scope.close(own, Exit.failCause(cause)))
        )
      )
    const connecting = Effect.gen(function* () {
      const found = yield* endpointsOf(target, peer)
      const endpoints =
        alternatives.length === 0
          ? found
          : [...found, ...(yield* Effect.forEach(alternatives, (to) => endpointsOf(to, peer))).flat()]
      isResolved = true
      return yield* Arr.isNonEmptyReadonlyArray(endpoints)
        ? firstOf(Arr.map(endpoints, one))
        : Effect.fail(Unreachable.unreachable(peer, new Error(`${peer} has no address`)))
    })
    return yield* connecting.pipe(
      Effect.catchAll((failure) => Effect.fail(summary(failures, peer) ?? failure)),
      Effect.timeoutFail({ duration: timeout, onTimeout: () => late(peer, isResolved, failures) })
    )
  })
}

/** The peer as requests name it: by the name that it was found by, where there is one. */
export const authorityFor = (target: Peer.Target, { hostName, serverName }: TargetNames): string => {
  const host = serverName ?? hostName
  return authorityOf(
    host === undefined || target._tag === "Unix"
      ? Peer.formatTarget(target)
      : Peer.formatAddress({ host: host.replace(/\.$/, ""), port: target.port })
  )
}

/**
 * The peer as requests name it (RFC 9110, section 7.2), without zones and socket paths, which only mean something here.
 */
export const authorityOf = (peer: string): string =>
  peer.startsWith("unix:") ? "localhost" : peer.replace(/%[^\]]*\]/, "]")
