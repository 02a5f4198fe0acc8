/** Credentials that follow their files, and warnings before their certificate expires. */
import { X509Certificate } from "node:crypto"
import * as Clock from "effect/Clock"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Metric from "effect/Metric"
import * as Option from "effect/Option"
import * as Queue from "effect/Queue"
import * as Redacted from "effect/Redacted"
import * as Ref from "effect/Ref"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import * as SubscriptionRef from "effect/SubscriptionRef"
import { CredentialsError } from "../../Transport/TransportError.js"
import * as TransportMetrics from "../../Transport/TransportMetrics.js"
import * as Watch from "../FileWatch.js"
import type { KeyPair, Tls } from "./material.js"

/**
 * How credentials follow their files.
 *
 * @since 0.1.0
 * @category models
 */
export interface RotationOptions {
  /** Whether files are read again when they change. Default: true. */
  readonly watch?: boolean | undefined
  /** How often files are checked where the system tells of no change, as on network file systems. Default: 1 minute. */
  readonly pollInterval?: Duration.DurationInput | undefined
  /** How long files must have stayed unchanged before they are read. Default: 100 milliseconds. */
  readonly settle?: Duration.DurationInput | undefined
  /**
   * How long before the certificate expires a warning is logged, and again every day. Default: 7 days, or a third of
   * the certificate's life if that is shorter.
   */
  readonly warnBefore?: Duration.DurationInput | undefined
}

/** How to load the credentials, and the files that this reads. */
export interface Source {
  readonly load: Effect.Effect<Tls, CredentialsError>
  readonly files: ReadonlyArray<string>
}

/** Credentials that may be replaced. */
export interface Rotating {
  readonly current: Effect.Effect<Tls>
  readonly changes: Stream.Stream<Tls>
}

/**
 * Loads the credentials, and again whenever their files change. Fails with `CredentialsError` if they can't be loaded
 * at first; later failures are logged and counted, and the previous credentials stay.
 */
export const make = (
  source: Source,
  options: RotationOptions
): Effect.Effect<Rotating, CredentialsError, Scope.Scope> =>
  Effect.gen(function* () {
    const signature = yield* Watch.signatureOf(source.files)
    const first = yield* source.load
    if (source.files.length === 0 || options.watch === false) {
      const rotating = {
        current: Effect.succeed(first),
        changes: Stream.concat(Stream.succeed(first), Stream.never)
      }
      yield* tellExpiry(rotating.changes, options)
      return rotating
    }
    const ref = yield* SubscriptionRef.make(first)
    yield* Effect.forkScoped(Effect.interruptible(follow(source, options, ref, signature)))
    yield* tellExpiry(ref.changes, options)
    return { current: Ref.get(ref), changes: ref.changes }
  })

/** Whether two materials are the same. Lists may be long: they are compared without making one string of them. */
const isSame = (one: Tls, other: Tls): boolean =>
  contentOf(one) === contentOf(other) &&
  one.crl?.length === other.crl?.length &&
  (one.crl ?? []).every((list, index) => list === other.crl?.[index])

/** Everything in which two materials can differ, except their lists. */
const contentOf = ({ ca, certificate, pins, trustDomains }: Tls): string =>
  JSON.stringify([
    ca,
    trustDomains,
    pins === undefined ? undefined : [pins.mode, pins.all, [...pins.byName]],
    Option.match(certificate, { onNone: () => "", onSome: ({ chain, key }) => [chain, Redacted.value(key)] })
  ])

const outOfReach = new CredentialsError({
  reason: "AccessDenied",
  part: "credentials",
  message: `credentials: their files can't be checked within ${Duration.format(Watch.lookTimeout)}`
})

/** Events come in bursts, and files are written in pieces. After so many periods they are read even if that goes on. */
const maxSettles = 20

const follow = (
  { files, load }: Source,
  { pollInterval = "1 minute", settle = "100 millis" }: RotationOptions,
  ref: SubscriptionRef.SubscriptionRef<Tls>,
  initial: string | undefined
): Effect.Effect<never, never, Scope.Scope> =>
  Effect.gen(function* () {
    const events = yield* Queue.sliding<void>(1)
    const watchers = yield* Watch.make(files, () => events.unsafeOffer(undefined))
    let signature = initial
    let failure: string | undefined

    const settled: (left: number) => Effect.Effect<void> = (left) =>
      Effect.sleep(settle).pipe(
        Effect.zipRight(Queue.poll(events)),
        Effect.flatMap((more) => (Option.isSome(more) && left > 0 ? settled(left - 1) : Effect.void))
      )

    const onFailure = (error: CredentialsError, isNew: boolean) => {
      if (!isNew && failure === error.message) {
        return Effect.void
      }
      failure = error.message
      return Effect.zipRight(
        Metric.increment(Metric.tagged(TransportMetrics.credentialsRotationFailures, "reason", error.reason)),
        Effect.annotateLogs(
          Effect.logWarning(`credential rotation failed; keeping the previous credentials: ${error.message}`),
          {
            reason: error.reason
          }
        )
      )
    }

    const onSuccess = (next: Tls) =>
      Effect.gen(function* () {
        failure = undefined
        if (isSame(next, yield* Ref.get(ref))) {
          return
        }
        yield* SubscriptionRef.set(ref, next)
        yield* Metric.increment(TransportMetrics.credentialsRotations)
        yield* Effect.annotateLogs(
          Effect.logInfo("credentials rotated; new connections use the new ones"),
          Option.match(next.certificate, { onNone: () => ({}), onSome: described })
        )
      })

    const look = Effect.gen(function* () {
      const now = yield* watchers.look
      if (now === undefined) {
        return yield* onFailure(outOfReach, failure === undefined)
      }
      const isNew = now !== signature
      // Failed credentials are tried again: a certificate becomes valid without a change of its file.
      if (!isNew && failure === undefined) {
        return
      }
      signature = now
      yield* Effect.matchEffect(load, { onFailure: (error) => onFailure(error, isNew), onSuccess })
    })

    // The files may have changed between the first reading and the first watcher.
    if ((yield* watchers.look) !== signature) {
      events.unsafeOffer(undefined)
    }
    return yield* Effect.forever(
      Effect.timeoutOption(Queue.take(events), pollInterval).pipe(
        Effect.flatMap((event) => (Option.isSome(event) ? settled(maxSettles) : Effect.void)),
        Effect.zipRight(look)
      )
    )
  })

const described = ({ identity: { fingerprint, notAfter, subject } }: KeyPair): Record<string, string> => ({
  subject,
  fingerprint,
  notAfter: notAfter.toISOString()
})

const week = Duration.toMillis("7 days")
const day = Duration.toMillis("1 day")

/** Sets the gauge every minute, and warns once a day when the certificate is about to expire. */
const tellExpiry = (
  changes: Stream.Stream<Tls>,
  { warnBefore }: RotationOptions
): Effect.Effect<void, never, Scope.Scope> => {
  const tell = (pair: KeyPair) => {
    const { notAfter, subject } = pair.identity
    const life = notAfter.getTime() - Date.parse(new X509Certificate(pair.chain).validFrom)
    const threshold = warnBefore === undefined ? Math.min(week, life / 3) : Duration.toMillis(warnBefore)
    const gauge = Metric.tagged(TransportMetrics.credentialsSecondsToExpiry, "subject", subject)
    let warned = Number.NEGATIVE_INFINITY
    return Effect.gen(function* () {
      const now = yield* Clock.currentTimeMillis
      // The system's clock decides on the validity of certificates, not Effect's.
      const left = notAfter.getTime() - Date.now()
      yield* Metric.set(gauge, Math.floor(left / 1000))
      if (left < threshold && now - warned >= day) {
        warned = now
        yield* Effect.annotateLogs(
          Effect.logWarning(
            left < 0
              ? "the certificate has expired; peers refuse it until it is replaced"
              : `the certificate expires in ${Duration.format(Duration.seconds(Math.ceil(left / 1000)))}; peers refuse it from then on`
          ),
          described(pair)
        )
      }
      yield* Effect.sleep("1 minute")
    }).pipe(Effect.forever)
  }
  return changes.pipe(
    Stream.flatMap(
      ({ certificate }) =>
        Option.match(certificate, { onNone: () => Stream.never, onSome: (pair) => Stream.fromEffect(tell(pair)) }),
      { switch: true }
    ),
    Stream.runDrain,
    Effect.interruptible,
    Effect.forkScoped,
    Effect.asVoid
  )
}
