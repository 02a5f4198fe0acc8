/** Calls of all four shapes, and handlers that answer each of them. */
import * as Effect from "effect/Effect"
import * as Stream from "effect/Stream"
import type { CallError, Transport } from "effect-transport"
import { type EchoService, messages, numbered } from "../fixtures/echo.js"

export const shapes = ["Echo", "EchoServerStream", "EchoClientStream", "EchoBidi"] as const

export const shapeOf = (call: { readonly method: string }) => call.method.slice(call.method.lastIndexOf("/") + 1)

/** A call of each shape, with all its answers. */
export const callsOf = (client: Transport.Client<typeof EchoService>, options?: Transport.CallOptions) =>
  ({
    Echo: Effect.map(client.echo({ message: "1" }, options), ({ message }) => [message]),
    EchoServerStream: messages(client.echoServerStream({ message: "1" }, options)),
    EchoClientStream: Effect.map(client.echoClientStream(numbered(2), options), ({ message }) => [message]),
    EchoBidi: messages(client.echoBidi(numbered(2), options))
  }) satisfies Record<string, Effect.Effect<ReadonlyArray<string>, CallError>>

export const answers = { Echo: ["1"], EchoServerStream: ["1"], EchoClientStream: ["12"], EchoBidi: ["1", "2"] }

/** Handlers that all answer with the same text. */
export const answering = <R>(text: Effect.Effect<string, CallError, R>) => {
  const answer = Effect.map(text, (message) => ({ message }))
  return {
    echo: () => answer,
    echoServerStream: () => Stream.fromEffect(answer),
    echoClientStream: () => answer,
    echoBidi: () => Stream.fromEffect(answer)
  }
}

/** The same as a list, in the order of the contract. */
export const allCalls = (client: Transport.Client<typeof EchoService>, options?: Transport.CallOptions) =>
  Object.values(callsOf(client, options))
