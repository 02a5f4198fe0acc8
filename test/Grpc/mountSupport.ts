/** What clients of plain HTTP/2 meet: a listener of GrpcLive with an app beside its calls, over mutual TLS and insecure. */
import type * as Http2 from "node:http2"
import type * as HttpApp from "@effect/platform/HttpApp"
import * as HttpRouter from "@effect/platform/HttpRouter"
import * as HttpServerRequest from "@effect/platform/HttpServerRequest"
import * as HttpServerResponse from "@effect/platform/HttpServerResponse"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Redacted from "effect/Redacted"
import * as Stream from "effect/Stream"
import { Credentials, DevCa, Grpc, Peer, Http2 as Plain, Transport } from "effect-transport"
import { echoHandlers, insecure } from "../fixtures/grpc.js"
import * as H2 from "../fixtures/http2.js"
import { rawMaterial } from "../suite/fixtures/certificates.js"
import { captureLog } from "../suite/fixtures/observe.js"

const names = ["localhost", "127.0.0.1"]

export const ca = await Effect.runPromise(DevCa.make())
const ours = await Effect.runPromise(ca.issue({ names }))
export const theirs = await Effect.runPromise(ca.issue({ names, commonName: "prober" }))

const side = {
  ca: ca.ca,
  cert: theirs.cert,
  key: Redacted.value(theirs.key),
  checkServerIdentity: () => undefined
}

export interface Wire {
  readonly name: string
  readonly material: Credentials.Material
  readonly scheme: "https" | "http"
  readonly client: Http2.SecureClientSessionOptions
}

export const mutualTls: Wire = { name: "mutual TLS", material: rawMaterial(ours, ca.ca), scheme: "https", client: side }

export const plaintext: Wire = { name: "insecure", material: insecure, scheme: "http", client: {} }

export const wires: ReadonlyArray<Wire> = [mutualTls, plaintext]

/** Node resets streams above 10 MB, in which it counts what was never sent of requests that were answered before. */
const unlimited = { maxSessionMemory: 1000 }

/** A node that answers HTTP beside its calls, what runs on the same transport, and what it logs. */
export const meet = (
  { client, material, scheme }: Wire,
  app: HttpApp.Default<unknown, Peer.CurrentPeer> | undefined,
  options?: Grpc.GrpcOptions,
  where?: Transport.ListenOptions
) =>
  Effect.gen(function* () {
    const { layer, lines } = yield* captureLog
    const context = yield* Layer.build(
      Grpc.layer(options).pipe(
        Layer.provide(Layer.succeed(Credentials.Credentials, Credentials.make(material))),
        Layer.provide(layer)
      )
    )
    const run = <A, E, R>(effect: Effect.Effect<A, E, R>) => Effect.provide(Effect.provide(effect, context), layer)
    if (app !== undefined) {
      yield* run(Plain.mount(app))
    }
    const { target } = yield* run(Transport.listen([echoHandlers()], where))
    const url = `${scheme}://${target}`
    return {
      lines,
      run,
      target,
      url,
      session: (own?: Http2.ClientSessionOptions) => H2.session(url, { ...client, ...unlimited, ...own })
    }
  })

/** A plain request; its answer, or how it was broken off. */
export const ask = (
  session: Http2.ClientHttp2Session,
  path: string,
  headers: Http2.OutgoingHttpHeaders = {},
  send?: (stream: Http2.ClientHttp2Stream) => void
) =>
  H2.request(
    session,
    {
      ":method": send === undefined ? "GET" : "POST",
      ":path": path,
      "content-type": undefined,
      te: undefined,
      ...headers
    },
    send,
    // Node ends the request of methods that mostly have none by itself.
    { endStream: false }
  )

export const numbered = (size: number) => Uint8Array.from({ length: size }, (_, i) => i * 31 + (i >> 8))

export const sum = (bytes: Iterable<number>) => {
  let total = 0
  for (const byte of bytes) {
    total = (total * 31 + byte) >>> 0
  }
  return total
}

/** How much `/large` returns. */
export const size = 3_000_000

/** Pages of every kind. */
export const app = HttpRouter.empty.pipe(
  HttpRouter.get("/metrics", HttpServerResponse.text("calls_total 1\n")),
  HttpRouter.get(
    "/search",
    Effect.map(HttpServerRequest.ParsedSearchParams, (params) => HttpServerResponse.unsafeJson(params))
  ),
  HttpRouter.post(
    "/sum",
    Effect.gen(function* () {
      const request = yield* HttpServerRequest.HttpServerRequest
      const bytes = new Uint8Array(yield* request.arrayBuffer)
      return yield* HttpServerResponse.json({
        length: bytes.length,
        sum: sum(bytes),
        type: request.headers["content-type"],
        url: request.url
      })
    })
  ),
  HttpRouter.get("/large", Effect.succeed(HttpServerResponse.uint8Array(numbered(size)))),
  HttpRouter.get(
    "/stream",
    Effect.succeed(
      HttpServerResponse.stream(Stream.map(Stream.range(1, 1000), (n) => new TextEncoder().encode(`${n}\n`)))
    )
  ),
  HttpRouter.get(
    "/who",
    Effect.map(Peer.CurrentPeer, ({ identity }) =>
      HttpServerResponse.text(Option.match(identity, { onNone: () => "nobody", onSome: ({ subject }) => subject }))
    )
  ),
  HttpRouter.get(
    "/cookies",
    Effect.map(HttpServerRequest.HttpServerRequest, ({ headers }) =>
      HttpServerResponse.text(headers.cookie ?? "").pipe(
        HttpServerResponse.unsafeSetCookie("c", "3"),
        HttpServerResponse.unsafeSetCookie("d", "4")
      )
    )
  ),
  HttpRouter.del("/nothing", HttpServerResponse.empty({ status: 204 })),
  HttpRouter.post("/unread", HttpServerResponse.text("done"))
)

/** The content of an answer. */
export const json = ({ body }: H2.Answer): unknown => JSON.parse(body.toString())
