import * as Fs from "node:fs/promises"
import * as Os from "node:os"
import * as Path from "node:path"
import { describe, expect, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import { Admission } from "effect-transport"
import { eventually, within } from "../../suite/fixtures/expect.js"
import { captureLog } from "../../suite/fixtures/observe.js"

const directory = Effect.acquireRelease(
  Effect.promise(() => Fs.mkdtemp(Path.join(Os.tmpdir(), "admission-"))),
  (path) => Effect.promise(() => Fs.rm(path, { recursive: true }))
)

const write = (path: string, text: string) =>
  Effect.promise(async () => {
    await Fs.writeFile(`${path}.new`, text)
    await Fs.rename(`${path}.new`, path)
  })

const json = `{
  "identities": { "callsInFlight": 7 },
  "listener": { "maxWait": "2 seconds", "callsInFlight": { "gradient": { "min": 3 } } },
  "rules": [
    { "name": "gone", "match": { "spiffeId": "spiffe://mesh/old/*" }, "deny": true }
  ]
}`

const yaml = `identities:
  callsInFlight: 7
listener:
  maxWait: 2 seconds
  callsInFlight: { gradient: { min: 3 } }
rules:
  - name: gone
    match: { spiffeId: "spiffe://mesh/old/*" }
    deny: true
`

const expected = {
  identities: { callsInFlight: 7 },
  listener: { maxWait: "2 seconds", callsInFlight: Admission.gradient({ min: 3 }) },
  rules: [{ name: "gone", match: { spiffeId: "spiffe://mesh/old/*" }, deny: true }]
}

describe("the file of an admission", () => {
  it.scopedLive("is followed until its scope closes, also where it was read by what can't be interrupted", () =>
    Effect.gen(function* () {
      const file = Path.join(yield* directory, "rules.json")
      yield* write(file, json)
      const scope = yield* Scope.make()
      yield* Effect.uninterruptible(Scope.extend(Admission.makeFile(file), scope))
      yield* within(Scope.close(scope, Exit.void), "5 seconds")
    })
  )

  it.scopedLive("is JSON or YAML", () =>
    Effect.gen(function* () {
      const path = yield* directory
      for (const [name, text] of [
        ["rules.json", json],
        ["rules.yaml", yaml]
      ] as const) {
        const file = Path.join(path, name)
        yield* write(file, text)
        const admission = yield* Admission.makeFile(file, { watch: false })
        expect(yield* admission.options).toEqual(expected)
      }
    })
  )

  it.scopedLive("is told what is wrong with it, and on which line", () =>
    Effect.gen(function* () {
      const path = yield* directory
      for (const [name, text, line, message] of [
        ["a.json", '{\n  "identities": {\n    "callsInFlight": "many"\n  }\n}', 3, "identities.callsInFlight"],
        ["b.json", '{\n  "rules": [\n    { "match": {} },\n    { "match": { "spifeId": "x" } }\n  ]\n}', 4, "spifeId"],
        ["c.json", '{\n  "rules": [],\n}', 3, ""],
        ["d.json", '{\n  "rules": [\n    { "match": { "source": "10.0.0.0/99" } }\n  ]\n}', 3, "10.0.0.0/99"],
        ["e.json", '{ "listener": { "maxWait": "soon" } }', 1, "maxWait"],
        ["f.yaml", "identities:\n  callsInFlight: 7\n  callInFlight: 8\n", 3, "callInFlight"],
        ["g.yml", "rules:\n  - match: {}\n  - match: [\n", 4, ""],
        ["h.yaml", "rules:\n  - match: {}\n    name: one\n  - match: {}\n    name: one\n", 4, "another rule"],
        ["i.json", '{\n\n  "sources": { "deny": ["nowhere"] }\n}', 3, "nowhere"]
      ] as const) {
        const file = Path.join(path, name)
        yield* write(file, text)
        const error = yield* Effect.flip(Admission.makeFile(file))
        expect(error, name).toMatchObject({ _tag: "AdmissionError", reason: "Malformed", path: file, line })
        expect(error.message).toContain(`${file}:${line}: `)
        expect(error.message).toContain(message)
      }
      const missing = yield* Effect.flip(Admission.makeFile(Path.join(path, "none.json")))
      expect(missing).toMatchObject({ _tag: "AdmissionError", reason: "NotFound" })
    })
  )

  it.scopedLive("is followed, and the last good rules stay", () =>
    Effect.gen(function* () {
      const file = Path.join(yield* directory, "rules.json")
      const log = yield* captureLog
      yield* write(file, json)
      const admission = yield* Effect.provide(
        Admission.makeFile(file, { settle: "10 millis", pollInterval: "50 millis" }),
        log.layer
      )
      const seen: Array<number | undefined> = []
      yield* Effect.forkScoped(
        Stream.runForEach(admission.changes, ({ identities }) =>
          Effect.sync(() => seen.push(identities?.callsInFlight))
        )
      )
      yield* eventually(Effect.sync(() => expect(seen).toEqual([7])))
      yield* write(file, json.replace("7", '"seven"'))
      yield* eventually(
        Effect.sync(() => expect(log.lines.some(({ text }) => text.includes(`${file}:2: `))).toBe(true))
      )
      expect((yield* admission.options).identities).toEqual({ callsInFlight: 7 })
      yield* write(file, json.replace("7", "9"))
      yield* eventually(Effect.sync(() => expect(seen).toEqual([7, 9])))
    })
  )
})
