/** `certs new-ca`: a CA for development, in a folder. */
import * as Command from "@effect/cli/Command"
import * as Options from "@effect/cli/Options"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import { duration, invalid, json } from "../../shared/options.js"
import { result } from "../../shared/output.js"
import * as Authority from "./authority.js"
import { caDir, force, pinOf, validFor } from "./common.js"
import { parseTrustDomain } from "./names.js"

const name = Options.text("name").pipe(
  Options.withDefault("effect-transport development CA"),
  Options.withDescription("The common name of the CA. Default: effect-transport development CA.")
)

const trustDomain = Options.text("trust-domain").pipe(
  Options.withPseudoName("mesh.example"),
  Options.mapEffect((text) =>
    Effect.mapError(parseTrustDomain(text), (problem) => invalid(`--trust-domain: ${problem}`))
  ),
  Options.optional,
  Options.withDescription("The SPIFFE trust domain of what it issues, so that --spiffe-id may be a path.")
)

const life = validFor(duration("valid-for"), Duration.days(3650), "10 years")

export const newCa = Command.make(
  "new-ca",
  { caDir, name, trustDomain, validFor: life, force, json },
  ({ caDir, force, json, name, trustDomain, validFor }) =>
    Effect.gen(function* () {
      const { ca, certificate } = yield* Authority.make({
        dir: caDir,
        name,
        validFor,
        force,
        trustDomain: Option.getOrUndefined(trustDomain)
      })
      const { cert, crl, key } = Authority.paths(caDir)
      const value = {
        ca: cert,
        key,
        crl,
        subject: certificate.subject,
        notAfter: new Date(certificate.validTo).toISOString(),
        pin: yield* pinOf(ca.ca)
      }
      yield* result(json, value, ({ ca, crl, key, notAfter, subject }) =>
        [
          `made ${subject}, valid until ${notAfter.slice(0, 10)}`,
          `  ${ca}   its certificate: give it to every node (--ca)`,
          `  ${key}   its key: whoever has it can be anyone; it stays here`,
          `  ${crl}   its revocation list (--crl)`,
          `next: effect-transport certs issue localhost --ca-dir ${caDir}`
        ].join("\n")
      )
    })
).pipe(Command.withDescription("Makes a CA for development: key, certificate and revocation list in a folder."))
