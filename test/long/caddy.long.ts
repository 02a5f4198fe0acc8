/** QuicLive as the client of Caddy, which has quic-go inside. */
import { mkdir, writeFile } from "node:fs/promises"
import { join } from "node:path"
import * as HttpBody from "@effect/platform/HttpBody"
import { expect, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import { Http3 } from "effect-transport"
import { describeWith, freePort, start } from "../fixtures/command.js"
import { largeSize, numbered, quic, writeCertificates } from "../Quic/peerSupport.js"
import { leavesNothing, within } from "../suite/fixtures/expect.js"
import { directory } from "../suite/fixtures/system.js"

const test = (title: string, body: Effect.Effect<void, unknown, Scope.Scope>) =>
  it.live(title, () => leavesNothing(within(body, "30 seconds")))

const clientAuth = `
    client_auth {
      mode require_and_verify
      trusted_ca_cert_file ca.pem
    }`

/** The server name is lost on the way to Caddy 2.6's check of it. */
const caddyfile = (port: number, tls: string) => `{
  admin off
  auto_https off
  servers {
    strict_sni_host insecure_off
  }
}
:${port} {
  bind 127.0.0.1
  tls cert.pem key.pem {${tls}
  }
  respond /hello "hello over {http.request.proto}"
  handle /pages/* {
    root * .
    file_server
  }
}
`

const caddy = (tls = "") =>
  Effect.gen(function* () {
    const dir = yield* Effect.tap(directory, writeCertificates)
    const port = yield* freePort
    yield* Effect.promise(() => writeFile(join(dir, "Caddyfile"), caddyfile(port, tls)))
    const { said } = yield* start("caddy", ["run", "--config", "Caddyfile", "--adapter", "caddyfile"], dir, {
      HOME: dir,
      XDG_DATA_HOME: dir,
      XDG_CONFIG_HOME: dir
    })
    yield* said(/serving initial configuration/)
    return { dir, target: `localhost:${port}` }
  })

describeWith(["caddy"], "Caddy as the server", () => {
  test(
    "gives pages, small and large, many at a time",
    Effect.gen(function* () {
      const { dir, target } = yield* caddy()
      yield* Effect.promise(async () => {
        await mkdir(join(dir, "pages"))
        await writeFile(join(dir, "pages", "large"), numbered(largeSize))
      })
      const { run } = yield* quic()
      const http = yield* run(Http3.client(target))
      const hello = yield* http.get("/hello")
      expect([hello.status, yield* hello.text]).toEqual([200, "hello over HTTP/3.0"])
      const large = yield* http.get("/pages/large")
      expect(Buffer.from(yield* large.arrayBuffer).equals(numbered(largeSize))).toBe(true)
      expect(large.headers["content-length"]).toBe(String(largeSize))
      expect((yield* http.get("/pages/none")).status).toBe(404)
      const posted = yield* http.post("/hello", { body: HttpBody.uint8Array(numbered(largeSize)) })
      expect(posted.status).toBe(200)
      const many = yield* Effect.forEach(
        Array.from({ length: 300 }),
        () => Effect.flatMap(http.get("/hello"), ({ text }) => text),
        { concurrency: "unbounded" }
      )
      expect(new Set(many)).toEqual(new Set(["hello over HTTP/3.0"]))
    })
  )

  test(
    "with client certificates lets in who has one of its CA, and who has not hears why it is refused",
    Effect.gen(function* () {
      const { target } = yield* caddy(clientAuth)
      const get = (identity: "good" | "none" | "untrusted") =>
        Effect.flatMap(quic(identity), ({ run }) =>
          run(Effect.flatMap(Http3.get(target, "/hello"), ({ text }) => text))
        )
      expect(yield* get("good")).toBe("hello over HTTP/3.0")
      // Caddy has said its settings before it looks at the certificate, and sends one alert for all that it refuses.
      for (const identity of ["none", "untrusted"] as const) {
        expect(yield* Effect.flip(get(identity))).toMatchObject({
          _tag: "HandshakeFailed",
          reason: "BadCertificate",
          refusedBy: "remote"
        })
      }
    })
  )
})
