import { expect, it } from "@effect/vitest"
import { fuzz } from "./http3Fuzz.js"

it("bytes of all kinds, random, mutated and truncated, give what they say or a violation", () => {
  const outcomes = fuzz(20_000, 1, () => undefined)
  for (const [name, least] of [
    ["request: end", 200],
    ["request: stream H3_MESSAGE_ERROR", 200],
    ["request: connection H3_FRAME_ERROR", 200],
    ["response: end", 200],
    ["control: read", 200],
    ["section: QPACK_DECOMPRESSION_FAILED", 200],
    ["datagram: read", 200]
  ] as const) {
    expect([name, outcomes.get(name) ?? 0]).toEqual([name, expect.toSatisfy((count: number) => count > least)])
  }
})
