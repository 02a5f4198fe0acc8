import { describe, expect } from "@effect/vitest"
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import type { YieldWrap } from "effect/Utils"
import { type CallError, Metadata, NotFound, Transport, type TransportOptions } from "effect-transport"
import { EchoService, echo, serveEcho } from "./fixtures/echo.js"
import { captureLog, captureSpans } from "./fixtures/observe.js"

type Test = (
  title: string,
  body: () => Generator<YieldWrap<Effect.Effect<unknown, unknown, Transport.Transport | Scope.Scope>>, void, never>,
  mode?: boolean | "fails"
) => void

interface Suite {
  readonly test: Test
  readonly withOptions: (
    options: TransportOptions.TransportOptions
  ) => <A, E, R>(
    effect: Effect.Effect<A, E, R | Transport.Transport>
  ) => Effect.Effect<A, unknown, Exclude<R, Transport.Transport> | Scope.Scope>
  /** Whether responses of more than 128 fields arrive. */
  readonly manyResponseFields: boolean
}

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

/** Metadata of exactly so many bytes, as RFC 9113 counts. */
const sized = (size: number) => Metadata.make({ "x-v": "x".repeat(size - 35) })

const pairsOf = (entries: ReadonlyArray<readonly [string, Metadata.Value]>) =>
  [...entries.map(([name]) => name)].sort().join(" ")

/** What the rule of `Metadata` means on a wire. After each case another call works on the same connection. */
export const metadataSuite = ({ manyResponseFields, test, withOptions }: Suite): void => {
  /** A listener whose handlers do what the test says, and a client of it, whose calls return what came with the answer. */
  const serve = (options: { readonly metadata?: Metadata.Input } = {}) =>
    Effect.gen(function* () {
      const log = yield* captureLog
      const seen = { request: Metadata.empty, headers: Metadata.empty, trailers: Metadata.empty, calls: 0 }
      let act: (call: Transport.Call) => Effect.Effect<void, CallError> = () => Effect.void
      const handle = (call: Transport.Call) =>
        Effect.suspend(() => {
          seen.calls += 1
          seen.request = call.metadata
          return act(call)
        })
      const { client, listener } = yield* serveEcho(
        Transport.handlers(EchoService, {
          ...echo,
          echo: (request, call) => Effect.as(handle(call), { message: request.message }),
          echoServerStream: (_, call) => Stream.as(Stream.fromEffect(handle(call)), { message: "streamed" })
        }),
        { client: options }
      ).pipe(Effect.provide(log.layer))
      const observed = (metadata: Metadata.Input | undefined): Transport.CallOptions => {
        seen.headers = Metadata.empty
        seen.trailers = Metadata.empty
        return {
          metadata,
          onHeaders: (headers) => {
            seen.headers = headers
          },
          onTrailers: (trailers) => {
            seen.trailers = trailers
          }
        }
      }
      const unary = (
        handler: (call: Transport.Call) => Effect.Effect<void, CallError> = () => Effect.void,
        metadata?: Metadata.Input
      ) =>
        Effect.suspend(() => {
          act = handler
          return Effect.asVoid(client.echo({ message: "unary" }, observed(metadata)))
        })
      const stream = (
        handler: (call: Transport.Call) => Effect.Effect<void, CallError> = () => Effect.void,
        metadata?: Metadata.Input
      ) =>
        Effect.suspend(() => {
          act = handler
          return Stream.runDrain(client.echoServerStream({}, observed(metadata)))
        })
      return { listener, log, seen, unary, stream, both: [unary, stream] as const }
    })

  describe("metadata's rule", () => {
    test("forbids what belongs to HTTP, gRPC or one hop in requests, before anything is sent", function* () {
      const { both, seen, unary } = yield* serve()
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
      const { listener, unary } = yield* serve()
      for (const name of forbidden) {
        const other = yield* Transport.client(EchoService, listener.target, { metadata: [[name, sampleOf(name)]] })
        expect(yield* Effect.flip(other.echo({}))).toMatchObject({ _tag: "InvalidArgument" })
      }
      yield* unary()
    })

    test("makes the call of a handler that breaks it Internal, with a line in the log, and no other call", function* () {
      const { log, stream, unary } = yield* serve()
      for (const [i, name] of forbidden.entries()) {
        const input: Metadata.Input = [[name, sampleOf(name)]]
        for (const act of [
          (call: Transport.Call) => call.setHeaders(input),
          (call: Transport.Call) => call.setTrailers(input),
          () => new NotFound({ message: "no", metadata: Metadata.unsafeFromEntries([[name, sampleOf(name)]]) })
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
      const { both, seen, unary } = yield* serve()
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
      const { both, seen, unary } = yield* serve()
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
      const { both, seen, unary } = yield* serve()
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
        Metadata.unsafeFromEntries([["grpc-status", "0"]]),
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
      const { both, seen, unary } = yield* serve()
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
      const { both, seen, unary } = yield* serve()
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
      const { both, seen, unary } = yield* serve()
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
        expect(pairsOf(seen.request.entries)).toBe("authorization x-v")
        expect(pairsOf(seen.headers.entries)).toBe("x-v")
        expect(seen.trailers.entries).toEqual([["grpc-retry-pushback-ms", "5"]])
      }
      yield* unary()
    })

    test("has trace headers replaced, not added to, when a handler passes its metadata on", function* () {
      const last = yield* serve()
      const spans = yield* captureSpans
      const client = yield* Transport.client(EchoService, last.listener.target)
      const relay = yield* serve()
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
        expect(traceparent).not.toContain("aaaa")
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
      const { both, seen, unary } = yield* serve()
      for (const call of both) {
        yield* call(undefined, many)
        expect(pairsOf(seen.request.entries)).toBe(pairsOf(many))
      }
      yield* unary()
    })

    test(
      manyResponseFields
        ? "lets responses have 400 small entries"
        : "lets responses have 400 small entries (expected to fail: http2.connect of grpc-js takes 128 fields)",
      function* () {
        const { both, seen, unary } = yield* serve()
        for (const call of both) {
          yield* call((call) => call.setHeaders(many))
          expect(pairsOf(seen.headers.entries)).toBe(pairsOf(many))
          yield* call((call) => call.setTrailers(many))
          expect(pairsOf(seen.trailers.entries)).toBe(pairsOf(many))
        }
        yield* unary()
      },
      manyResponseFields ? true : "fails"
    )

    test("with more fields than an engine takes ends its own call only", function* () {
      const { both, unary } = yield* serve()
      for (const call of both) {
        for (const set of ["setHeaders", "setTrailers"] as const) {
          const exit = yield* Effect.either(call((call) => call[set](many)))
          expect(exit._tag === "Right" ? "Right" : exit.left._tag).toBe(
            manyResponseFields ? "Right" : "ResourceExhausted"
          )
          yield* unary()
        }
      }
    })
  })
}
