import { describe, expect, it } from "@effect/vitest"
import * as Metric from "effect/Metric"
import * as CallMetrics from "../../src/Transport/internal/callMetrics.js"

const labelsOf = (name: string) =>
  Metric.unsafeSnapshot()
    .filter(({ metricKey }) => metricKey.name === name)
    .map(({ metricKey: { tags } }) => Object.fromEntries(tags.map(({ key, value }) => [key, value])))

describe("metrics of calls", () => {
  it("name a server as OpenTelemetry does", () => {
    expect(CallMetrics.serverLabels("node-a:50051")).toEqual({ "server.address": "node-a", "server.port": "50051" })
    expect(CallMetrics.serverLabels("[::1]:1")).toEqual({ "server.address": "::1", "server.port": "1" })
    expect(CallMetrics.serverLabels("unix:/run/a:b.sock")).toEqual({ "server.address": "/run/a:b.sock" })
    expect(CallMetrics.serverLabels("worker")).toEqual({ "server.address": "worker" })
  })

  it("say which statuses are errors of which side", () => {
    const types = (side: "client" | "server") =>
      Array.from({ length: 17 }, (_, code) => CallMetrics.errorType(side, code)).filter((type) => type !== undefined)
    expect(types("client")).toHaveLength(16)
    expect(types("server")).toEqual([
      "UNKNOWN",
      "DEADLINE_EXCEEDED",
      "UNIMPLEMENTED",
      "INTERNAL",
      "UNAVAILABLE",
      "DATA_LOSS"
    ])
    expect(CallMetrics.statusName(99)).toBe("UNKNOWN")
  })

  it("take a reset at about the deadline for the deadline", () => {
    expect(CallMetrics.interruptedCode(900, 1000)).toBe(CallMetrics.deadlineExceeded)
    expect(CallMetrics.interruptedCode(700, 1000)).toBe(CallMetrics.cancelled)
    expect(CallMetrics.interruptedCode(59_000, 60_000)).toBe(CallMetrics.cancelled)
    expect(CallMetrics.interruptedCode(1e9, Number.POSITIVE_INFINITY)).toBe(CallMetrics.cancelled)
  })

  it("tell no more servers apart than 64, and none that called here", () => {
    const name = "rpc.client.call.duration"
    const path = "/many.v1.Servers/Call"
    for (let port = 1; port <= 1000; port++) {
      CallMetrics.ended(CallMetrics.client(true, "test", `127.0.0.1:${port}`)?.(path), 0, 1)
    }
    CallMetrics.ended(CallMetrics.client(true, "test", undefined)?.(path), 0, 1)
    const mine = labelsOf(name).filter(({ "rpc.method": method }) => method === "many.v1.Servers/Call")
    expect(mine.length).toBeLessThanOrEqual(65)
    expect(mine.filter(({ "server.address": address }) => address === "other")).toHaveLength(1)
    expect(CallMetrics.client(false, "test", "127.0.0.1:1")).toBeUndefined()
  })

  it("of retries have a method that is known, and a status of this library's", () => {
    CallMetrics.retried(new Error("not ours"))
    const labels = labelsOf("effect_transport_retries")
    expect(labels).toContainEqual({ "error.type": "other", "rpc.method": "unknown" })
  })
})
