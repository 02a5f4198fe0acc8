/** Calls a method that is known by its descriptor alone. */
import type { DescMethod, Message } from "@bufbuild/protobuf"
import * as Effect from "effect/Effect"
import * as Stream from "effect/Stream"
import { Service, Transport, type TransportError } from "effect-transport"
import { Failure } from "../../shared/failure.js"

const noRequest = new Failure({ message: "there is no request", hint: "give one with --data" })

/** The responses of a method of any shape. What the requests fail with cancels the call. */
export const invoke = (
  method: DescMethod,
  target: string,
  requests: Stream.Stream<Message, Failure>,
  options: Transport.CallOptions
): Stream.Stream<Message, Failure | TransportError.CallError, Transport.Transport> => {
  const service = method.parent.typeName
  const common = {
    path: `/${service}/${method.name}`,
    input: Service.protobufCodec(method.input),
    output: Service.protobufCodec(method.output)
  }
  const one = Effect.flatMap(Stream.runHead(requests), (request) => Effect.mapError(request, () => noRequest))
  switch (method.methodKind) {
    case "unary":
      return Stream.unwrapScoped(
        Effect.gen(function* () {
          const contract = Service.make(service, { call: { ...common, shape: "unary" } })
          const client = yield* Transport.client(contract, target)
          return Stream.fromEffect(client.call(yield* one, options))
        })
      )
    case "server_streaming":
      return Stream.unwrapScoped(
        Effect.gen(function* () {
          const contract = Service.make(service, { call: { ...common, shape: "serverStreaming" } })
          const client = yield* Transport.client(contract, target)
          return client.call(yield* one, options)
        })
      )
    case "client_streaming":
      return Stream.unwrapScoped(
        Effect.gen(function* () {
          const contract = Service.make(service, { call: { ...common, shape: "clientStreaming" } })
          const client = yield* Transport.client(contract, target)
          return Stream.fromEffect(client.call(requests, options))
        })
      )
    case "bidi_streaming":
      return Stream.unwrapScoped(
        Effect.gen(function* () {
          const contract = Service.make(service, { call: { ...common, shape: "bidiStreaming" } })
          const client = yield* Transport.client(contract, target)
          return client.call(requests, options)
        })
      )
  }
}
