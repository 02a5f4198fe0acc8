/** `buf curl`, which has quic-go inside, calls what QuicLive serves: gRPC over HTTP/3 from another hand. */
import { join } from "node:path"
import { fileURLToPath } from "node:url"
import { expect, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import { Metadata, type Transport, TransportError } from "effect-transport"
import { describeWith, run } from "../fixtures/command.js"
import { listener, writeCertificates } from "../Quic/peerSupport.js"
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

const calling = (
  implementation: Partial<Transport.Implementation<typeof EchoService>> = {},
  shown: ReadonlyArray<string> = ["--cert", "cert.pem", "--key", "key.pem"]
) =>
  Effect.gen(function* () {
    const { port } = yield* listener({}, implementation)
    const dir = yield* Effect.tap(directory, writeCertificates)
    return (method: string, requests: ReadonlyArray<object>, ...options: ReadonlyArray<string>) =>
      Effect.map(
        run(
          buf,
          [
            ...["curl", "-v", "--http3", "--protocol", "grpc", "--schema", proto, "--cacert", "ca.pem", ...shown],
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

describeWith([buf], "buf curl over HTTP/3", () => {
  test(
    "calls all four shapes",
    Effect.gen(function* () {
      const call = yield* calling()
      const unary = yield* call("Echo", [{ message: "hello", payload: "AAECAw==" }])
      expect(unary.messages).toEqual([{ message: "hello", payload: "AAECAw==" }])
      expect(unary.text).toContain("HTTP/3.0 200 OK")
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
      expect(fieldOf(text, "x-tail-bin")).toEqual(["AP8"])
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
      expect(text).toMatch(/certificate required/)
    })
  )
})
