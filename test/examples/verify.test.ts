import { readdirSync } from "node:fs"
import { request as rawRequest } from "node:http"
import * as HttpClientRequest from "@effect/platform/HttpClientRequest"
import { describe, expect, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Logger from "effect/Logger"
import { eventually, leavesNothing } from "../suite/fixtures/expect.js"
import { callsInFlight, failure, launch, names, only } from "./verifySupport.js"

describe("the verification app", () => {
  it.live("echoes over gRPC and every other transport, with the time of each hop", () =>
    leavesNothing(
      Effect.gen(function* () {
        const { get, post } = yield* launch()
        const paths = ["/grpc_echo", ...names.map((name) => `/echo/${name}`)]
        for (const path of paths) {
          const transport = path === "/grpc_echo" ? "grpc" : path.slice("/echo/".length)
          const answers = [
            yield* get(`${path}?${new URLSearchParams({ msg: "héllo & ☃", delayMillis: "20" })}`),
            yield* post(path, { msg: "héllo & ☃", delayMillis: 20 })
          ]
          for (const { headers, json, status } of answers) {
            expect(status).toBe(200)
            expect(json).toMatchObject({ echo: "héllo & ☃", transport })
            const { callMillis, handlerMillis, totalMillis } = json.timings
            expect(handlerMillis).toBeGreaterThanOrEqual(19)
            expect(callMillis).toBeGreaterThanOrEqual(handlerMillis)
            expect(totalMillis).toBeGreaterThanOrEqual(callMillis)
            expect(headers["server-timing"]).toBe(
              `total;dur=${totalMillis}, call;dur=${callMillis}, handler;dur=${handlerMillis}`
            )
          }
        }
      })
    )
  )

  it.live("echoes the longest message that a query and a body may have, and no longer one", () =>
    Effect.gen(function* () {
      const { get, post } = yield* launch(only("grpc"))
      const query = (msg: string) => get(`/grpc_echo?${new URLSearchParams({ msg })}`)
      const snow = "☃".repeat(1024)
      expect((yield* query(snow)).json.echo).toBe(snow)
      expect(yield* query(`${snow}☃`)).toMatchObject({
        status: 400,
        json: { message: "msg is longer than 1024 characters" }
      })
      const long = "☃".repeat(65_536)
      expect((yield* post("/grpc_echo", { msg: long })).json.echo).toBe(long)
      expect(yield* post("/grpc_echo", { msg: `${long}☃` })).toMatchObject({
        status: 400,
        json: { message: "msg is longer than 65536 characters" }
      })
      expect(yield* post("/grpc_echo", { msg: "x".repeat(600_000) })).toMatchObject({
        status: 413,
        json: { _tag: "BodyTooLarge", message: "the body has more than 524288 bytes" }
      })
    }).pipe(Effect.scoped)
  )

  it.live("names the field that is wrong", () =>
    Effect.gen(function* () {
      const { get, post, send } = yield* launch(only("memory"))
      const retry = { failures: 1, maxAttempts: 2, initialBackoff: 1 }
      const cases = [
        [get("/grpc_echo"), "msg is missing"],
        [get("/grpc_echo?msg="), "msg is empty"],
        [get("/grpc_echo?msg=a&msg=b"), "msg is text"],
        [get("/echo/pigeon?msg=a"), "transport is grpc, tls, quic or memory"],
        [get("/grpc_echo?msg=a&delayMillis=1.5"), "delayMillis is a whole number from 0 to 10000"],
        [get("/grpc_echo?msg=a&timeoutMillis=soon"), "timeoutMillis is a whole number from 1 to 10000"],
        [post("/grpc_echo", {}), "msg is missing"],
        [post("/grpc_echo"), "the body is a JSON object with msg"],
        [post("/grpc_echo", "hello"), "the body is a JSON object with msg"],
        [post("/retry_test", {}), "failures is missing; maxAttempts is missing; initialBackoff is missing"],
        [post("/retry_test", null), "the body is a JSON object with failures, maxAttempts and initialBackoff"],
        [post("/grpc_echo", { msg: 7 }), "msg is text"],
        [post("/grpc_echo", { msg: "\ud83d" }), "msg has half of a surrogate pair"],
        [post("/grpc_echo", { msg: "a", delayMillis: 10_001 }), "delayMillis is a whole number from 0 to 10000"],
        [post("/echo/memory", { msg: "a", timeoutMillis: 0 }), "timeoutMillis is a whole number from 1 to 10000"],
        [post("/retry_test", { ...retry, failures: 21 }), "failures is a whole number from 0 to 20"],
        [post("/retry_test", { ...retry, maxAttempts: 0 }), "maxAttempts is a whole number from 1 to 10"],
        [
          post("/retry_test", { ...retry, initialBackoff: "a while" }),
          'initialBackoff is milliseconds or a duration as "100 millis", from 1 to 2000 ms'
        ],
        [
          post("/retry_test", { ...retry, initialBackoff: "1 minute" }),
          'initialBackoff is milliseconds or a duration as "100 millis", from 1 to 2000 ms'
        ],
        [post("/retry_test", { maxAttempts: 2, initialBackoff: 1 }), "failures is missing"],
        [
          post("/retry_test", { failures: -1, maxAttempts: "2", initialBackoff: 1 }),
          "failures is a whole number from 0 to 20; maxAttempts is a whole number from 1 to 10"
        ],
        [post("/nodes/pigeon/kill"), "transport is grpc, tls, quic or memory"],
        [get("/nodes?since=now"), "since is a whole number from 0 to 9007199254740991"],
        [
          send(HttpClientRequest.bodyText(HttpClientRequest.post("/grpc_echo"), '{"msg":', "application/json")),
          "the body is not JSON, or has more than 524288 bytes"
        ]
      ] as const
      for (const [answer, message] of cases) {
        expect(yield* answer).toMatchObject({ status: 400, json: { _tag: "HttpApiDecodeError", message } })
      }
    }).pipe(Effect.scoped)
  )

  it.live("retries as often as it takes, with the delays of the policy", () =>
    Effect.gen(function* () {
      const { post } = yield* launch()
      for (const transport of names) {
        const body = { failures: 2, maxAttempts: 3, initialBackoff: "20 millis", transport }
        const { json, status } = yield* post("/retry_test", body)
        expect(status).toBe(200)
        expect(json).toMatchObject({
          echo: "attempt 3",
          message: "attempt 3 succeeded",
          transport,
          attempts: [
            { attempt: 1, outcome: "Unavailable", delayMillis: 20 },
            { attempt: 2, outcome: "Unavailable", delayMillis: 40 },
            { attempt: 3, outcome: "Success" }
          ]
        })
        const [first, second, third] = json.attempts
        expect(second.startMillis - first.endMillis).toBeGreaterThanOrEqual(19)
        expect(third.startMillis - second.endMillis).toBeGreaterThanOrEqual(39)
        expect(json.totalMillis).toBeGreaterThanOrEqual(third.endMillis)
        expect(third).not.toHaveProperty("delayMillis")
      }
      const once = yield* post("/retry_test", { failures: 0, maxAttempts: 1, initialBackoff: 1000 })
      expect(once).toMatchObject({ status: 200, json: { attempts: [{ attempt: 1, outcome: "Success" }] } })
    }).pipe(Effect.scoped)
  )

  it.live("answers 500 where the attempts don't suffice, and says what was tried", () =>
    Effect.gen(function* () {
      const { get, post } = yield* launch(only("grpc"))
      const { json, status } = yield* post("/retry_test", { failures: 3, maxAttempts: 3, initialBackoff: 5 })
      expect(status).toBe(500)
      expect(json).toMatchObject({
        _tag: "RetriesExhausted",
        message: "all 3 attempts failed, the last one with Unavailable",
        attempts: [{ delayMillis: 5 }, { delayMillis: 10 }, { attempt: 3, outcome: "Unavailable" }],
        lastError: { _tag: "Unavailable", message: "attempt 3 of 3 that shall fail" }
      })
      expect(json.attempts[2]).not.toHaveProperty("delayMillis")
      yield* post("/nodes/grpc/kill")
      expect(yield* post("/retry_test", { failures: 0, maxAttempts: 2, initialBackoff: 1 })).toMatchObject({
        status: 500,
        json: { _tag: "RetriesExhausted", attempts: [{ outcome: "Unavailable" }, { outcome: "Unavailable" }] }
      })
      expect((yield* get("/metrics")).text).toMatch(/^# TYPE verify_echoes_total counter$/m)
    }).pipe(Effect.scoped)
  )

  it.live("does not log what a retry test is asked to show as a fault of its own", () =>
    Effect.gen(function* () {
      const logged: Array<string> = []
      const logger = Logger.make<unknown, void>(({ logLevel, message }) => {
        logged.push(`${logLevel.label} ${String(message)}`)
      })
      const { post } = yield* launch(only("memory"), logger)
      const { json, status } = yield* post("/retry_test", {
        failures: 3,
        maxAttempts: 2,
        initialBackoff: 1,
        transport: "memory"
      })
      expect(status).toBe(500)
      expect(json._tag).toBe("RetriesExhausted")
      expect(logged.join("\n")).toContain("WARN retry: caught Unavailable (1/1)")
      expect(logged.filter((line) => /^(ERROR|FATAL)/.test(line))).toEqual([])
    }).pipe(Effect.scoped)
  )

  it.live("adds jitter where that is asked for", () =>
    Effect.gen(function* () {
      const { post } = yield* launch(only("memory"))
      const { json } = yield* post("/retry_test", {
        failures: 8,
        maxAttempts: 9,
        initialBackoff: 1,
        jitter: true,
        transport: "memory"
      })
      const factors = json.attempts
        .slice(0, 8)
        .map((each: { delayMillis: number }, i: number) => each.delayMillis / 2 ** i)
      expect(new Set(factors).size).toBeGreaterThan(1)
      for (const factor of factors) {
        expect(factor).toBeGreaterThanOrEqual(0.8)
        expect(factor).toBeLessThanOrEqual(1.2)
      }
    }).pipe(Effect.scoped)
  )

  it.live("answers 504 when a deadline passes", () =>
    leavesNothing(
      Effect.gen(function* () {
        const { get } = yield* launch()
        for (const name of names) {
          expect(yield* get(`/echo/${name}?msg=late&delayMillis=9000&timeoutMillis=50`)).toMatchObject(
            failure(504, "DeadlineExceeded")
          )
        }
      })
    )
  )

  it.live("refuses more at a time than it takes", () =>
    Effect.gen(function* () {
      const { get } = yield* launch(only("memory"))
      const before = yield* callsInFlight
      yield* Effect.fork(
        Effect.all(
          Array.from({ length: 64 }, () => get("/echo/memory?msg=x&delayMillis=9000")),
          { concurrency: "unbounded" }
        )
      )
      yield* eventually(
        Effect.map(callsInFlight, (calls) => expect(calls).toBe(before + 64)),
        "10 seconds"
      )
      expect(yield* get("/echo/memory?msg=x")).toMatchObject(failure(429, "TooBusy"))
    }).pipe(Effect.scoped)
  )

  it.live("has metrics as Prometheus text", () =>
    Effect.gen(function* () {
      const { get } = yield* launch()
      yield* get("/echo/tls?msg=x")
      yield* get("/echo/tls?msg=x&delayMillis=9000&timeoutMillis=1")
      const { headers, status, text } = yield* get("/metrics")
      expect(status).toBe(200)
      expect(headers["content-type"]).toBe("text/plain; version=0.0.4; charset=utf-8")
      expect(text).toMatch(/^verify_echoes_total\{transport="tls",outcome="Success"\} [1-9]\d*$/m)
      expect(text).toMatch(/^verify_echoes_total\{transport="tls",outcome="DeadlineExceeded"\} [1-9]\d*$/m)
      expect(text).toMatch(/^verify_echo_call_seconds_bucket\{transport="tls",le="\+Inf"\} [1-9]\d*$/m)
      expect(text).toMatch(
        /^# HELP effect_transport_connections_opened .+\n# TYPE effect_transport_connections_opened gauge$/m
      )
      const sample =
        /^[a-zA-Z_:][a-zA-Z0-9_:]*(\{([a-zA-Z_][a-zA-Z0-9_]*="([^"\\\n]|\\["\\n])*",?)+\})? (NaN|[+-]Inf|-?[0-9.e+-]+)$/
      for (const line of text.trimEnd().split("\n")) {
        expect(line).toMatch(line.startsWith("#") ? /^# (HELP|TYPE) [a-zA-Z_:][a-zA-Z0-9_:]* .+$/ : sample)
      }
    }).pipe(Effect.scoped)
  )

  it.live("describes itself as OpenAPI, with each status that it answers", () =>
    Effect.gen(function* () {
      const { get } = yield* launch(only("memory"))
      const { json, status } = yield* get("/openapi.json")
      expect(status).toBe(200)
      expect(Object.keys(json.paths).sort()).toEqual([
        "/connections",
        "/echo/{transport}",
        "/grpc_echo",
        "/healthz",
        "/intruders/{transport}/{intruder}",
        "/load/{transport}",
        "/metrics",
        "/network/{transport}",
        "/nodes",
        "/nodes/{transport}/kill",
        "/nodes/{transport}/renew",
        "/nodes/{transport}/restart",
        "/nodes/{transport}/revoke",
        "/nodes/{transport}/rotate",
        "/retry_test",
        "/stream/{transport}",
        "/tenants/{transport}"
      ])
      const statuses = (path: string, method: string) => Object.keys(json.paths[path][method].responses)
      expect(statuses("/grpc_echo", "get")).toEqual(
        expect.arrayContaining(["200", "400", "429", "500", "501", "502", "503", "504"])
      )
      expect(statuses("/retry_test", "post")).toEqual(expect.arrayContaining(["200", "400", "500"]))
      expect(JSON.stringify(json.paths["/retry_test"].post.responses["500"])).toContain("RetriesExhausted")
      expect(statuses("/nodes/{transport}/restart", "post")).toEqual(
        expect.arrayContaining(["200", "409", "501", "503"])
      )
    }).pipe(Effect.scoped)
  )

  it.live("serves its page and the documentation with a policy, and nothing else", () =>
    Effect.gen(function* () {
      const { get } = yield* launch(only("memory"))
      const types: Record<string, string> = {
        html: "text/html",
        css: "text/css",
        js: "javascript",
        svg: "image/svg+xml"
      }
      for (const file of readdirSync("examples/verify/page")) {
        const { headers, status } = yield* get(file === "index.html" ? "/" : `/${file}`)
        expect({ file, status }).toEqual({ file, status: 200 })
        expect(headers["content-type"]).toContain(types[file.split(".")[1] ?? ""])
        expect(headers["content-security-policy"]).toContain("default-src 'none'; script-src 'self'; style-src 'self';")
        expect(headers["x-content-type-options"]).toBe("nosniff")
      }
      const docs = yield* get("/docs")
      expect(docs.status).toBe(200)
      expect(docs.headers["content-security-policy"]).toMatch(/script-src 'sha256-[\w+/=]{44}'; style-src/)
      for (const path of ["/nope", "/main.ts", "/..%2fmain.ts", "/%2e%2e/main.ts"]) {
        expect(yield* get(path)).toMatchObject(failure(404, "NotFound"))
      }
    }).pipe(Effect.scoped)
  )

  it.live("does nothing for pages of other sites", () =>
    Effect.gen(function* () {
      const { get, send, url } = yield* launch(only("memory"))
      const kill = HttpClientRequest.post("/nodes/memory/kill")
      const from = (origin: string) => send(HttpClientRequest.setHeader(kill, "origin", origin))
      expect(yield* from("https://evil.example")).toMatchObject(failure(403, "Forbidden"))
      expect(yield* from("null")).toMatchObject(failure(403, "Forbidden"))
      const rebound = yield* Effect.async<number | undefined>((resume) => {
        rawRequest(`${url}/nodes`, { headers: { host: "evil.example" } }, (response) => {
          response.resume()
          resume(Effect.succeed(response.statusCode))
        }).end()
      })
      expect(rebound).toBe(403)
      expect((yield* get("/nodes")).json.nodes).toMatchObject([{ status: "up" }])
      expect((yield* from(url)).status).toBe(200)
    }).pipe(Effect.scoped)
  )
})
