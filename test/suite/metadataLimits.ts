/** The size of metadata: each side has a limit, and the number of entries does not matter. */
import { describe, expect } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Stream from "effect/Stream"
import { type CallError, Metadata, NotFound, Transport } from "effect-transport"
import { EchoService, echo } from "./fixtures/echo.js"
import { keysOf, observedEcho } from "./fixtures/metadata.js"
import type { Suite } from "./harness.js"

/** Metadata of exactly so many bytes, as RFC 9113 counts. */
const sized = (size: number) => Metadata.make({ "x-v": "x".repeat(size - 35) })

export const metadataLimits = ({ fewResponseFields, test, withOptions }: Suite): void => {
  describe("metadata's rule", () => {
    for (const [title, own, peer] of [
      ["its own", 2_000, 4_000],
      ["the peer's", 4_000, 2_000],
      ["both's", 2_000, 2_000]
    ] as const) {
      test(`is held to ${title} limit, with one error for all wires, that of its call only`, function* () {
        let act: (call: Transport.Call) => Effect.Effect<void, CallError> = () => Effect.void
        const seen = { trailers: Metadata.empty }
        const listener = yield* withOptions({ maxMetadataSize: peer })(
          Transport.listen([
            Transport.handlers(EchoService, {
              ...echo,
              echo: (_, call) => Effect.as(act(call), {}),
              echoServerStream: (_, call) =>
                Stream.concat(Stream.as(Stream.fromEffect(Effect.suspend(() => act(call))), {}), Stream.make({}))
            })
          ])
        )
        const client = yield* withOptions({ maxMetadataSize: own })(Transport.client(EchoService, listener.target))
        const calls = [
          (metadata?: Metadata.Input) => Effect.asVoid(client.echo({}, { metadata })),
          (metadata?: Metadata.Input) =>
            Stream.runDrain(
              client.echoServerStream(
                {},
                {
                  metadata,
                  onTrailers: (trailers) => {
                    seen.trailers = trailers
                  }
                }
              )
            )
        ]
        const tooLarge = { _tag: "ResourceExhausted", message: "metadata has more than the 2000 bytes allowed" }
        for (const call of calls) {
          for (const size of [1_999, 2_000]) {
            act = () => Effect.void
            yield* call(sized(size))
            act = (call) => Effect.zipRight(call.setHeaders(sized(size)), call.setTrailers(sized(size)))
            yield* call()
          }
          act = () => Effect.void
          expect(yield* Effect.flip(call(sized(2_001)))).toMatchObject(tooLarge)
          yield* call()
          for (const set of ["setHeaders", "setTrailers"] as const) {
            act = (call) => call[set](sized(2_001))
            expect(yield* Effect.flip(call())).toMatchObject(tooLarge)
            act = () => Effect.void
            yield* call()
          }
          for (const size of [1_999, 2_000, 2_001]) {
            act = () => new NotFound({ message: "gone", metadata: sized(size) })
            const error = yield* Effect.flip(call())
            expect(error).toMatchObject({ _tag: "NotFound", message: "gone" })
            expect((error as NotFound).metadata.entries).toHaveLength(size > 2_000 ? 0 : 1)
          }
          act = (call) =>
            Effect.zipRight(call.setHeaders(sized(2_001)), new NotFound({ message: "gone", metadata: sized(100) }))
          expect(yield* Effect.flip(call())).toMatchObject({ _tag: "NotFound", message: "gone" })
          act = () => Effect.void
          yield* call()
        }
      })
    }

    const many = Array.from({ length: 400 }, (_, i): Metadata.Entry => [`x-${i}`, "v"])

    test("lets requests have 400 small entries", function* () {
      const { both, seen, unary } = yield* observedEcho()
      for (const call of both) {
        yield* call(undefined, many)
        expect(keysOf(seen.request.entries)).toBe(keysOf(many))
      }
      yield* unary()
    })

    test(
      fewResponseFields === undefined
        ? "lets responses have 400 small entries"
        : `lets responses have 400 small entries (expected to fail: ${fewResponseFields})`,
      function* () {
        const { both, seen, unary } = yield* observedEcho()
        for (const call of both) {
          yield* call((call) => call.setHeaders(many))
          expect(keysOf(seen.headers.entries)).toBe(keysOf(many))
          yield* call((call) => call.setTrailers(many))
          expect(keysOf(seen.trailers.entries)).toBe(keysOf(many))
        }
        yield* unary()
      },
      fewResponseFields === undefined ? true : "fails"
    )

    test("with more fields than an engine takes ends its own call only", function* () {
      const { both, unary } = yield* observedEcho()
      for (const call of both) {
        for (const set of ["setHeaders", "setTrailers"] as const) {
          const exit = yield* Effect.either(call((call) => call[set](many)))
          expect(exit._tag === "Right" ? "Right" : exit.left._tag).toBe(
            fewResponseFields === undefined ? "Right" : "ResourceExhausted"
          )
          yield* unary()
        }
      }
    })
  })
}
