/** Tools of HTTP/2 that know nothing of gRPC, with our listeners and clients: curl and nghttp2's, from Debian. */
import { readFile, writeFile } from "node:fs/promises"
import { join } from "node:path"
import { create, fromBinary, toBinary } from "@bufbuild/protobuf"
import { expect, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import { Transport } from "effect-transport"
import { EchoRequestSchema, EchoResponseSchema } from "../../examples/gen/echo/v1/echo_pb.js"
import { describeWith, freePort, run, start } from "../fixtures/command.js"
import { describeEngines } from "../fixtures/describeEngines.js"
import { echoHandlers, insecure } from "../fixtures/grpc.js"
import type { GrpcEngine, Options, Source } from "../fixtures/grpcEngines.js"
import { message } from "../fixtures/http2.js"
import { identities, writeCertificates } from "../Quic/peerSupport.js"
import { EchoService } from "../suite/fixtures/echo.js"
import { leavesNothing, within } from "../suite/fixtures/expect.js"
import { directory } from "../suite/fixtures/system.js"

const test = (title: string, body: Effect.Effect<void, unknown, Scope.Scope>) =>
  it.live(title, () => leavesNothing(within(body, "30 seconds")))

const request = message(toBinary(EchoRequestSchema, create(EchoRequestSchema, { message: "hello" })))
const grpcHeaders = ["-H", "content-type: application/grpc", "-H", "te: trailers"]
const certificates = ["--cert", "cert.pem", "--key", "key.pem"]
const path = "/echo.v1.EchoService/Echo"

/** A listener, and a folder in which a client finds its certificates and the bytes of a request. */
const listening = ({ on }: GrpcEngine, material: Source = identities.good, options: Options = {}) =>
  Effect.gen(function* () {
    let calls = 0
    const { address } = yield* on(
      material,
      options
    )(
      Transport.listen(
        [
          echoHandlers({
            echo: (request) =>
              Effect.sync(() => {
                calls += 1
                return { message: request.message }
              })
          })
        ],
        { host: "localhost" }
      )
    )
    const dir = yield* Effect.tap(directory, writeCertificates)
    yield* Effect.promise(() => writeFile(join(dir, "request"), request))
    return { dir, port: address.port, calls: () => calls }
  })

describeEngines((engine) => {
  describeWith(["curl"], "curl", () => {
    test(
      "makes a call, and reads its answer and its status",
      Effect.gen(function* () {
        const { dir, port } = yield* listening(engine)
        const said = yield* run(
          "curl",
          [
            ...["--silent", "--show-error", "--http2", "--cacert", "ca.pem", ...certificates, ...grpcHeaders],
            ...["--data-binary", "@request", "--dump-header", "-", "--output", "response"],
            `https://localhost:${port}${path}`
          ],
          dir
        )
        expect(said).toMatchObject({ code: 0 })
        expect(said.stdout).toMatch(/^HTTP\/2 200/)
        expect(said.stdout).toMatch(/^content-type: application\/grpc/m)
        expect(said.stdout).toMatch(/^grpc-status: 0/m)
        const response = yield* Effect.promise(() => readFile(join(dir, "response")))
        expect(fromBinary(EchoResponseSchema, response.subarray(5)).message).toBe("hello")
      })
    )

    test(
      "is told what is no call",
      Effect.gen(function* () {
        const { dir, port } = yield* listening(engine)
        const get = (...args: ReadonlyArray<string>) =>
          run(
            "curl",
            [
              ...["--silent", "--http2", "--cacert", "ca.pem", ...certificates, ...args, "--dump-header", "-"],
              ...["--output", "/dev/null", `https://localhost:${port}${path}`]
            ],
            dir
          )
        expect((yield* get()).stdout).toMatch(/^HTTP\/2 415/)
        expect((yield* get("--data", "x=y")).stdout).toMatch(/^HTTP\/2 415/)
      })
    )
  })

  describeWith(["nghttp"], "nghttp", () => {
    for (const [wire, material, scheme, shown] of [
      ["mutual TLS", identities.good, "https", [...certificates, "--no-verify-peer"]],
      ["insecure", insecure, "http", []]
    ] as const) {
      test(
        `makes calls over ${wire}, with padding, with continuation frames, many times`,
        Effect.gen(function* () {
          const { calls, dir, port } = yield* listening(engine, material, { maxMetadataSize: 40 * 1024 })
          const call = (...args: ReadonlyArray<string>) =>
            run(
              "nghttp",
              [
                ...["--verbose", "--null-out", ...shown, ...grpcHeaders, ...args],
                ...["--data", "request", `${scheme}://localhost:${port}${path}`]
              ],
              dir
            )
          for (const args of [
            [],
            ["--padding", "100"],
            // Six fields of 4 KB.
            ["--continuation"],
            ["--window-bits", "10", "--connection-window-bits", "10"],
            ["--header-table-size", "0"],
            ["--max-concurrent-streams", "1"]
          ]) {
            const { code, text } = yield* call(...args)
            expect([args, code]).toEqual([args, 0])
            expect(text).toMatch(/:status: 200/)
            expect(text).toMatch(/grpc-status: 0/)
            expect(text).not.toMatch(/error_code=(?!NO_ERROR)/)
          }
          expect(calls()).toBe(6)
          const many = yield* call("--multiply", "50")
          expect(many.text.match(/grpc-status: 0/g)).toHaveLength(50)
        })
      )
    }
  })

  describeWith(["h2load"], "h2load", () => {
    // It knows no client certificates.
    test(
      "makes 20,000 calls on 10 connections, all of which are answered",
      Effect.gen(function* () {
        const { calls, dir, port } = yield* listening(engine, insecure)
        const { code, stdout } = yield* run(
          "h2load",
          [
            ...["--requests", "20000", "--clients", "10", "--max-concurrent-streams", "50", ...grpcHeaders],
            ...["--data", "request", `http://localhost:${port}${path}`]
          ],
          dir
        )
        expect(code).toBe(0)
        expect(stdout).toContain("20000 succeeded, 0 failed, 0 errored, 0 timeout")
        expect(stdout).toContain("status codes: 20000 2xx, 0 3xx, 0 4xx, 0 5xx")
        expect(calls()).toBe(20_000)
      })
    )
  })

  describeWith(["nghttpd"], "nghttpd, a server of files", () => {
    test(
      "is no server of gRPC, and says so to each call on one connection",
      Effect.gen(function* () {
        const dir = yield* Effect.tap(directory, writeCertificates)
        const port = String(yield* freePort)
        const { said } = yield* start(
          "nghttpd",
          ["--verbose", "--verify-client", "--address", "127.0.0.1", "--htdocs", ".", port, "key.pem", "cert.pem"],
          dir,
          { SSL_CERT_FILE: join(dir, "ca.pem") }
        )
        yield* said(/listen/)
        const client = yield* engine.on(identities.good)(Transport.client(EchoService, `localhost:${port}`))
        for (let i = 0; i < 5; i++) {
          expect(yield* Effect.flip(client.echo({ message: "hello" }))).toMatchObject({ _tag: "Unimplemented" })
        }
      })
    )
  })
})
