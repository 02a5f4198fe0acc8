import { describe, expect, it } from "@effect/vitest"
import * as FastCheck from "effect/FastCheck"
import * as GrpcTimeout from "../../../src/protocol/grpc/GrpcTimeout.js"

describe("grpc-timeout", () => {
  it.each([
    [0.2, "1m"],
    [1, "1m"],
    [999, "999m"],
    [1000, "1000m"],
    [1001, "1010m"],
    [29_998.4, "30000m"],
    [30_000, "30000m"],
    [86_400_000, "86400000m"],
    [99_999_999, "99999999m"],
    [100_000_000, "100000S"],
    [1e15, "99999999H"]
  ])("%d milliseconds are %s", (millis, text) => {
    expect(GrpcTimeout.format(millis)).toBe(text)
  })

  it("is never less than what is left, and hardly more", () => {
    FastCheck.assert(
      FastCheck.property(FastCheck.double({ min: 0.001, max: 3e14, noNaN: true }), (millis) => {
        const text = GrpcTimeout.format(millis)
        const read = GrpcTimeout.parse(text)
        expect(text).toMatch(/^[0-9]{1,8}[mSMH]$/)
        expect(read).toBeGreaterThanOrEqual(millis)
        expect(read).toBeLessThanOrEqual(millis * 1.01 + 1)
      })
    )
  })

  it.each([
    ["5n", 5e-6],
    ["250u", 0.25],
    ["7S", 7000],
    ["2M", 120_000],
    ["1H", 3_600_000]
  ])("%s is read", (text, millis) => {
    expect(GrpcTimeout.parse(text)).toBeCloseTo(millis, 9)
  })

  it.each(["", "m", "5", "5x", "123456789m", "-1S", "1.5S", " 1S"])("%j is no timeout", (text) => {
    expect(GrpcTimeout.parse(text)).toBeUndefined()
  })
})
