/**
 * Who this side is and whom it trusts, the same for every transport.
 *
 * @since 0.1.0
 */
import * as Config from "effect/Config"
import * as ConfigError from "effect/ConfigError"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import { CredentialsError } from "../Transport/TransportError.js"
import * as DevCa from "./DevCa.js"
import { filesOf, load, type PemOptions, type TrustDomains } from "./internal/load.js"
import { load as loadPkcs12, type Pkcs12Options, filesOf as pkcs12FilesOf } from "./internal/loadPkcs12.js"
import type { Insecure, KeyPair, Material, Tls } from "./internal/material.js"
import { type RotationOptions, make as rotating } from "./internal/rotation.js"
import type { PemSource } from "./Pem.js"

export type { Insecure, KeyPair, Material, PemOptions, PemSource, Pkcs12Options, RotationOptions, Tls, TrustDomains }

/**
 * A source of credentials, which lives as long as its layer.
 *
 * @since 0.1.0
 * @category models
 */
export interface CredentialsService {
  /** The material that new connections use. */
  readonly current: Effect.Effect<Material>
  /** The current material, and then each that replaces it. Does not end before its scope does. */
  readonly changes: Stream.Stream<Material>
}

/**
 * The credentials of a transport.
 *
 * @since 0.1.0
 * @category tags
 */
export class Credentials extends Context.Tag("effect-transport/Credentials")<Credentials, CredentialsService>() {}

/**
 * Credentials that never change.
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = (material: Material): CredentialsService => ({
  current: Effect.succeed(material),
  changes: Stream.concat(Stream.succeed(material), Stream.never)
})

/**
 * The certificate of the material, for a listener. Fails with `CredentialsError` (`NotFound`) if it has none.
 *
 * @since 0.1.0
 * @category getters
 */
export const requireCertificate = (material: Tls): Effect.Effect<KeyPair, CredentialsError> =>
  Option.match(material.certificate, {
    onNone: () =>
      Effect.fail(
        new CredentialsError({
          reason: "NotFound",
          part: "cert",
          message: "cert: missing: a listener has to prove who it is"
        })
      ),
    onSome: Effect.succeed
  })

/**
 * Credentials from PEM, as values or files of at most 1 MiB. Everything is read and checked when the layer is built,
 * which fails with `CredentialsError` if something can't be used: its `part` and `file` say what, its `reason` why.
 *
 * Files are read again when they change, however they are replaced. New credentials are checked as the first ones were.
 * Good ones are used by new connections from then on; bad ones are logged, and the previous ones stay. Open connections
 * live on.
 *
 * @example
 * ```ts
 * import { Credentials } from "effect-transport"
 *
 * const FromFiles = Credentials.layerPem({
 *   cert: { file: "/etc/node/tls.crt" },
 *   key: { file: "/etc/node/tls.key" },
 *   ca: { file: "/etc/node/ca.crt" }
 * })
 * ```
 *
 * @since 0.1.0
 * @category layers
 */
export const layerPem = (options: PemOptions & RotationOptions): Layer.Layer<Credentials, CredentialsError> =>
  Layer.scoped(Credentials, fromPem(options))

const fromPem = (
  options: PemOptions & RotationOptions
): Effect.Effect<CredentialsService, CredentialsError, Scope.Scope> =>
  rotating({ load: load(options), files: filesOf(options) }, options)

/**
 * Credentials from a PKCS#12, which is followed as the files of `layerPem` are. Fails as `layerPem` does, with
 * `WrongPassphrase` if the file can't be decrypted.
 *
 * @example
 * ```ts
 * import { Credentials } from "effect-transport"
 * import { Redacted } from "effect"
 *
 * const FromPkcs12 = Credentials.layerPkcs12({
 *   pfx: { file: "/etc/node/node.p12" },
 *   passphrase: Redacted.make("changeit"),
 *   ca: { file: "/etc/node/ca.crt" }
 * })
 * ```
 *
 * @since 0.1.0
 * @category layers
 */
export const layerPkcs12 = (options: Pkcs12Options & RotationOptions): Layer.Layer<Credentials, CredentialsError> =>
  Layer.scoped(Credentials, rotating({ load: loadPkcs12(options), files: pkcs12FilesOf(options) }, options))

/** `domain=source`, as often as a domain has several. */
const byDomain = (all: ReadonlyArray<string>): TrustDomains => {
  const domains = new Map<string, Array<string>>()
  for (const each of all) {
    const [domain = "", source = ""] = each.split(/=(.*)/s)
    domains.set(domain, [...(domains.get(domain) ?? []), source])
  }
  return Object.fromEntries(domains)
}

/**
 * The configuration that `layerConfig` reads by default: `TRANSPORT_CA`, `TRANSPORT_CERT`, `TRANSPORT_KEY` (each a path
 * or PEM text), `TRANSPORT_KEY_PASSPHRASE`, `TRANSPORT_CRL`, `TRANSPORT_TRUST_DOMAINS` (`a.example=/path/a.crt`, with
 * commas between), and `TRANSPORT_PINS` (pins for all peers with commas between) with `TRANSPORT_PINS_MODE`
 * (`additional` or `instead`). Only the first is required, and not with pins instead or trust domains.
 *
 * @since 0.1.0
 * @category config
 */
export const config: Config.Config<PemOptions> = Config.all({
  ca: Config.option(Config.string("TRANSPORT_CA")),
  cert: Config.option(Config.string("TRANSPORT_CERT")),
  key: Config.option(Config.redacted("TRANSPORT_KEY")),
  passphrase: Config.option(Config.redacted("TRANSPORT_KEY_PASSPHRASE")),
  crl: Config.option(Config.string("TRANSPORT_CRL")),
  trustDomains: Config.option(Config.array(Config.string(), "TRANSPORT_TRUST_DOMAINS")),
  pins: Config.option(Config.array(Config.string(), "TRANSPORT_PINS")),
  mode: Config.withDefault(Config.literal("additional", "instead")("TRANSPORT_PINS_MODE"), "additional")
}).pipe(
  Config.mapOrFail(({ ca, cert, crl, key, mode, passphrase, pins, trustDomains }) =>
    Option.isNone(ca) && Option.isNone(trustDomains) && mode === "additional"
      ? Either.left(ConfigError.MissingData(["TRANSPORT_CA"], "Expected TRANSPORT_CA to exist, or pins instead"))
      : Either.right({
          ca: Option.getOrUndefined(ca),
          cert: Option.getOrUndefined(cert),
          crl: Option.getOrUndefined(crl),
          key: Option.getOrUndefined(key),
          passphrase: Option.getOrUndefined(passphrase),
          trustDomains: Option.getOrUndefined(Option.map(trustDomains, byDomain)),
          pins: Option.getOrUndefined(Option.map(pins, (all) => ({ all, mode })))
        })
  )
)

/**
 * Credentials from PEM with options from the configuration, by default `config`. Fails as `layerPem` does, and with
 * `ConfigError` if the configuration is not complete.
 *
 * @since 0.1.0
 * @category layers
 */
export const layerConfig = (
  options: Config.Config.Wrap<PemOptions & RotationOptions> = config
): Layer.Layer<Credentials, CredentialsError | ConfigError.ConfigError> =>
  Layer.scoped(Credentials, Effect.flatMap(Config.unwrap(options), fromPem))

/**
 * The options of `layerDev`.
 *
 * @since 0.1.0
 * @category models
 */
export interface DevOptions {
  /** The names that the certificate is for. Default: `localhost`, `127.0.0.1` and `::1`. */
  readonly names?: ReadonlyArray<string> | undefined
  /** The CA that issues it and is trusted. Default: one made for this layer, which no other process trusts. */
  readonly ca?: DevCa.DevCa | undefined
}

/**
 * Credentials made in memory for tests, demos and development: a certificate for one day, from a throw-away CA. Peers
 * have to share the layer, or its `ca`.
 *
 * @since 0.1.0
 * @category layers
 */
export const layerDev = (options?: DevOptions): Layer.Layer<Credentials> =>
  Layer.effect(
    Credentials,
    Effect.gen(function* () {
      const ca = options?.ca ?? (yield* DevCa.make())
      const issued = yield* ca.issue({ names: options?.names ?? ["localhost", "127.0.0.1", "::1"] })
      return make(yield* load({ ...issued, ca: ca.ca }))
    }).pipe(Effect.orDie)
  )

/**
 * No TLS: anyone on the path can read and change everything, and peers can claim to be anyone. For tests, and for
 * connections that something else protects.
 *
 * @since 0.1.0
 * @category layers
 */
export const insecure: Layer.Layer<Credentials> = Layer.succeed(Credentials, make({ _tag: "Insecure" }))
