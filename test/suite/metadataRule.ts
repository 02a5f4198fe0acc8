/** What the rule of `Metadata` means on a wire. After each case another call works on the same connection. */
import { describe, expect } from "@effect/vitest"
import * as Effect from "effect/Effect"
import { Metadata, NotFound, Transport } from "effect-transport"
import { EchoService } from "./fixtures/echo.js"
import { keysOf, observedEcho, unchecked } from "./fixtures/metadata.js"
import { captureSpans } from "./fixtures/observe.js"
import type { Suite } from "./harness.js"

/** RFC 9110 section 7.6.1, RFC 9113 sections 8.2.2 and 8.3, and what gRPC keeps for itself. */
const forbidden = [
  ":path",
  ":authority",
  ":status",
  ":custom",
  "connection",
  "keep-alive",
  "proxy-connection",
  "transfer-encoding",
  "upgrade",
  "http2-settings",
  "te",
  "trailer",
  "proxy-authenticate",
  "proxy-authorization",
  "proxy-authentication-info",
  "host",
  "content-length",
  "content-type",
  "grpc-status",
  "grpc-message",
  "grpc-timeout",
  "grpc-encoding",
  "grpc-accept-encoding",
  "grpc-status-details-bin",
  "grpc-trace-bin",
  "grpc-tags-bin",
  "grpc-whatever",
  "__proto__"
]

const sampleOf = (name: string): Metadata.Value => (name.endsWith("-bin") ? Uint8Array.of(1) : "trailers")

/** What `node:http2` sends once only. */
const singleValued = [
  "access-control-allow-credentials",
  "access-control-max-age",
  "access-control-request-method",
  "age",
  "authorization",
  "content-encoding",
  "content-language",
  "content-location",
  "content-md5",
  "content-range",
  "dnt",
  "etag",
  "expires",
  "from",
  "if-match",
  "if-modified-since",
  "if-none-match",
  "if-range",
  "if-unmodified-since",
  "last-modified",
  "location",
  "max-forwards",
  "range",
  "referer",
  "retry-after",
  "tk",
  "upgrade-insecure-requests",
  "x-content-type-options"
]

/** Others that HTTP knows, several of which some stacks treat in their own way. */
const others = [
  "cookie",
  "set-cookie",
  "accept",
  "cache-control",
  "expect",
  "vary",
  "via",
  "x-forwarded-for",
  "priority"
]

export const metadataRule = ({ test }: Suite): void => {
  describe("metadata's rule", () => {
    test("forbids what belongs to HTTP, gRPC or one hop in requests, before anything is sent", function* () {
      const { both, seen, unary } = yield* observedEcho()
      for (const name of forbidden) {
        for (const spelled of [name, name.toUpperCase()]) {
          for (const call of both) {
            const error = yield* Effect.flip(call(undefined, [[spelled, sampleOf(name)]]))
            expect([name, error._tag]).toEqual([name, "InvalidArgument"])
          }
        }
      }
      expect(seen.calls).toBe(0)
      yield* unary()
      expect(seen.calls).toBe(1)
    })

    test("holds for a client's metadata too", function* () {
      const { listener, unary } = yield* observedEcho()
      for (const name of forbidden) {
        const other = yield* Transport.client(EchoService, listener.target, { metadata: [[name, sampleOf(name)]] })
        expect(yield* Effect.flip(other.echo({}))).toMatchObject({ _tag: "InvalidArgument" })
      }
      yield* unary()
    })

    test("makes the call of a handler that breaks it Internal, with a line in the log, and no other call", function* () {
      const { log, stream, unary } = yield* observedEcho()
      for (const [i, name] of forbidden.entries()) {
        const input: Metadata.Input = [[name, sampleOf(name)]]
        for (const act of [
          (call: Transport.Call) => call.setHeaders(input),
          (call: Transport.Call) => call.setTrailers(input),
          () => new NotFound({ message: "no", metadata: unchecked([[name, sampleOf(name)]]) })
        ]) {
          const error = yield* Effect.flip((i % 3 === 0 ? stream : unary)(act))
          expect([name, error._tag]).toEqual([name, "Internal"])
        }
      }
      expect(log.lines.filter(({ level }) => level === "ERROR").map(({ text }) => text)).toContainEqual(
        expect.stringContaining('metadata key ":path"')
      )
      yield* unary()
    })

    test("takes keys of up to 255 characters, in both directions", function* () {
      const { both, seen, unary } = yield* observedEcho()
      for (const call of both) {
        for (const suffix of ["", "-bin"]) {
          const [fits, tooLong] = [255, 256].map((length): Metadata.Entry => {
            const key = "k".repeat(length - suffix.length) + suffix
            return [key, sampleOf(key)]
          })
          if (fits === undefined || tooLong === undefined) {
            throw new Error("no keys")
          }
          yield* call((call) => Effect.zipRight(call.setHeaders([fits]), call.setTrailers([fits])), [fits])
          for (const metadata of [seen.request, seen.headers, seen.trailers]) {
            expect(metadata.entries).toEqual([fits])
          }
          expect(yield* Effect.flip(call(undefined, [tooLong]))).toMatchObject({ _tag: "InvalidArgument" })
          expect(yield* Effect.flip(call((call) => call.setHeaders([tooLong])))).toMatchObject({ _tag: "Internal" })
          expect(yield* Effect.flip(call((call) => call.setTrailers([tooLong])))).toMatchObject({ _tag: "Internal" })
        }
      }
      yield* unary()
    })

    test("takes printable ASCII under text keys and bytes under -bin keys, and nothing else", function* () {
      const { both, seen, unary } = yield* observedEcho()
      const wrong: ReadonlyArray<Metadata.Entry> = [
        ...["\r", "\n", "\r\nx: y", "\0", "\t", "\x7f", "\x1f", "ü", "\u0100", "日", "🚀", "\ud800"].flatMap(
          (text): ReadonlyArray<Metadata.Entry> => [
            ["x-v", text],
            ["x-v", `a${text}b`],
            [`x-v${text}`, "a"]
          ]
        ),
        ["", "a"],
        ["x v", "a"],
        ["x:v", "a"],
        ["x,v", "a"],
        ["x-v\u212a", "a"],
        ["x-v-bin", "text"],
        ["x-v-BIN", "dGV4dA=="],
        ["x-v", Uint8Array.of(1)]
      ]
      for (const entry of wrong) {
        for (const call of both) {
          expect(yield* Effect.flip(call(undefined, [entry]))).toMatchObject({ _tag: "InvalidArgument" })
        }
        expect(yield* Effect.flip(unary((call) => call.setTrailers([entry])))).toMatchObject({ _tag: "Internal" })
      }
      const right: Metadata.Input = {
        "x-empty": "",
        "x-spaces": "  a b  ",
        "x-all": ' !"#~',
        "x-bin": Uint8Array.of(0, 13, 10)
      }
      for (const call of both) {
        yield* call((call) => Effect.zipRight(call.setHeaders(right), call.setTrailers(right)), right)
        for (const metadata of [seen.request, seen.headers, seen.trailers]) {
          expect(Metadata.getAll(metadata, "x-empty")).toEqual([""])
          expect(Metadata.getAll(metadata, "x-spaces")).toEqual(["a b"])
          expect(Metadata.getAll(metadata, "x-all")).toEqual(['!"#~'])
          expect(Metadata.getAll(metadata, "x-bin")).toEqual([Uint8Array.of(0, 13, 10)])
        }
      }
      yield* unary()
    })

    test("holds for objects that say they are metadata, and for what can't be read or has no end", function* () {
      const { both, seen, unary } = yield* observedEcho()
      const forged = (entries: unknown): Metadata.Metadata =>
        Object.create(Metadata.empty, { entries: { value: entries } })
      const throwing = Object.defineProperty([["x-v", "a"]], 0, {
        get: () => {
          throw new Error("a getter")
        }
      })
      const inputs: ReadonlyArray<unknown> = [
        forged([["te", "trailers"]]),
        forged([["x-v", "a\r\nb"]]),
        forged([["k".repeat(256), "a"]]),
        forged([["x-v", { length: 5 }]]),
        forged([[{ toString: () => "x-v" }, "a"]]),
        forged(undefined),
        forged(throwing),
        unchecked([["grpc-status", "0"]]),
        { "x-v": 5 },
        { "x-v": [["a"]] },
        [["x-v"]],
        [null],
        "text",
        5,
        null
      ]
      for (const input of inputs) {
        for (const call of both) {
          expect(yield* Effect.flip(call(undefined, input as Metadata.Input))).toMatchObject({
            _tag: "InvalidArgument"
          })
          expect(yield* Effect.flip(call((call) => call.setHeaders(input as Metadata.Input)))).toMatchObject({
            _tag: "Internal"
          })
        }
      }
      expect(seen.calls).toBe(2 * inputs.length)
      const endless: Iterable<Metadata.Entry> = {
        *[Symbol.iterator]() {
          for (;;) {
            yield ["x-v", "a"]
          }
        }
      }
      for (const input of [endless, { "x-v": "x".repeat(30_000_000) }]) {
        for (const call of both) {
          for (const attempt of [
            call(undefined, input),
            call((call) => call.setHeaders(input)),
            call((call) => call.setTrailers(input))
          ]) {
            expect(yield* Effect.flip(attempt)).toMatchObject({ _tag: "ResourceExhausted" })
          }
        }
      }
      yield* unary()
    })

    test("is not got around by changing metadata later", function* () {
      const { both, seen, unary } = yield* observedEcho()
      const bytes = Uint8Array.of(1, 2, 3)
      const input: Array<Metadata.Entry> = [
        ["x-v", "a"],
        ["x-v-bin", bytes]
      ]
      const metadata = Metadata.make(input)
      input.push(["te", "trailers"])
      bytes.fill(9)
      structuredClone(bytes.buffer, { transfer: [bytes.buffer] })
      expect(() => (metadata.entries as Array<Metadata.Entry>).push(["te", "trailers"])).toThrow(TypeError)
      for (const call of both) {
        yield* call((call) => call.setTrailers(metadata), metadata)
        for (const { entries } of [seen.request, seen.trailers]) {
          expect([...entries].sort()).toEqual([
            ["x-v", "a"],
            ["x-v-bin", Uint8Array.of(1, 2, 3)]
          ])
        }
      }
      yield* unary()
    })

    test("lets a name have several values, whatever HTTP says of it, and all of them are there", function* () {
      const { both, seen, unary } = yield* observedEcho()
      const all = (metadata: Metadata.Metadata, name: string) =>
        Metadata.getAll(metadata, name).flatMap((value) => (typeof value === "string" ? value.split(/[,;]/) : []))
      for (const name of [...singleValued, ...others, "user-agent", "date", "accept-encoding"]) {
        const input = { [name]: ["one", "two", "three"] }
        for (const call of both) {
          yield* call((call) => Effect.zipRight(call.setHeaders(input), call.setTrailers(input)), input)
          const values = [seen.request, seen.headers, seen.trailers].map((metadata) =>
            all(metadata, name).map((value) => value.trim())
          )
          const [isOfStack, isOfServer] = [name === "user-agent" || name === "accept-encoding", name === "date"]
          const three = ["one", "two", "three"]
          // `date` is written by servers, the others by clients: what they write is no metadata.
          expect([name, ...values]).toEqual([
            name,
            ...[isOfStack ? [] : name === "date" ? expect.anything() : three],
            ...(isOfServer ? [[], []] : [three, three])
          ])
        }
      }
      yield* unary()
    })

    test("leaves in what is received nothing that may not be sent on, and nothing of the HTTP stack's own", function* () {
      const { both, seen, unary } = yield* observedEcho()
      for (const call of both) {
        yield* call()
        for (const { entries } of [seen.request, seen.headers, seen.trailers]) {
          expect(entries).toEqual([])
        }
        yield* call(
          (call) =>
            Effect.zipRight(call.setHeaders({ "x-v": "1" }), call.setTrailers({ "grpc-retry-pushback-ms": "5" })),
          { "x-v": "2", authorization: "Bearer x" }
        )
        expect(keysOf(seen.request.entries)).toBe("authorization x-v")
        expect(keysOf(seen.headers.entries)).toBe("x-v")
        expect(seen.trailers.entries).toEqual([["grpc-retry-pushback-ms", "5"]])
      }
      yield* unary()
    })

    test("has trace headers replaced, not added to, when a handler passes its metadata on", function* () {
      const last = yield* observedEcho()
      const spans = yield* captureSpans
      const client = yield* Transport.client(EchoService, last.listener.target)
      const relay = yield* observedEcho()
      const forward = (call: Transport.Call) =>
        Effect.asVoid(client.echo({}, { metadata: call.metadata })).pipe(
          Effect.withSpan("relay", { root: true }),
          Effect.provide(spans.layer)
        )
      const old = { traceparent: `00-${"a".repeat(32)}-${"b".repeat(16)}-01`, tracestate: "vendor=1", "x-v": "1" }
      for (const call of relay.both) {
        yield* call(forward, old)
        const [traceparent, ...more] = Metadata.getAll(last.seen.request, "traceparent")
        expect(more).toEqual([])
        expect(traceparent).not.toContain("a".repeat(32))
        expect(Metadata.getAll(last.seen.request, "tracestate")).toEqual([])
        expect(Metadata.getAll(last.seen.request, "x-v")).toEqual(["1"])
        // In the same trace.
        yield* call((call) => Effect.asVoid(client.echo({}, { metadata: call.metadata })), old)
        const own = Metadata.getAll(last.seen.request, "traceparent")
        expect(own).toEqual([expect.stringMatching(/^00-a{32}-/)])
        expect(own).not.toEqual([old.traceparent])
        expect(Metadata.getAll(last.seen.request, "tracestate")).toEqual(["vendor=1"])
      }
      yield* relay.unary()
      yield* last.unary()
    })
  })
}
