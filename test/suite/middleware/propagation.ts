/** Propagation: metadata that goes on from the call that is handled to those that its handler makes. */
import { describe, expect } from "@effect/vitest"
import * as Effect from "effect/Effect"
import { Metadata, Middleware, Transport } from "effect-transport"
import { EchoService, serveEcho } from "../fixtures/echo.js"
import type { Suite } from "../harness.js"

import { allCalls, answering } from "./shapes.js"
export const propagation = ({ test }: Suite): void => {
  describe("propagation", () => {
    /** A node that tells what metadata came to it, and one before it that calls it. */
    const chain = (keys: ReadonlyArray<string>) =>
      Effect.gen(function* () {
        const told = Effect.map(Transport.CurrentCall, ({ metadata }) =>
          ["x-id", "x-other", "x-proof-bin", "traceparent"]
            .flatMap((key) => Metadata.getAll(metadata, key).map((value) => `${key}=${value}`))
            .join(" ")
        )
        const last = yield* serveEcho(Transport.handlers(EchoService, answering(told)))
        const next = yield* Transport.client(EchoService, last.listener.target, {
          middleware: [Middleware.propagate(keys)]
        })
        const first = yield* serveEcho(
          Transport.handlers(EchoService, {
            echo: ({ message }) => next.echo({}, message === "own" ? { metadata: { "x-id": message } } : {}),
            echoServerStream: () => next.echoServerStream({}),
            echoClientStream: (requests) => next.echoClientStream(requests),
            echoBidi: (requests) => next.echoBidi(requests)
          })
        )
        return { first: first.client, next }
      })

    const metadata = { "x-id": "1", "x-other": "2", "x-proof-bin": new Uint8Array([7]) }

    test("takes what is named from the call that is handled to those that it makes, of every shape", function* () {
      const { first, next } = yield* chain(["X-Id", "x-proof-bin", "x-absent"])
      for (const call of allCalls(first, { metadata })) {
        expect(yield* call).toEqual(["x-id=1 x-proof-bin=7"])
      }
      // Outside of a handler there is nothing to take.
      for (const call of allCalls(next)) {
        expect(yield* call).toEqual([""])
      }
    })

    test("leaves what a call says itself", function* () {
      const { first } = yield* chain(["x-id", "x-other"])
      expect((yield* first.echo({ message: "own" }, { metadata })).message).toBe("x-id=own x-other=2")
    })

    test("names no key of one hop", function* () {
      for (const key of ["connection", "TE", "grpc-timeout", "grpc-retry-pushback-ms", ":path", "host", "x y"]) {
        expect(() => Middleware.propagate(["x-id", key])).toThrow(key.toLowerCase())
      }
      const { first } = yield* chain(["traceparent", "tracestate"])
      const traceparent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
      expect((yield* first.echo({}, { metadata: { traceparent } })).message).not.toBe("")
    })
  })
}
