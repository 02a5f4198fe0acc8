/** Credentials that are replaced while they are in use, as those in files are when the files change. */
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as SubscriptionRef from "effect/SubscriptionRef"
import { Credentials, type CredentialsError } from "effect-transport"

export interface Rotating {
  readonly layer: Layer.Layer<Credentials.Credentials>
  readonly current: Effect.Effect<Credentials.Material>
  /** Checks the new ones first; where they can't be used the old ones stay. */
  readonly replace: (options: Credentials.PemOptions) => Effect.Effect<void, CredentialsError>
}

const load = (options: Credentials.PemOptions): Effect.Effect<Credentials.Material, CredentialsError> =>
  Layer.build(Credentials.layerPem(options)).pipe(
    Effect.flatMap((context) => Context.get(context, Credentials.Credentials).current),
    Effect.scoped
  )

export const make = (options: Credentials.PemOptions): Effect.Effect<Rotating, CredentialsError> =>
  Effect.gen(function* () {
    const material = yield* SubscriptionRef.make(yield* load(options))
    const current = SubscriptionRef.get(material)
    return {
      layer: Layer.succeed(Credentials.Credentials, { current, changes: material.changes }),
      current,
      replace: (options) => Effect.flatMap(load(options), (loaded) => SubscriptionRef.set(material, loaded))
    }
  })
