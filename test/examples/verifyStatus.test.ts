import { describe, expect, it } from "@effect/vitest"
import { TransportError } from "effect-transport"
import { httpStatus } from "../../examples/verify/httpStatus.js"

describe("httpStatus", () => {
  // As in google.rpc.Code, "code.proto".
  it.each([
    ["Cancelled", 499],
    ["Unknown", 500],
    ["InvalidArgument", 400],
    ["DeadlineExceeded", 504],
    ["NotFound", 404],
    ["AlreadyExists", 409],
    ["PermissionDenied", 403],
    ["ResourceExhausted", 429],
    ["FailedPrecondition", 400],
    ["Aborted", 409],
    ["OutOfRange", 400],
    ["Unimplemented", 501],
    ["Internal", 500],
    ["Unavailable", 503],
    ["DataLoss", 500],
    ["Unauthenticated", 401],
    ["HandshakeFailed", 502],
    ["BindError", 503],
    ["BodyTooLarge", 413],
    ["Forbidden", 403],
    ["NodeNotRunning", 409],
    ["NodeRunning", 409],
    ["RetriesExhausted", 500],
    ["TooBusy", 429],
    ["TransportAbsent", 501]
  ] as const)("is for %s %i", (tag, status) => {
    expect(httpStatus[tag]).toBe(status)
  })

  it("has all statuses of gRPC", () => {
    for (const code of Object.keys(TransportError.statusErrors)) {
      expect(httpStatus).toHaveProperty(TransportError.fromCode(Number(code), { message: "" })._tag)
    }
  })
})
