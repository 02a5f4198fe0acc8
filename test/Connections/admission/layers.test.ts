/** Where the layers of an admission have their options from. */
import { describe, expect, it } from "@effect/vitest"
import * as Config from "effect/Config"
import * as ConfigProvider from "effect/ConfigProvider"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import { Admission } from "effect-transport"

const options = Effect.flatMap(Admission.Admission, ({ options }) => options)

const rules = [Admission.rule({ name: "gone", match: { spiffeId: "spiffe://mesh/old/*" }, deny: true })]

const layer = Admission.layerConfig({
  identities: { callsInFlight: Config.integer("CALLS") },
  listener: { callsInFlight: Config.integer("NODE_CALLS"), maxWait: Config.duration("MAX_WAIT") },
  sources: { deny: Config.array(Config.string(), "DENIED") },
  rules: Config.succeed(rules)
})

const withEnvironment = (entries: ReadonlyArray<readonly [string, string]>) =>
  Layer.provide(layer, Layer.setConfigProvider(ConfigProvider.fromMap(new Map(entries))))

const environment: ReadonlyArray<readonly [string, string]> = [
  ["CALLS", "7"],
  ["NODE_CALLS", "70"],
  ["MAX_WAIT", "2 seconds"],
  ["DENIED", "10.0.0.0/8,fd00::/8"]
]

describe("Admission.layerConfig", () => {
  it.effect("reads all of its options from the configuration", () =>
    Effect.gen(function* () {
      const read = yield* options
      expect(read).toMatchObject({
        identities: { callsInFlight: 7 },
        listener: { callsInFlight: 70 },
        sources: { deny: ["10.0.0.0/8", "fd00::/8"] },
        rules
      })
    }).pipe(Effect.provide(withEnvironment(environment)))
  )

  it.effect("fails with what is missing, and with what is malformed", () =>
    Effect.gen(function* () {
      const missing = yield* Effect.flip(Effect.provide(options, withEnvironment(environment.slice(1))))
      expect(missing).toMatchObject({ _op: "MissingData" })
      const malformed = yield* Effect.flip(
        Effect.provide(options, withEnvironment([...environment.slice(0, 3), ["DENIED", "10.0.0.0/99"]]))
      )
      expect(malformed).toMatchObject({ _tag: "AdmissionError", reason: "Malformed" })
    })
  )
})
