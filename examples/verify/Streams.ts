/** A stream of a node, line by line as JSON, until it ends, its deadline passes, or nobody reads it any more. */
import * as HttpServerResponse from "@effect/platform/HttpServerResponse"
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Stream from "effect/Stream"
import { millisBetween } from "./Echo.js"
import type { StreamQuery } from "./inputs.js"
import { Nodes } from "./Nodes.js"
import type { TransportName } from "./transports.js"

const line = (value: object) => `${JSON.stringify(value)}\n`

/** The last line says how it ended, because the status of the answer has been sent by then. */
export const run = (transport: TransportName, { count, intervalMillis, timeoutMillis }: typeof StreamQuery.Type) =>
  Effect.gen(function* () {
    const { client } = yield* Effect.flatMap(Nodes, ({ get }) => get(transport))
    const start = yield* Clock.currentTimeNanos
    const at = Effect.map(Clock.currentTimeNanos, (now) => millisBetween(start, now))
    const messages = client
      .echoServerStream(
        { message: "one of many", repeat: count, delayMillis: intervalMillis },
        { timeout: timeoutMillis }
      )
      .pipe(Stream.mapEffect(({ index }) => Effect.map(at, (millis) => line({ index, millis }))))
    const end = Stream.fromEffect(Effect.map(at, (millis) => line({ outcome: "Success", millis })))
    const lines = Stream.concat(messages, end).pipe(
      Stream.catchAll(({ _tag, message }) =>
        Stream.fromEffect(Effect.map(at, (millis) => line({ outcome: _tag, message, millis })))
      )
    )
    return HttpServerResponse.stream(Stream.encodeText(lines), { contentType: "application/x-ndjson" })
  })
