/** `buf curl`, which has Go's HTTP/2 and quic-go inside, calls what our transports serve. */
import { join } from "node:path"
import { fileURLToPath } from "node:url"
import { describe, expect, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import { Metadata, Transport, TransportError } from "effect-transport"
import { describeWith, run } from "../fixtures/command.js"
import { echoHandlers } from "../fixtures/grpc.js"
import { grpcEngines } from "../fixtures/grpcEngines.js"
import { identities, listener, writeCertificates } from "../Quic/peerSupport.js"
import type { EchoService } from "../suite/fixtures/echo.js"
import { leavesNothing, within } from "../suite/fixtures/expect.js"
import { directory } from "../suite/fixtures/system.js"

const buf = fileURLToPath(new URL("../../node_modules/.bin/buf", import.meta.url))
const proto = fileURLToPath(new URL("../../proto", import.meta.url))

const test = (title: string, body: Effect.Effect<void, unknown, Scope.Scope>) =>
  it.live(title, () => leavesNothing(within(body, "30 seconds")))

/** The last status and the metadata around it, as `buf curl -v` prints what comes. */
const fieldOf = (text: string, name: string) =>
  [...text.matchAll(/^buf: < \(#\d+\) ([^:]+): (.*)$/gm)]
    .filter(([, key = ""]) => key.toLowerCase() === name)
    .map(([, , value]) => value)

type Implementation = Partial<Transport.Implementation<typeof EchoService>>

/** A wire as `buf curl` names it, and a listener on it. */
interface Wire {
  readonly name: string
  readonly protocol: string
  readonly flags: ReadonlyArray<string>
  /** How it is told that it should have shown a certificate: by TLS, or by HTTP/2 once Node is done with TLS. */
  readonly refusal: RegExp
  readonly listen: (implementation: Implementation) => Effect.Effect<number, unknown, Scope.Scope>
}

const wires: ReadonlyArray<Wire> = [
  {
    name: "QuicLive",
    protocol: "HTTP/3.0",
    flags: ["--http3"],
    refusal: /certificate required/,
    listen: (implementation) => Effect.map(listener({}, implementation), ({ port }) => port)
  },
  ...grpcEngines.map(
    ({ name, on }): Wire => ({
      name,
      protocol: "HTTP/2.0",
      flags: [],
      refusal: /GOAWAY.*INADEQUATE_SECURITY/,
      listen: (implementation) =>
        Effect.map(
          on(identities.good)(Transport.listen([echoHandlers(implementation)], { host: "localhost" })),
          ({ address }) => address.port
        )
    })
  )
]

const callingOn =
  ({ flags, listen }: Wire) =>
  (implementation: Implementation = {}, shown: ReadonlyArray<string> = ["--cert", "cert.pem", "--key", "key.pem"]) =>
    Effect.gen(function* () {
      const port = yield* listen(implementation)
      const dir = yield* Effect.tap(directory, writeCertificates)
      return (method: string, requests: ReadonlyArray<object>, ...options: ReadonlyArray<string>) =>
        Effect.map(
          run(
            buf,
            [
              ...["curl", "-v", ...flags, "--protocol", "grpc", "--schema", proto, "--cacert", "ca.pem", ...shown],
              ...["--data", requests.map((request) => JSON.stringify(request)).join("\n"), ...options],
              `https://localhost:${port}/echo.v1.EchoService/${method}`
            ],
            dir,
            // It would keep what it compiles in the home directory.
            { XDG_CACHE_HOME: join(dir, "cache") }
          ),
          ({ code, stdout, text }) => ({
            code,
            text,
            messages: [...stdout.matchAll(/^\{\n(?:.|\n)*?^\}/gm)].map(([json]): unknown => JSON.parse(json))
          })
        )
    })

describeWith([buf], "buf curl", () => {
  describe.each(wires)("$name", (wire) => {
    const calling = callingOn(wire)

    test(
      "calls all four shapes",
      Effect.gen(function* () {
        const call = yield* calling()
        const unary = yield* call("Echo", [{ message: "hello", payload: "AAECAw==" }])
        expect(unary.messages).toEqual([{ message: "hello", payload: "AAECAw==" }])
        expect(unary.text).toContain(`${wire.protocol} 200 OK`)
        expect(fieldOf(unary.text, "grpc-status")).toEqual(["0"])

        const server = yield* call("EchoServerStream", [{ message: "a", repeat: 3 }])
        expect(server.messages).toEqual([{ message: "a" }, { message: "a", index: 1 }, { message: "a", index: 2 }])
        expect(fieldOf(server.text, "grpc-status")).toEqual(["0"])

        const client = yield* call("EchoClientStream", [{ message: "a" }, { message: "b" }, { message: "c" }])
        expect(client.messages).toEqual([{ message: "abc", index: 3 }])
        expect(fieldOf(client.text, "grpc-status")).toEqual(["0"])

        const both = yield* call("EchoBidi", [{ message: "a" }, { message: "b", repeat: 2 }])
        expect(both.messages).toEqual([{ message: "a" }, { message: "b" }, { message: "b", index: 1 }])
        expect(fieldOf(both.text, "grpc-status")).toEqual(["0"])
      })
    )

    test(
      "sends large messages, and many of them",
      Effect.gen(function* () {
        const call = yield* calling()
        const payload = Buffer.alloc(90_000, "large ").toString("base64")
        const { messages } = yield* call("Echo", [{ payload }])
        expect(messages).toEqual([{ payload }])
        const many = yield* call("EchoServerStream", [{ message: "x", repeat: 1000 }])
        expect(many.messages).toHaveLength(1000)
      })
    )

    test(
      "reads status, headers and trailers, and its metadata is read",
      Effect.gen(function* () {
        const seen: Array<Metadata.Metadata> = []
        const call = yield* calling({
          echo: (_, call) =>
            Effect.gen(function* () {
              seen.push(call.metadata)
              yield* call.setHeaders({ "x-head": "1" })
              yield* call.setTrailers({ "x-tail": ["2", "3"], "x-tail-bin": Uint8Array.of(0, 255) })
              return { message: "done" }
            }),
          echoServerStream: (_, call) =>
            Stream.concat(
              Stream.fromEffect(Effect.as(call.setTrailers({ "x-tail": "last" }), { message: "one" })),
              Stream.fail(new TransportError.ResourceExhausted({ message: "no more: naïve 100%" }))
            )
        })
        const { text } = yield* call("Echo", [{}], "-H", "x-text: text", "-H", "x-bytes-bin: AP8=")
        expect(fieldOf(text, "x-head")).toEqual(["1"])
        expect(fieldOf(text, "x-tail").join(",").replaceAll(" ", "")).toBe("2,3")
        expect(fieldOf(text, "x-tail-bin").map((value) => value?.replace("=", ""))).toEqual(["AP8"])
        const [metadata = Metadata.empty] = seen
        expect(Metadata.getAll(metadata, "x-text")).toEqual(["text"])
        expect(Metadata.getAll(metadata, "x-bytes-bin")).toEqual([Uint8Array.of(0, 255)])

        const broken = yield* call("EchoServerStream", [{}])
        expect(broken.messages).toEqual([{ message: "one" }])
        expect(fieldOf(broken.text, "grpc-status")).toEqual(["8"])
        expect(fieldOf(broken.text, "x-tail")).toEqual(["last"])
        // The exit code is the status, shifted by three bits.
        expect(broken.code).toBe(8 << 3)
        expect(broken.text).toContain("no more: naïve 100%")
      })
    )

    test(
      "gets every status",
      Effect.gen(function* () {
        const codes = Object.entries(TransportError.statusErrors)
        const call = yield* calling({
          echo: ({ message }) =>
            Effect.suspend(() => {
              const Failure = TransportError.statusErrors[Number(message) as keyof typeof TransportError.statusErrors]
              return Effect.fail(new Failure({ message: "as asked" }))
            })
        })
        for (const [code] of codes) {
          const { text } = yield* call("Echo", [{ message: code }])
          expect(fieldOf(text, "grpc-status")).toEqual([code])
        }
      })
    )

    test(
      "that shows no certificate is refused",
      Effect.gen(function* () {
        const call = yield* calling({}, [])
        const { code, text } = yield* call("Echo", [{}])
        expect(code).not.toBe(0)
        expect(text).toMatch(wire.refusal)
      })
    )
  })
})
