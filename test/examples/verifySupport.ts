import * as HttpClient from "@effect/platform/HttpClient"
import * as HttpClientRequest from "@effect/platform/HttpClientRequest"
import * as HttpServer from "@effect/platform/HttpServer"
import * as NodeHttpClient from "@effect/platform-node/NodeHttpClient"
import { expect } from "@effect/vitest"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Logger from "effect/Logger"
import * as Metric from "effect/Metric"
import { TransportMetrics } from "effect-transport"
import * as App from "../../examples/verify/App.js"
import { type Choice, transports } from "../../examples/verify/transports.js"

export const names = transports.map(({ name }) => name)

export const only = (...chosen: ReadonlyArray<string>) => transports.filter(({ name }) => chosen.includes(name))

/** What an answer that is not a success says, and how. */
export const failure = (status: number, _tag: string) => ({ status, json: expect.objectContaining({ _tag }) })

export const callsInFlight = Effect.map(Metric.value(TransportMetrics.callsInFlight), ({ value }) => value)

export interface Answer {
  readonly status: number
  readonly headers: Readonly<Record<string, string | undefined>>
  readonly text: string
  // biome-ignore lint/suspicious/noExplicitAny: what a server answers is what the assertions are about
  readonly json: any
}

/** The app as `npm run verify` launches it, for as long as the scope is open, and a client of it. */
export const launch = (choices?: ReadonlyArray<Choice>, logger: Logger.Logger<unknown, void> = Logger.none) =>
  Effect.gen(function* () {
    const context = yield* Layer.build(Layer.mergeAll(App.layer({ port: 0, choices }), NodeHttpClient.layer))
    const client = Context.get(context, HttpClient.HttpClient)
    const url = yield* Effect.provide(HttpServer.addressFormattedWith(Effect.succeed), context)

    const send = (request: HttpClientRequest.HttpClientRequest): Effect.Effect<Answer> =>
      Effect.gen(function* () {
        const response = yield* client.execute(HttpClientRequest.prependUrl(request, url))
        const text = yield* response.text
        const isJson = /[/+]json/.test(response.headers["content-type"] ?? "")
        return { status: response.status, headers: response.headers, text, json: isJson ? JSON.parse(text) : undefined }
      }).pipe(Effect.scoped, Effect.orDie)

    return {
      url,
      send,
      get: (path: string) => send(HttpClientRequest.get(path)),
      post: (path: string, body?: unknown) =>
        send(
          body === undefined
            ? HttpClientRequest.post(path)
            : HttpClientRequest.bodyUnsafeJson(HttpClientRequest.post(path), body)
        )
    }
  }).pipe(Effect.provide(Logger.replace(Logger.defaultLogger, logger)))
