/** What foreign peers of HTTP/3 meet: a listener with a page, and a client, whose certificates lie in files too. */
import { writeFile } from "node:fs/promises"
import { join } from "node:path"
import * as HttpRouter from "@effect/platform/HttpRouter"
import * as HttpServerRequest from "@effect/platform/HttpServerRequest"
import * as HttpServerResponse from "@effect/platform/HttpServerResponse"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Redacted from "effect/Redacted"
import { Credentials, DevCa, Http3, Quic, Transport } from "effect-transport"
import { rawMaterial } from "../suite/fixtures/certificates.js"
import { EchoService, echo } from "../suite/fixtures/echo.js"
import { captureLog } from "../suite/fixtures/observe.js"

export const names = ["localhost", "127.0.0.1"]

const ca = await Effect.runPromise(DevCa.make())
const other = await Effect.runPromise(DevCa.make())
export const issued = await Effect.runPromise(ca.issue({ names }))
const theirs = await Effect.runPromise(ca.issue({ names, commonName: "foreign" }))
const untrusted = await Effect.runPromise(other.issue({ names }))

/** What a side shows: a certificate of the CA that all trust, of another, or none. */
export const identities = {
  good: rawMaterial(issued, ca.ca),
  untrusted: rawMaterial(untrusted, ca.ca),
  none: rawMaterial(undefined, ca.ca)
}

/** Writes the peer's certificates to files. */
export const writeCertificates = (directory: string) =>
  Effect.promise(async () => {
    const files = [
      ["ca.pem", ca.ca],
      ["cert.pem", theirs.cert],
      ["key.pem", Redacted.value(theirs.key)],
      ["untrusted.pem", untrusted.cert],
      ["untrusted.key", Redacted.value(untrusted.key)]
    ] as const
    for (const [name, text] of files) {
      await writeFile(join(directory, name), text)
    }
  })

export const numbered = (size: number) => Uint8Array.from({ length: size }, (_, i) => i * 31 + (i >> 8))

export const largeSize = 3_000_000

const page = "<!doctype html><title>node</title><h1>hello over HTTP/3</h1>"

const app = HttpRouter.empty.pipe(
  HttpRouter.get("/", HttpServerResponse.html(page)),
  HttpRouter.get("/large", Effect.succeed(HttpServerResponse.uint8Array(numbered(largeSize)))),
  HttpRouter.post(
    "/size",
    Effect.gen(function* () {
      const { arrayBuffer } = yield* HttpServerRequest.HttpServerRequest
      return HttpServerResponse.text(`${(yield* arrayBuffer).byteLength} bytes`)
    })
  )
)

/** The services of QUIC with an identity, and what they log. */
export const quic = (identity: keyof typeof identities = "good", options?: Quic.QuicOptions) =>
  Effect.gen(function* () {
    const { layer, lines } = yield* captureLog
    const context = yield* Layer.build(
      Quic.layer({ initialReconnectBackoff: "20 millis", ...options }).pipe(
        Layer.provide(Layer.succeed(Credentials.Credentials, Credentials.make(identities[identity]))),
        Layer.provide(layer)
      )
    )
    const run = <A, E, R>(effect: Effect.Effect<A, E, R>) => Effect.provide(Effect.provide(effect, context), layer)
    return { run, lines }
  })

/** A listener of ours with pages and the echo service. */
export const listener = (
  options?: Quic.QuicOptions,
  implementation: Partial<Transport.Implementation<typeof EchoService>> = {}
) =>
  Effect.gen(function* () {
    const { lines, run } = yield* quic("good", options)
    yield* run(Http3.mount(app))
    const { address } = yield* run(
      Transport.listen([Transport.handlers(EchoService, { ...echo, ...implementation }) as Transport.Handlers<never>])
    )
    return { lines, port: address.port }
  })
