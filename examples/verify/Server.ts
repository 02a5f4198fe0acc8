import { createServer } from "node:http"
import * as HttpServer from "@effect/platform/HttpServer"
import * as NodeHttpServer from "@effect/platform-node/NodeHttpServer"
import * as Context from "effect/Context"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"

/** Completes when the server is about to close, so that what waits for news stops waiting. */
export class Closing extends Context.Tag("verify/Closing")<Closing, { readonly begun: Effect.Effect<void> }>() {}

/** How long requests may go on when the server closes, in milliseconds. */
const gracePeriod = 500

const maxConnections = 256

/** An HTTP server on loopback that closes within its grace period, whatever its clients do. */
export const layer = (port: number) =>
  Layer.unwrapEffect(
    Effect.map(Deferred.make<void>(), (begun) => {
      const server = createServer()
      server.maxConnections = maxConnections
      // Node closes what is idle and waits for the rest without a limit.
      const close = Effect.sync(() => {
        const timer = setTimeout(() => server.closeAllConnections(), gracePeriod)
        server.once("close", () => clearTimeout(timer))
      })
      return Layer.scoped(
        Closing,
        Effect.gen(function* () {
          yield* HttpServer.HttpServer
          yield* Effect.addFinalizer(() => Effect.zipRight(close, Deferred.succeed(begun, undefined)))
          return { begun: Deferred.await(begun) }
        })
      ).pipe(Layer.provideMerge(NodeHttpServer.layer(() => server, { port, host: "127.0.0.1" })))
    })
  )
