/** Shares the transport of a layer among all its uses under the same credentials. */
import * as Config from "effect/Config"
import type * as ConfigError from "effect/ConfigError"
import type * as Context from "effect/Context"
import * as Data from "effect/Data"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as MutableHashMap from "effect/MutableHashMap"
import * as Option from "effect/Option"
import * as Scope from "effect/Scope"
import * as Credentials from "../Credentials/Credentials.js"
import { escapeText } from "../Transport/internal/boundary.js"

/** A transport and the number of its users. */
interface Shared<A, E> {
  users: number
  readonly scope: Scope.CloseableScope
  readonly built: Deferred.Deferred<A, E>
  fiber: Fiber.Fiber<A, E> | undefined
}

/**
 * The layer of a transport. Effect memoizes layers by reference, whatever is provided to them: a constant would be
 * built once, with the credentials that come first. So this layer is built wherever it is used, and the transport is
 * made once for each `Credentials` value, in the runtime of its first user (loggers, tracer, clock, configuration),
 * whose interruption does not end it. It ends with the last user. If it can't be made, all who wait fail with the error
 * of `build`, and the next user tries again.
 */
export const make = <I, E>(
  build: (credentials: Credentials.CredentialsService) => Effect.Effect<Context.Context<I>, E, Scope.Scope>
): Layer.Layer<I, E, Credentials.Credentials> => {
  const transports = new WeakMap<Credentials.CredentialsService, Shared<Context.Context<I>, E>>()

  const forget = (credentials: Credentials.CredentialsService, shared: Shared<Context.Context<I>, E>) => {
    if (transports.get(credentials) === shared) {
      transports.delete(credentials)
    }
  }

  const start = (credentials: Credentials.CredentialsService, shared: Shared<Context.Context<I>, E>) =>
    Scope.extend(build(credentials), shared.scope).pipe(
      Effect.interruptible,
      Effect.onExit((exit) => {
        if (Exit.isSuccess(exit)) {
          return Deferred.done(shared.built, exit)
        }
        forget(credentials, shared)
        return Effect.zipRight(Scope.close(shared.scope, exit), Deferred.done(shared.built, exit))
      }),
      Effect.forkDaemon,
      Effect.tap((fiber) =>
        Effect.sync(() => {
          shared.fiber = fiber
        })
      )
    )

  const leave = (credentials: Credentials.CredentialsService, shared: Shared<Context.Context<I>, E>) =>
    Effect.suspend(() => {
      shared.users -= 1
      if (shared.users > 0) {
        return Effect.void
      }
      forget(credentials, shared)
      return Effect.zipRight(
        shared.fiber === undefined ? Effect.void : Fiber.interrupt(shared.fiber),
        Scope.close(shared.scope, Exit.void)
      )
    })

  const use = (credentials: Credentials.CredentialsService) =>
    Effect.uninterruptibleMask((restore) =>
      Effect.gen(function* () {
        const fresh = { users: 0, scope: yield* Scope.make(), built: yield* Deferred.make<Context.Context<I>, E>() }
        // No other fiber runs between the lookup and the change.
        const [shared, isFirst] = yield* Effect.sync(() => {
          const found = transports.get(credentials)
          const shared = found ?? { ...fresh, fiber: undefined }
          transports.set(credentials, shared)
          shared.users += 1
          return [shared, found === undefined] as const
        })
        yield* Effect.addFinalizer(() => leave(credentials, shared))
        if (isFirst) {
          yield* start(credentials, shared)
        }
        return yield* restore(Deferred.await(shared.built))
      })
    )

  return Layer.fresh(Layer.scopedContext(Effect.flatMap(Credentials.Credentials, use)))
}

/**
 * The layer of a transport whose options come from the configuration, which is read wherever the layer is used. Equal
 * options (by `Equal` of each) share one transport. Fails with `ConfigError` if the configuration can't be read, or as
 * `layer` does.
 */
export const makeConfig = <O extends object, I, E>(
  config: Config.Config.Wrap<O>,
  layer: (options: O) => Layer.Layer<I, E, Credentials.Credentials>
): Layer.Layer<I, E | ConfigError.ConfigError, Credentials.Credentials> => {
  const layers = MutableHashMap.empty<O, Layer.Layer<I, E, Credentials.Credentials>>()
  return Layer.fresh(
    Layer.unwrapEffect(
      Effect.map(Config.unwrap(config), (options) => {
        const key = Data.struct(options)
        const made = Option.getOrElse(MutableHashMap.get(layers, key), () => layer(options))
        MutableHashMap.set(layers, key, made)
        return made
      })
    )
  )
}

/** Describes a listener for its log line: the wire, and the certificate that it listens with. */
export const describe = (wire: string, credentials: Credentials.CredentialsService): Effect.Effect<string> =>
  Effect.map(credentials.current, (material) => {
    if (material._tag === "Insecure") {
      return `${wire}, without TLS`
    }
    return Option.match(material.certificate, {
      onNone: () => wire,
      onSome: ({ identity }) => `${wire}, as ${escapeText(identity.subject)}, fingerprint ${identity.fingerprint}`
    })
  })
