import { expect, it } from "@effect/vitest"
import { fuzz } from "./grpcFuzz.js"

it("what gRPC and RPC frames are read with gives a value or a typed error for bytes of all kinds", () => {
  const outcomes = fuzz(10_000, 1, () => undefined)
  for (const [name, least] of [
    ["metadata: valid", 200],
    ["fields: Unknown", 200],
    ["refusal: refused", 50],
    ["timeout: a duration", 50],
    ["status: Unknown", 200],
    ["details: 1", 50],
    ["protobuf: malformed", 50],
    ["protobuf: too many", 20],
    ["message: TooLarge", 50],
    ["frames: MessagePack read", 10],
    ["frames: NDJSON refused", 50],
    ["scan: complete", 50]
  ] as const) {
    expect([name, outcomes.get(name) ?? 0]).toEqual([name, expect.toSatisfy((count: number) => count > least)])
  }
})
