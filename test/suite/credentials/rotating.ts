/** Credentials in files that tests replace. */
import { mkdtemp, rename, rm, writeFile } from "node:fs/promises"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { expect } from "@effect/vitest"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Metric from "effect/Metric"
import * as Option from "effect/Option"
import * as Redacted from "effect/Redacted"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import { Credentials, type CredentialsError, type DevCa, TransportMetrics } from "effect-transport"
import { loopbackNames } from "../fixtures/certificates.js"
import { eventually, within } from "../fixtures/expect.js"

/** Credentials in files, which tests replace, and wait until the new ones are in use. */
export interface Rotating {
  readonly service: Credentials.CredentialsService
  readonly show: (ca: DevCa.DevCa) => Effect.Effect<void>
  readonly trust: (...cas: ReadonlyArray<DevCa.DevCa>) => Effect.Effect<void>
  readonly spoil: Effect.Effect<void>
}

export const rotating = (ca: DevCa.DevCa): Effect.Effect<Rotating, CredentialsError, Scope.Scope> =>
  Effect.gen(function* () {
    const directory = yield* Effect.acquireRelease(
      Effect.promise(() => mkdtemp(join(tmpdir(), "credentials-suite-"))),
      (path) => Effect.promise(() => rm(path, { recursive: true }))
    )
    const path = (name: string) => join(directory, name)
    const replace = (name: string, text: string) =>
      Effect.promise(async () => {
        await writeFile(path(`${name}.new`), text)
        await rename(path(`${name}.new`), path(name))
      })
    const write = (issued: DevCa.Issued) =>
      Effect.zipRight(replace("key", Redacted.value(issued.key)), replace("cert", issued.cert))
    yield* Effect.flatMap(ca.issue({ names: loopbackNames }), write)
    yield* replace("ca", ca.ca)
    const service = Context.get(
      yield* Layer.build(
        Credentials.layerPem({ cert: path("cert"), key: path("key"), ca: path("ca"), settle: "20 millis" })
      ),
      Credentials.Credentials
    )
    const becomes = (condition: (material: Credentials.Tls) => boolean) =>
      Effect.asVoid(
        within(
          Stream.runHead(Stream.filter(service.changes, (one) => one._tag === "Tls" && condition(one))),
          "5 seconds"
        )
      )
    return {
      service,
      show: (issuer) =>
        Effect.gen(function* () {
          const issued = yield* issuer.issue({ names: loopbackNames })
          yield* write(issued)
          yield* becomes(({ certificate }) =>
            Option.exists(certificate, ({ chain }) => chain.trim() === issued.cert.trim())
          )
        }),
      trust: (...cas) => {
        const bundle = cas.map((each) => each.ca).join("")
        return Effect.zipRight(
          replace("ca", bundle),
          becomes((material) => material.ca.join("") === bundle)
        )
      },
      spoil: Effect.gen(function* () {
        const failures = Metric.value(
          Metric.tagged(TransportMetrics.credentialsRotationFailures, "reason", "Malformed")
        )
        const before = yield* failures
        yield* replace("key", "garbage")
        yield* eventually(
          Effect.map(failures, ({ count }) => expect(count).toBeGreaterThan(before.count)),
          "5 seconds"
        )
      })
    }
  })
