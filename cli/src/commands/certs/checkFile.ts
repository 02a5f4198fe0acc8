/** `certs check` of a file: with the key, as a node would load it; with the CA, as its peers would verify it. */
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import { Credentials, Quic } from "effect-transport"
import { readPassphrase } from "../../shared/credentials.js"
import { exitCodes, Failure } from "../../shared/failure.js"
import * as Hint from "../../shared/hint.js"
import type { ConnectionConfig } from "../../shared/transport.js"
import { type Contents, materialOf, read } from "./contents.js"
import { describe } from "./describe.js"
import { type Checked, trusting, type Verdict, verdictsOn } from "./verdict.js"

/** Whether the holder can use it at all: the key belongs to it, it is valid, and OpenSSL and the QUIC engine take it. */
const ownVerdicts = (file: string, contents: Contents, config: ConnectionConfig, ca: string | undefined) =>
  Effect.gen(function* () {
    const passphrase = Option.getOrUndefined(yield* readPassphrase(config.passphraseFile))
    const trusted = ca === undefined ? {} : { ca: { file: ca } }
    const layer =
      contents.format === "PKCS#12"
        ? Credentials.layerPkcs12({ ...trusted, pfx: { file }, passphrase })
        : Option.isSome(config.key)
          ? Credentials.layerPem({ ...trusted, cert: { file }, key: { file: config.key.value }, passphrase })
          : undefined
    if (layer === undefined) {
      return []
    }
    const refusal = (by: string, message: string, hint: string): Verdict => ({
      as: "server",
      by,
      accepted: false,
      message,
      hint
    })
    const loaded = yield* Effect.either(materialOf(layer))
    if (Either.isLeft(loaded)) {
      const error = loaded.left
      return [
        refusal(
          "the node itself",
          error.message,
          error._tag === "CredentialsError" ? Hint.ofCredentials(error) : "give the key with --key"
        )
      ]
    }
    const quic = yield* Layer.build(
      Layer.provide(Quic.layer(), Layer.succeed(Credentials.Credentials, Credentials.make(loaded.right)))
    ).pipe(Effect.scoped, Effect.either)
    return Either.isLeft(quic) && quic.left._tag === "CredentialsError"
      ? [refusal("QuicLive of the node itself", quic.left.message, "use another kind of key, or another wire")]
      : []
  })

/** Whom peers trust: what `--ca` says, or the roots in the PKCS#12. */
const verifierOf = (file: string, contents: Contents, config: ConnectionConfig) =>
  Effect.gen(function* () {
    const ca = Option.getOrUndefined(config.ca)
    if (ca !== undefined) {
      return { material: yield* trusting(ca, Option.getOrUndefined(config.crl)), name: `whoever trusts ${ca}` }
    }
    const roots = contents.certificates.filter((each) => each.ca && each.checkIssued(each)).map(String)
    return roots.length === 0
      ? yield* new Failure({
          message: "whom the peers trust is not said",
          hint: "give their CA with --ca; effect-transport certs show does without",
          exitCode: exitCodes.usage
        })
      : {
          material: yield* materialOf(
            Credentials.layerPem({
              ca: roots.join("\n"),
              ...(Option.isSome(config.crl) ? { crl: { file: config.crl.value } } : {})
            })
          ),
          name: `whoever trusts the root in ${file}`
        }
  })

export const checkFile = (file: string, config: ConnectionConfig) =>
  Effect.gen(function* () {
    const contents = yield* read(file, yield* readPassphrase(config.passphraseFile))
    const chain = contents.certificates
    const [leaf] = chain
    if (leaf === undefined) {
      return yield* new Failure({ message: `${file} holds no certificate`, hint: "give the file of a certificate" })
    }
    const verifier = yield* verifierOf(file, contents, config)
    const checked: Checked = {
      checked: file,
      chain: yield* Effect.forEach(chain, describe),
      verdicts: [
        ...(yield* ownVerdicts(file, contents, config, Option.getOrUndefined(config.ca))),
        ...verdictsOn(chain, {
          ...verifier,
          nameWanted: Option.getOrUndefined(config.serverName),
          as: ["server", "client"]
        })
      ]
    }
    return checked
  })
