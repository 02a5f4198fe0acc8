/** Who may call in the verification app, and what the app does beyond echoes. */
import { describe, expect, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import { transports } from "../../examples/verify/transports.js"
import { eventually, leavesNothing } from "../suite/fixtures/expect.js"
import { failure, launch, names, only } from "./verifySupport.js"

const wires = transports.filter(({ authenticated }) => authenticated).map(({ name }) => name)

/** Those who are refused in a handshake: by whom, and why. */
const intruders = [
  ["noCertificate", "CertificateRequired", "remote"],
  ["otherCa", "UntrustedIssuer", "remote"],
  ["wrongName", "NameMismatch", "local"],
  ["expired", "Expired", "remote"],
  ["revoked", "Revoked", "remote"],
  ["notAuthorized", "NotAuthorized", "remote"]
] as const

describe("who may call in the verification app", () => {
  it.live.each(wires)("over %s: nobody but the app, and each is told why", (name) =>
    leavesNothing(
      Effect.gen(function* () {
        const { get, post } = yield* launch(only(name))
        yield* Effect.forEach(
          intruders,
          ([intruder, reason, refusedBy]) =>
            Effect.map(post(`/intruders/${name}/${intruder}`), (answer) =>
              expect(answer).toMatchObject({ status: 200, json: { intruder, admitted: false, reason, refusedBy } })
            ),
          { concurrency: "unbounded" }
        )
        expect(yield* post(`/intruders/${name}/plainText`)).toMatchObject({
          status: 200,
          json: { admitted: false, reason: "NoCommonProtocol" }
        })
        expect((yield* get(`/echo/${name}?msg=x`)).status).toBe(200)
      })
    )
  )

  it.live.each(wires)("over %s: the node gets new keys while it is called", (name) =>
    Effect.gen(function* () {
      const { get, post } = yield* launch(only(name))
      yield* get(`/echo/${name}?msg=x`)
      const { json: before } = yield* get("/nodes")
      const { json: rotated, status } = yield* post(`/nodes/${name}/rotate`)
      expect(status).toBe(200)
      expect(rotated.certificate.fingerprint).not.toBe(before.nodes[0].certificate.fingerprint)
      for (let i = 0; i < 20; i += 1) {
        expect((yield* get(`/echo/${name}?msg=x`)).status).toBe(200)
      }
      yield* post(`/nodes/${name}/rotate`)
      expect((yield* get(`/echo/${name}?msg=x`)).status).toBe(200)
    }).pipe(Effect.scoped)
  )

  it.live.each(wires)("over %s: the app's certificate is revoked while it calls, and replaced", (name) =>
    Effect.gen(function* () {
      const { get, post } = yield* launch(only(name))
      expect((yield* get(`/echo/${name}?msg=x`)).status).toBe(200)
      const { json: before } = yield* get("/nodes")
      expect(yield* post(`/nodes/${name}/revoke`)).toMatchObject({ status: 200, json: { access: "revoked" } })
      yield* eventually(
        Effect.map(get(`/echo/${name}?msg=x`), (answer) =>
          expect(answer).toMatchObject(failure(502, "HandshakeFailed"))
        ),
        "10 seconds"
      )
      expect(yield* post(`/nodes/${name}/renew`)).toMatchObject({ status: 200, json: { access: "allowed" } })
      yield* eventually(
        Effect.map(get(`/echo/${name}?msg=x`), ({ status }) => expect(status).toBe(200)),
        "10 seconds"
      )
      const { json: after } = yield* get("/nodes")
      expect(after.nodes[0].caller.fingerprint).not.toBe(before.nodes[0].caller.fingerprint)
    }).pipe(Effect.scoped)
  )

  it.live("over memory nobody proves anything", () =>
    Effect.gen(function* () {
      const { post } = yield* launch(only("memory"))
      for (const path of ["/intruders/memory/expired", "/nodes/memory/rotate", "/nodes/memory/revoke"]) {
        expect(yield* post(path)).toMatchObject(failure(400, "FailedPrecondition"))
      }
      expect((yield* post("/intruders/memory/burglar")).status).toBe(400)
    }).pipe(Effect.scoped)
  )
})

describe("the experiments of the verification app", () => {
  it.live.each(names)("over %s: calls as fast as they go", (name) =>
    Effect.gen(function* () {
      const { post } = yield* launch(only(name))
      const { json, status } = yield* post(`/load/${name}`, { concurrency: 8, millis: 300 })
      expect(status).toBe(200)
      expect(json).toMatchObject({ transport: name, failures: {} })
      expect(json.calls).toBeGreaterThan(0)
      expect(json.p99Millis).toBeGreaterThanOrEqual(json.p50Millis)
    }).pipe(Effect.scoped)
  )

  it.live.each(wires)("over %s: a bad network", (name) =>
    Effect.gen(function* () {
      const { post } = yield* launch(only(name))
      const { json, status } = yield* post(`/network/${name}`, { latencyMillis: 20, lossPercent: 0, calls: 8 })
      expect(status).toBe(200)
      expect(json).toMatchObject({ transport: name, calls: 8, failures: {} })
      expect(json.p50Millis).toBeGreaterThanOrEqual(40)
    }).pipe(Effect.scoped)
  )

  it.live.each(wires)("over %s: a tenant over its rate is refused, and one beside it is not", (name) =>
    Effect.gen(function* () {
      const { post } = yield* launch(only(name))
      const { json, status } = yield* post(`/tenants/${name}`)
      expect(status).toBe(200)
      const [greedy, modest] = json.tenants
      expect(modest).toMatchObject({ tenant: "tenant-modest", asked: 20, answered: 20, refusals: {} })
      expect(greedy).toMatchObject({ tenant: "tenant-greedy", asked: 400 })
      expect(greedy.answered).toBeGreaterThan(0)
      expect(greedy.refusals.ResourceExhausted).toBe(greedy.asked - greedy.answered)
    }).pipe(Effect.scoped)
  )

  it.live.each(names)("over %s: a stream ends by itself, and at its deadline", (name) =>
    Effect.gen(function* () {
      const { get } = yield* launch(only(name))
      const ended = yield* get(`/stream/${name}?count=3&intervalMillis=1&timeoutMillis=5000`)
      expect(ended.headers["content-type"]).toContain("application/x-ndjson")
      const lines = ended.text
        .trim()
        .split("\n")
        .map((line) => JSON.parse(line))
      expect(lines).toMatchObject([{ index: 0 }, { index: 1 }, { index: 2 }, { outcome: "Success" }])
      const late = yield* get(`/stream/${name}?count=1000&intervalMillis=100&timeoutMillis=50`)
      expect(JSON.parse(late.text.trim().split("\n").at(-1) ?? "")).toMatchObject({ outcome: "DeadlineExceeded" })
      expect((yield* get(`/stream/${name}?count=0&intervalMillis=1&timeoutMillis=1`)).status).toBe(400)
    }).pipe(Effect.scoped)
  )
})
