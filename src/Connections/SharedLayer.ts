/** Layers of transports, shared by all uses of one layer under the same credentials. */
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

/** A transport and all who use it. */
interface Shared<A, E> {
  users: number
  readonly scope: Scope.CloseableScope
  readonly built: Deferred.Deferred<A, E>
  fiber: Fiber.Fiber<A, E> | undefined
}

/**
 * The layer of a transport. Effect memoizes layers by reference, whatever is provided to them: a constant would be built
 * once, with the credentials that come first. So this layer is built wherever it is used, and what it provides is made once
 * for each `Credentials` value, by the first who uses it: in its runtime (loggers, tracer, clock, configuration), though
 * with its interruption it does not end. It ends with the last user. What could not be made is made again by the next.
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
        // Nothing else runs between the look-up and its consequences.
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
 * The layer of a transport whose options come from the environment, which is read wherever the layer is used. Options that
 * are equal make one transport, by `Equal` of each.
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

/** What a listener says of itself: its wire, and as whom it listens. */
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
