/** Authorizers: who may connect, and who may call what. */
import { describe, expect } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Metric from "effect/Metric"
import * as Option from "effect/Option"
import * as Stream from "effect/Stream"
import { Authorizer, TransportMetrics } from "effect-transport"
import { soon } from "../fixtures/expect.js"
import type { Suite } from "./harness.js"
import { good, goodClient, presenting } from "./sides.js"

export const authorizers = ({ expectRefusal, meet, test }: Suite): void => {
  describe("authorizers", () => {
    const client = Authorizer.spiffeId("spiffe://mesh/client")

    test(
      "a listener lets in whom its authorizer lets pass",
      Effect.gen(function* () {
        const { call } = yield* meet(good, goodClient, { listen: { authorize: client } })
        expect(yield* soon(call)).toBe("hello")
      })
    )

    test(
      "a listener refuses the others as not authorized",
      Effect.gen(function* () {
        const meeting = yield* meet(good, presenting("good"), { listen: { authorize: client } })
        yield* expectRefusal(meeting, "NotAuthorized", "remote")
        const broken = yield* meet(good, goodClient, {
          listen: {
            authorize: () => {
              throw new Error("broken")
            }
          }
        })
        yield* expectRefusal(broken, "NotAuthorized", "remote")
      })
    )

    test(
      "a service, and each method of one, has its own",
      Effect.gen(function* () {
        const authorize = {
          echo: Authorizer.any,
          echoServerStream: client,
          echoClientStream: client,
          echoBidi: client
        }
        const before = yield* Metric.value(TransportMetrics.callsDenied)
        const meeting = yield* meet(good, presenting("good"), { handlers: { authorize } })
        const other = yield* meeting.client
        expect((yield* other.echo({ message: "open" })).message).toBe("open")
        const denied = { _tag: "PermissionDenied", peer: meeting.target, method: "/echo.v1.EchoService/EchoBidi" }
        expect(yield* Effect.flip(Stream.runDrain(other.echoBidi(Stream.never)))).toMatchObject(denied)
        expect(yield* Effect.flip(Stream.runDrain(other.echoServerStream({})))).toMatchObject({ _tag: denied._tag })
        expect(yield* Effect.flip(other.echoClientStream(Stream.empty))).toMatchObject({ _tag: denied._tag })
        expect((yield* Metric.value(TransportMetrics.callsDenied)).count).toBe(before.count + 3)
        expect(meeting.log.filter(({ text }) => text.startsWith("denied /echo.v1.EchoService/")).length).toBe(3)

        const closed = yield* meet(good, presenting("good"), { handlers: { authorize: client } })
        expect(yield* Effect.flip(closed.call)).toMatchObject({ _tag: "PermissionDenied" })
        const known = yield* meet(good, goodClient, { handlers: { authorize } })
        const bidi = (yield* known.client).echoBidi(Stream.make({ message: "hello" }))
        expect(Option.map(yield* Stream.runHead(bidi), ({ message }) => message)).toEqual(Option.some("hello"))
      })
    )
  })
}
