import { describe, expect, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import { Credentials, MissingPackage, Transport } from "effect-transport"
import { type Choice, transports } from "../../examples/verify/transports.js"
import { EchoService, echo } from "../suite/fixtures/echo.js"
import { eventually, leavesNothing, within } from "../suite/fixtures/expect.js"
import { callsInFlight, failure, launch, names } from "./verifySupport.js"

const wires = transports.filter(({ authenticated }) => authenticated)

describe("the nodes of the verification app", () => {
  it.live("answers 503 while a node is down, and 200 when it is back", () =>
    leavesNothing(
      Effect.gen(function* () {
        const { get, post } = yield* launch()
        for (const name of names) {
          expect(yield* post(`/nodes/${name}/restart`)).toMatchObject(failure(409, "NodeRunning"))
          expect(yield* post(`/nodes/${name}/kill`)).toMatchObject({ status: 200, json: { status: "down" } })
          expect(yield* get(`/echo/${name}?msg=x`)).toMatchObject(failure(503, "Unavailable"))
          expect(yield* post(`/nodes/${name}/kill`)).toMatchObject(failure(409, "NodeNotRunning"))
          expect(yield* get("/healthz")).toMatchObject({
            status: 503,
            json: { status: "degraded", transports: { [name]: "down" } }
          })
          expect(yield* post(`/nodes/${name}/restart`)).toMatchObject({ status: 200, json: { status: "up" } })
          yield* eventually(
            Effect.map(get(`/echo/${name}?msg=again`), (answer) =>
              expect(answer).toMatchObject({ status: 200, json: { echo: "again" } })
            ),
            "5 seconds"
          )
        }
        expect(yield* get("/healthz")).toMatchObject({
          status: 200,
          json: { status: "ok", transports: { grpc: "up", tls: "up", quic: "up", memory: "up" } }
        })
      })
    )
  )

  it.live("ends the calls of a node that is killed", () =>
    Effect.gen(function* () {
      const { get, post } = yield* launch()
      const before = yield* callsInFlight
      for (const name of names) {
        const held = yield* Effect.fork(get(`/echo/${name}?msg=x&delayMillis=9000`))
        yield* eventually(
          Effect.map(callsInFlight, (calls) => expect(calls).toBe(before + 1)),
          "10 seconds"
        )
        yield* post(`/nodes/${name}/kill`)
        expect((yield* within(Fiber.join(held), "2 seconds")).status).toBe(503)
      }
    }).pipe(Effect.scoped)
  )

  it.live("interrupts a call whose caller hangs up", () =>
    Effect.gen(function* () {
      const { get } = yield* launch()
      const before = yield* callsInFlight
      for (const name of names) {
        const held = yield* Effect.fork(get(`/echo/${name}?msg=x&delayMillis=9000`))
        yield* eventually(
          Effect.map(callsInFlight, (calls) => expect(calls).toBe(before + 1)),
          "10 seconds"
        )
        yield* Fiber.interrupt(held)
        yield* eventually(Effect.map(callsInFlight, (calls) => expect(calls).toBe(before)))
      }
    }).pipe(Effect.scoped)
  )

  it.live("answers 502 where the node is another than the pinned one, and 503 where its port is taken", () =>
    Effect.gen(function* () {
      for (const choice of wires) {
        const { get, post } = yield* launch([choice])
        const { json } = yield* post(`/nodes/${choice.name}/kill`)
        const port = Number(new URL(`http://${json.target}`).port)
        const impostor = yield* Layer.build(Layer.provide(choice.layer, Credentials.layerDev()))
        yield* Effect.provide(Transport.listen([Transport.handlers(EchoService, echo)], { port }), impostor)
        yield* eventually(
          Effect.map(get(`/echo/${choice.name}?msg=x`), (answer) =>
            expect(answer).toMatchObject(failure(502, "HandshakeFailed"))
          ),
          "5 seconds"
        )
        expect(yield* post(`/nodes/${choice.name}/restart`)).toMatchObject(failure(503, "BindError"))
        expect((yield* get("/nodes")).json.nodes).toMatchObject([{ transport: choice.name, status: "down" }])
      }
    }).pipe(Effect.scoped)
  )

  it.live("says that a transport is absent, and why, and does the rest", () =>
    Effect.gen(function* () {
      const missing: ReadonlyArray<Choice> = transports.map((choice) =>
        choice.name === "quic"
          ? {
              ...choice,
              layer: Layer.fail(
                new MissingPackage({
                  message: "QUIC needs an engine",
                  package: "engine",
                  reason: "NotInstalled",
                  platform: "test"
                })
              )
            }
          : choice
      )
      const { get, post } = yield* launch(missing)
      expect(yield* get("/echo/quic?msg=x")).toMatchObject({
        status: 501,
        json: { _tag: "TransportAbsent", message: "there is no quic here: QUIC needs an engine" }
      })
      expect(yield* post("/nodes/quic/restart")).toMatchObject(failure(501, "TransportAbsent"))
      expect(yield* get("/healthz")).toMatchObject({ status: 200, json: { transports: { quic: "absent", tls: "up" } } })
      expect((yield* get("/nodes")).json.nodes).toContainEqual(
        expect.objectContaining({ transport: "quic", status: "absent", reason: "QUIC needs an engine" })
      )
      expect((yield* get("/grpc_echo?msg=x")).status).toBe(200)
    }).pipe(Effect.scoped)
  )

  it.live("tells of the nodes with their certificates, and of changes to who waits for them", () =>
    Effect.gen(function* () {
      const { get, post } = yield* launch()
      for (const name of names) {
        yield* get(`/echo/${name}?msg=x`)
      }
      const { json } = yield* get("/nodes")
      for (const { authenticated, name } of transports) {
        const node = json.nodes.find(({ transport }: { transport: string }) => transport === name)
        expect(node).toMatchObject({ status: "up", target: expect.stringMatching(/^127\.0\.0\.1:\d+$/) })
        if (authenticated) {
          expect(node.certificate).toMatchObject({
            subject: `CN=${name}-node`,
            names: [`DNS:${name}-node`, "IP Address:127.0.0.1", `URI:spiffe://verify/${name}-node`],
            spiffeId: `spiffe://verify/${name}-node`,
            fingerprint: expect.stringMatching(/^[0-9a-f]{64}$/)
          })
          expect(Date.parse(node.certificate.notAfter)).toBeGreaterThan(Date.now() + 23 * 3_600_000)
          expect(node.caller).toMatchObject({ subject: "CN=verify-app", spiffeId: "spiffe://verify/app" })
        } else {
          expect(node).not.toHaveProperty("certificate")
          expect(node).not.toHaveProperty("caller")
        }
      }
      const waiting = yield* Effect.fork(get(`/nodes?since=${json.version}`))
      yield* Effect.yieldNow()
      yield* post("/nodes/tls/kill")
      const next = yield* within(Fiber.join(waiting), "2 seconds")
      expect(next.json.version).toBe(json.version + 1)
      expect(next.json.nodes).toContainEqual(expect.objectContaining({ transport: "tls", status: "down" }))
      expect((yield* within(get(`/nodes?since=${json.version}`), "2 seconds")).json.version).toBe(json.version + 1)
    }).pipe(Effect.scoped)
  )

  it.live("tells how the connection to each node is, and why", () =>
    Effect.gen(function* () {
      const { get, post } = yield* launch()
      const state = (name: string, expected: object) =>
        eventually(
          Effect.map(get("/connections"), ({ json }) =>
            expect(json).toContainEqual(expect.objectContaining({ transport: name, ...expected }))
          ),
          "10 seconds"
        )
      for (const name of names) {
        yield* state(name, { state: "ready" })
        yield* post(`/nodes/${name}/kill`)
        yield* state(name, { state: "backingOff", reason: expect.any(String) })
        yield* post(`/nodes/${name}/restart`)
        yield* state(name, { state: "ready" })
      }
    }).pipe(Effect.scoped)
  )

  it.live("closes in time, whatever its clients do", () =>
    Effect.gen(function* () {
      const ask = (url: string) =>
        fetch(url)
          .then(({ status }) => status)
          .catch(() => "broken off")
      const held = yield* Effect.scoped(
        Effect.gen(function* () {
          const { get, url } = yield* launch()
          for (const name of names) {
            yield* get(`/echo/${name}?msg=x`)
          }
          const { json } = yield* get("/nodes")
          const before = yield* callsInFlight
          const poll = ask(`${url}/nodes?since=${json.version}`)
          const echoes = names.map((name) => ask(`${url}/echo/${name}?msg=x&delayMillis=9000`))
          yield* eventually(
            Effect.map(callsInFlight, (calls) => expect(calls).toBe(before + names.length)),
            "10 seconds"
          )
          return { poll, echoes, start: performance.now() }
        })
      )
      expect(performance.now() - held.start).toBeLessThan(8000)
      expect(yield* Effect.promise(() => held.poll)).toBe(200)
      expect(yield* Effect.promise(() => Promise.all(held.echoes))).toEqual(names.map(() => "broken off"))
    })
  )
})
