/** QuicLive and ngtcp2, each as the client of the other. */
import { readFile, writeFile } from "node:fs/promises"
import { join } from "node:path"
import * as HttpBody from "@effect/platform/HttpBody"
import { expect, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import { Http3, Transport } from "effect-transport"
import { describeWith, freePort, run, start, udpBound } from "../fixtures/command.js"
import { largeSize, listener, numbered, quic, writeCertificates } from "../Quic/peerSupport.js"
import { EchoService } from "../suite/fixtures/echo.js"
import { eventually, leavesNothing, within } from "../suite/fixtures/expect.js"
import { directory } from "../suite/fixtures/system.js"

const test = (title: string, body: Effect.Effect<void, unknown, Scope.Scope>) =>
  it.live(title, () => leavesNothing(within(body, "30 seconds")))

const withCertificates = Effect.tap(directory, writeCertificates)

const shown = ["--cert=cert.pem", "--key=key.pem"]

describeWith(["gtlsclient"], "gtlsclient as the client", () => {
  /** Asks for paths, and gives what it printed. */
  const client = (dir: string, port: number, paths: ReadonlyArray<string>, ...options: ReadonlyArray<string>) =>
    Effect.map(
      run(
        "gtlsclient",
        [
          ...["--no-quic-dump", "--exit-on-all-streams-close", "--timeout=10s", ...options, "localhost", String(port)],
          ...paths.map((path) => `https://localhost:${port}${path}`)
        ],
        dir
      ),
      ({ text }) => text
    )

  const statuses = (text: string) => [...text.matchAll(/\[:status: (\d+)\]/g)].map(([, status]) => Number(status))

  test(
    "with a certificate gets pages, small and large, many at a time",
    Effect.gen(function* () {
      const { port } = yield* listener()
      const dir = yield* withCertificates
      const text = yield* client(dir, port, ["/", "/large", "/none"], ...shown, "--download=.", "--no-http-dump")
      expect(statuses(text).sort()).toEqual([200, 200, 404])
      expect(String(yield* Effect.promise(() => readFile(join(dir, "index.html"))))).toContain("hello over HTTP/3")
      const large = yield* Effect.promise(() => readFile(join(dir, "large")))
      expect(large.equals(numbered(largeSize))).toBe(true)
      const many = yield* client(dir, port, ["/"], ...shown, "--nstreams=300", "--no-http-dump")
      expect(statuses(many)).toEqual(Array.from({ length: 300 }, () => 200))
    })
  )

  test(
    "sends content",
    Effect.gen(function* () {
      const { port } = yield* listener()
      const dir = yield* withCertificates
      yield* Effect.promise(() => writeFile(join(dir, "body"), numbered(largeSize)))
      const text = yield* client(dir, port, ["/size"], ...shown, "--http-method=POST", "--data=body", "--download=.")
      expect(statuses(text)).toEqual([200])
      expect(String(yield* Effect.promise(() => readFile(join(dir, "size"))))).toBe(`${largeSize} bytes`)
    })
  )

  it.live.each([
    ["no certificate", [], "CRYPTO_ERROR(0x174)", "a certificate is required"],
    [
      "the certificate of another CA",
      ["--cert=untrusted.pem", "--key=untrusted.key"],
      "CRYPTO_ERROR(0x130)",
      "does not lead to a trusted CA"
    ]
  ] as const)("with %s is refused, and told why", ([, options, code, reason]) =>
    leavesNothing(
      Effect.gen(function* () {
        const { lines, port } = yield* listener()
        const text = yield* client(yield* withCertificates, port, ["/"], ...options)
        expect(text).toContain(code)
        expect(statuses(text)).toEqual([])
        yield* eventually(Effect.sync(() => expect(lines.map(({ text }) => text).join()).toContain(reason)))
      })
    )
  )

  test(
    "needs no certificate where none is asked for",
    Effect.gen(function* () {
      const { port } = yield* listener({ clientCertificate: "none" })
      expect(statuses(yield* client(yield* withCertificates, port, ["/"]))).toEqual([200])
    })
  )

  test(
    "proves its address by a Retry, and comes back with another version where it asks for one that there is not",
    Effect.gen(function* () {
      const { port } = yield* listener()
      const dir = yield* withCertificates
      const text = yield* client(dir, port, ["/"], ...shown, "--version=0x1a2a3a4a", "--preferred-versions=v1")
      expect(text).toMatch(/type=VN/)
      expect(text).toMatch(/type=Retry/)
      expect(statuses(text)).toEqual([200])
    })
  )

  test(
    "changes its keys in the middle",
    Effect.gen(function* () {
      const { port } = yield* listener()
      const dir = yield* withCertificates
      const text = yield* client(dir, port, ["/"], ...shown, "--key-update=10ms", "--delay-stream=100ms")
      expect(text).toMatch(/k=1/)
      expect(statuses(text)).toEqual([200])
    })
  )

  test(
    "loses every tenth packet",
    Effect.gen(function* () {
      const { port } = yield* listener({ handshakeTimeout: "25 seconds" })
      const dir = yield* withCertificates
      const lossy = ["--tx-loss=0.1", "--rx-loss=0.1", "--handshake-timeout=25s", "--download=.", "--no-http-dump"]
      const text = yield* client(dir, port, ["/large"], ...shown, ...lossy)
      expect(statuses(text)).toEqual([200])
      expect((yield* Effect.promise(() => readFile(join(dir, "large")))).equals(numbered(largeSize))).toBe(true)
    })
  )
})

describeWith(["gtlsserver"], "gtlsserver as the server", () => {
  const server = (options: ReadonlyArray<string> = [], certificate = ["key.pem", "cert.pem"]) =>
    Effect.gen(function* () {
      const dir = yield* withCertificates
      const port = yield* freePort
      yield* Effect.promise(() => writeFile(join(dir, "page.txt"), "a page of ngtcp2"))
      yield* Effect.promise(() => writeFile(join(dir, "large"), numbered(largeSize)))
      const running = yield* start(
        "gtlsserver",
        ["--no-quic-dump", "--no-http-dump", "--htdocs=.", ...options, "127.0.0.1", String(port), ...certificate],
        dir
      )
      yield* running.said(/Using document root/)
      yield* udpBound(port)
      return { target: `localhost:${port}`, output: running.output }
    })

  test(
    "gives pages, small and large, and takes content",
    Effect.gen(function* () {
      const { target } = yield* server()
      const { run } = yield* quic()
      const http = yield* run(Http3.client(target))
      const page = yield* http.get("/page.txt")
      expect([page.status, page.headers["content-type"], yield* page.text]).toEqual([
        200,
        "text/plain",
        "a page of ngtcp2"
      ])
      const large = yield* Effect.flatMap(http.get("/large"), ({ arrayBuffer }) => arrayBuffer)
      expect(Buffer.from(large).equals(numbered(largeSize))).toBe(true)
      expect((yield* http.get("/none")).status).toBe(404)
      expect((yield* http.post("/page.txt", { body: HttpBody.uint8Array(numbered(largeSize)) })).status).toBe(200)
      const many = yield* Effect.forEach(
        Array.from({ length: 300 }),
        () => Effect.flatMap(http.get("/page.txt"), ({ text }) => text),
        { concurrency: "unbounded" }
      )
      expect(new Set(many)).toEqual(new Set(["a page of ngtcp2"]))
    })
  )

  test(
    "that asks for a certificate takes one, and refuses who has none",
    Effect.gen(function* () {
      const { target } = yield* server(["--verify-client"])
      const { run } = yield* quic()
      expect(yield* Effect.flatMap(run(Http3.get(target, "/page.txt")), ({ text }) => text)).toBe("a page of ngtcp2")
      const anonymous = yield* quic("none")
      expect(yield* Effect.flip(anonymous.run(Http3.get(target, "/page.txt")))).toMatchObject({
        _tag: "HandshakeFailed",
        reason: "CertificateRequired",
        refusedBy: "remote"
      })
    })
  )

  test(
    "proves the client's address by a Retry, loses packets, and says trailers",
    Effect.gen(function* () {
      const { output, target } = yield* server([
        ...["--validate-addr", "--tx-loss=0.1", "--rx-loss=0.1", "--handshake-timeout=25s", "--send-trailers"]
      ])
      const { run } = yield* quic("good", { connectTimeout: "25 seconds" })
      const large = yield* Effect.flatMap(run(Http3.get(target, "/large")), ({ arrayBuffer }) => arrayBuffer)
      expect(Buffer.from(large).equals(numbered(largeSize))).toBe(true)
      expect(output.text).toMatch(/Token was successfully validated/)
    })
  )

  test(
    "forgets silent connections early, and is asked before that",
    Effect.gen(function* () {
      const { output, target } = yield* server(["--timeout=600ms"])
      const { run } = yield* quic()
      const http = yield* run(Http3.client(target))
      yield* http.get("/page.txt")
      yield* Effect.sleep("2 seconds")
      yield* http.get("/page.txt")
      expect(output.text.match(/QUIC handshake has completed/g)).toHaveLength(1)
    })
  )

  test(
    "of another CA, or with another name, is refused",
    Effect.gen(function* () {
      const { run } = yield* quic()
      const strangers = yield* server([], ["untrusted.key", "untrusted.pem"])
      expect(yield* Effect.flip(run(Http3.get(strangers.target, "/")))).toMatchObject({
        _tag: "HandshakeFailed",
        reason: "UntrustedIssuer",
        refusedBy: "local"
      })
      const { target } = yield* server()
      const elsewhere = yield* quic("good", { serverName: "elsewhere.example" })
      expect(yield* Effect.flip(elsewhere.run(Http3.get(target, "/")))).toMatchObject({
        _tag: "HandshakeFailed",
        reason: "NameMismatch"
      })
    })
  )

  test(
    "knows nothing of calls",
    Effect.gen(function* () {
      const { target } = yield* server()
      const { run } = yield* quic()
      const client = yield* run(Transport.client(EchoService, target))
      expect(yield* Effect.flip(client.echo({ message: "hello" }))).toMatchObject({ _tag: "Unimplemented" })
    })
  )
})
