/** An `HttpClient` whose requests go to one peer, beside the calls to it. */
import * as HttpClient from "@effect/platform/HttpClient"
import { type HttpClientError, RequestError } from "@effect/platform/HttpClientError"
import * as HttpClientRequest from "@effect/platform/HttpClientRequest"
import * as HttpClientResponse from "@effect/platform/HttpClientResponse"
import * as Effect from "effect/Effect"
import * as Peer from "../Transport/Peer.js"
import { type CallError, InvalidArgument } from "../Transport/TransportError.js"

/** Sends one request, and returns the response when its head has come. */
export type Send = (
  request: HttpClientRequest.HttpClientRequest,
  url: URL,
  signal: AbortSignal
) => Effect.Effect<Response, HttpClientError>

/** How requests wait for a connection that was just lost: for as long as whoever asks. */
const waiting = { timeout: Number.POSITIVE_INFINITY, waitForReady: false }

/** A connection that stays when the live one below it is replaced. */
export interface Connected<L> {
  readonly current: () => {
    readonly withLive: <A>(method: string, call: typeof waiting, run: (live: L) => A) => Effect.Effect<A, CallError>
  }
}

/** Sends requests on what is up of a connection. */
export const over =
  <L>({ current }: Connected<L>, sendOn: (live: L) => Send): Send =>
  (request, url, signal) =>
    current()
      .withLive(url.pathname, waiting, (live) => sendOn(live)(request, url, signal))
      .pipe(
        Effect.mapError(
          (cause) => new RequestError({ request, reason: "Transport", description: cause.message, cause })
        ),
        Effect.flatten
      )

/** A client of requests whose paths are relative to the origin. */
export const make = (origin: string, send: Send): HttpClient.HttpClient =>
  HttpClient.make((request, url, signal) =>
    Effect.map(send(request, url, signal), (response) => HttpClientResponse.fromWeb(request, response))
  ).pipe(HttpClient.mapRequest((request) => HttpClientRequest.prependUrl(request, origin)))

/** The target that a peer is. */
export const targetOf = (peer: string): Effect.Effect<Peer.Target, InvalidArgument> =>
  Effect.mapError(Peer.parseTarget(peer), (message) => new InvalidArgument({ message, peer }))
