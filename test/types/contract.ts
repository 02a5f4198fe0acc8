/** What the compiler says of contracts. `tsc` is the test: nothing here runs. */
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import {
  type BindError,
  type CallError,
  type ConnectError,
  Credentials,
  type CredentialsError,
  type Datagrams,
  GrpcLive,
  type HandshakeFailed,
  type Metadata,
  type Method,
  type MissingPackage,
  NotFound,
  type Quic,
  QuicLive,
  Service,
  type StatusError,
  Transport
} from "effect-transport"
import { type EchoRequest, type EchoResponse, EchoService } from "../../examples/gen/echo/v1/echo_pb.js"
import { echo } from "../suite/fixtures/echo.js"

type Equal<A, B> = (<T>() => T extends A ? 1 : 2) extends <T>() => T extends B ? 1 : 2 ? true : false

/** Compiles where both are the same type, and nowhere else. */
const same = <A, B>(_: Equal<A, B>): void => {}

class Store extends Context.Tag("test/Store")<Store, { readonly size: number }>() {}
class Clocks extends Context.Tag("test/Clocks")<Clocks, { readonly now: number }>() {}

declare const client: Transport.Client<typeof EchoService>

// --- Handlers ---

Transport.handlers(EchoService, echo)

// @ts-expect-error a method that the contract does not have
Transport.handlers(EchoService, { ...echo, ecco: () => Effect.succeed({}) })

// @ts-expect-error echoBidi is missing
Transport.handlers(EchoService, {
  echo: echo.echo,
  echoServerStream: echo.echoServerStream,
  echoClientStream: echo.echoClientStream
})

// @ts-expect-error the answer has no such field
Transport.handlers(EchoService, { ...echo, echo: () => Effect.succeed({ massage: "hello" }) })

// @ts-expect-error a field of the answer has another type
Transport.handlers(EchoService, { ...echo, echo: () => Effect.succeed({ message: 1 }) })

// @ts-expect-error a message of the stream has another type
Transport.handlers(EchoService, { ...echo, echoServerStream: () => Stream.make({ index: "1" }) })

// @ts-expect-error one answer is due, not a stream
Transport.handlers(EchoService, { ...echo, echo: () => Stream.make({ message: "hello" }) })

// An effect is a stream of one message, as everywhere in Effect.
Transport.handlers(EchoService, { ...echo, echoServerStream: () => Effect.succeed({ message: "hello" }) })

// @ts-expect-error an answer is an effect
Transport.handlers(EchoService, { ...echo, echo: () => ({ message: "hello" }) })

// @ts-expect-error one request comes, not a stream
Transport.handlers(EchoService, { ...echo, echo: (requests: Stream.Stream<EchoRequest>) => Effect.as(requests, {}) })

Transport.handlers(EchoService, {
  echo: (request, call) => {
    same<typeof request, EchoRequest>(true)
    same<typeof call, Transport.Call>(true)
    same<typeof call.metadata, Metadata.Metadata>(true)
    return Effect.succeed({ message: request.message })
  },
  echoServerStream: (request) => {
    same<typeof request, EchoRequest>(true)
    return Stream.make({ message: request.message })
  },
  echoClientStream: (requests) => {
    same<typeof requests, Stream.Stream<EchoRequest, StatusError>>(true)
    return Effect.succeed({})
  },
  echoBidi: (requests) => {
    same<typeof requests, Stream.Stream<EchoRequest, StatusError>>(true)
    return Stream.map(requests, ({ message }) => ({ message }))
  }
})

// A handler may fail as a call may: with a status, and with what kept it from calling another node.
declare const failure: CallError
declare const upstream: Transport.Client<typeof EchoService>
Transport.handlers(EchoService, { ...echo, echo: () => new NotFound({ message: "nobody there" }) })
Transport.handlers(EchoService, {
  echo: () => Effect.fail(failure),
  echoServerStream: () => Stream.fail(failure),
  echoClientStream: (requests) => Effect.zipRight(Stream.runDrain(requests), Effect.fail(failure)),
  echoBidi: (requests) => Stream.concat(Stream.drain(requests), Stream.fail(failure))
})
Transport.handlers(EchoService, {
  echo: ({ message }) => upstream.echo({ message }),
  echoServerStream: ({ message }) => upstream.echoServerStream({ message }),
  echoClientStream: (requests) => upstream.echoClientStream(requests),
  echoBidi: (requests) => upstream.echoBidi(requests)
})

// Nothing else: what it means to the caller is for the handler to say.
// @ts-expect-error text is no status
Transport.handlers(EchoService, { ...echo, echo: () => Effect.fail("whatever") })
// @ts-expect-error an error of the program's own is none
Transport.handlers(EchoService, { ...echo, echo: () => Effect.fail(new Error("whatever")) })
// @ts-expect-error one of several failures is none
Transport.handlers(EchoService, { ...echo, echo: () => Effect.fail<CallError | "whatever">("whatever") })
// @ts-expect-error what can't be known is none
Transport.handlers(EchoService, { ...echo, echo: () => Effect.fail<unknown>("whatever") })
// @ts-expect-error a listener's failure is none
Transport.handlers(EchoService, { ...echo, echo: () => Effect.as(Effect.scoped(Transport.listen([])), {}) })
// @ts-expect-error nor in a stream
Transport.handlers(EchoService, { ...echo, echoServerStream: () => Stream.fail("whatever") })
// @ts-expect-error nor after many requests
Transport.handlers(EchoService, { ...echo, echoClientStream: () => Effect.fail("whatever") })
// @ts-expect-error nor in a stream both ways
Transport.handlers(EchoService, { ...echo, echoBidi: () => Stream.fail("whatever") })

// --- What handlers require ---

same<ReturnType<typeof plain>, Transport.Handlers<never>>(true)
const plain = () => Transport.handlers(EchoService, echo)

const needy = Transport.handlers(EchoService, {
  ...echo,
  echo: () => Effect.map(Store, ({ size }) => ({ index: size })),
  echoServerStream: () => Stream.fromEffect(Effect.map(Clocks, ({ now }) => ({ index: now })))
})
same<typeof needy, Transport.Handlers<Store | Clocks>>(true)

const aware = Transport.handlers(EchoService, {
  ...echo,
  echo: () => Effect.map(Transport.CurrentCall, ({ method }) => ({ message: method })),
  echoServerStream: () => Stream.fromEffect(Effect.as(Effect.zip(Transport.CurrentCall, Store), {}))
})
same<typeof aware, Transport.Handlers<Store>>(true)

const Other = Service.make("test.Other", {})
const other = Transport.handlers(Other, {})
same<typeof other, Transport.Handlers<never>>(true)

const needyLayer = Transport.serve([needy, other])
same<typeof needyLayer, Layer.Layer<Transport.Listener, BindError, Transport.Transport | Store | Clocks>>(true)

const plainLayer = Transport.serve([Transport.handlers(EchoService, echo)], { port: 0 })
same<typeof plainLayer, Layer.Layer<Transport.Listener, BindError, Transport.Transport>>(true)

const emptyListener = Transport.listen([])
same<typeof emptyListener, Effect.Effect<Transport.ListenerService, BindError, Transport.Transport | Scope.Scope>>(true)

const needyListener = Transport.listen([other, aware])
same<
  typeof needyListener,
  Effect.Effect<Transport.ListenerService, BindError, Transport.Transport | Scope.Scope | Store>
>(true)

// --- Clients ---

const opened = Transport.client(EchoService, "127.0.0.1:50051")
same<
  typeof opened,
  Effect.Effect<Transport.Client<typeof EchoService>, ConnectError, Transport.Transport | Scope.Scope>
>(true)

same<CallError, StatusError | HandshakeFailed>(true)

const unary = client.echo({ message: "hello" })
same<typeof unary, Effect.Effect<EchoResponse, CallError>>(true)

const serverStreaming = client.echoServerStream({ repeat: 3 }, { timeout: "1 second", metadata: { key: "value" } })
same<typeof serverStreaming, Stream.Stream<EchoResponse, CallError>>(true)

const clientStreaming = client.echoClientStream(Stream.make({ message: "hello" }))
same<typeof clientStreaming, Effect.Effect<EchoResponse, CallError>>(true)

const bidiStreaming = client.echoBidi(Stream.make({ message: "hello" }))
same<typeof bidiStreaming, Stream.Stream<EchoResponse, CallError>>(true)

// What the requests may fail with, and what they require, is of the call too.
declare const failing: Stream.Stream<{ readonly message: string }, "out of paper", Store>
const clientStreamingOf = client.echoClientStream(failing)
same<typeof clientStreamingOf, Effect.Effect<EchoResponse, CallError | "out of paper", Store>>(true)
const bidiStreamingOf = client.echoBidi(failing)
same<typeof bidiStreamingOf, Stream.Stream<EchoResponse, CallError | "out of paper", Store>>(true)

Effect.map(unary, (response) => {
  same<typeof response.message, string>(true)
  same<typeof response.payload, Uint8Array>(true)
  same<typeof response.index, number>(true)
  // @ts-expect-error the answer has no such field
  response.massage
})

// Errors are told apart by tag, and what is left is known.
const handled = Effect.catchTag(unary, "NotFound", (error) => {
  same<typeof error, NotFound>(true)
  same<typeof error.code, 5>(true)
  return Effect.succeed(undefined)
})
same<typeof handled, Effect.Effect<EchoResponse | undefined, Exclude<CallError, NotFound>>>(true)

Effect.catchTags(unary, {
  Unavailable: ({ idempotent, processed }) =>
    Effect.succeed([processed satisfies "no" | "unknown", idempotent satisfies boolean]),
  HandshakeFailed: ({ reason }) => Effect.succeed(reason)
})

// @ts-expect-error a call fails with no such error
Effect.catchTag(unary, "BindError", () => Effect.void)

// @ts-expect-error the contract has no such method
client.ecco({})

// @ts-expect-error the request has no such field
client.echo({ massage: "hello" })

// @ts-expect-error a field of the request has another type
client.echo({ message: 1 })

// @ts-expect-error a request is due
client.echo()

// @ts-expect-error one request is due, not a stream
client.echo(Stream.make({ message: "hello" }))

// @ts-expect-error a stream of requests is due
client.echoClientStream({ message: "hello" })

// @ts-expect-error a message of the stream has another type
client.echoBidi(Stream.make({ message: 1 }))

// @ts-expect-error there is no such option
client.echo({}, { time: "1 second" })

// @ts-expect-error that is no duration
client.echo({}, { timeout: "soon" })

// --- Contracts of another language ---

interface Celsius {
  readonly celsius: number
}

declare const number: Method.Codec<number | Celsius, Celsius>
declare const text: Method.Codec<string, string>

const Weather = Service.make("test.Weather", {
  measure: { path: "/test.Weather/Measure", shape: "unary", input: text, output: number },
  follow: { path: "/test.Weather/Follow", shape: "serverStreaming", input: text, output: number },
  report: { path: "/test.Weather/Report", shape: "clientStreaming", input: number, output: text },
  talk: { path: "/test.Weather/Talk", shape: "bidiStreaming", input: number, output: number }
})

const weather = Transport.handlers(Weather, {
  // The codec says what may be sent (a number will do) and what arrives (degrees with a name).
  measure: (place) => {
    same<typeof place, string>(true)
    return Effect.map(Store, ({ size }) => place.length + size)
  },
  follow: () => Stream.make(1, { celsius: 2 }),
  report: (measured) => {
    same<typeof measured, Stream.Stream<Celsius, StatusError>>(true)
    return new NotFound({ message: "nobody there" })
  },
  talk: (measured) => Stream.map(measured, ({ celsius }) => celsius + 1)
})
same<typeof weather, Transport.Handlers<Store>>(true)

Transport.handlers(Weather, {
  measure: () => Effect.succeed(1),
  // @ts-expect-error the codec sends no text
  follow: () => Stream.make("warm"),
  report: () => Effect.succeed("thanks"),
  talk: (measured) => measured
})

declare const weatherClient: Transport.Client<typeof Weather>
const measured = weatherClient.measure("Cologne")
same<typeof measured, Effect.Effect<Celsius, CallError>>(true)
const report = weatherClient.report(Stream.make(1, { celsius: 2 }))
same<typeof report, Effect.Effect<string, CallError>>(true)

// @ts-expect-error the codec takes no number
weatherClient.measure(1)

// @ts-expect-error a contract can't say that of a method
Service.make("test.Wrong", { measure: { ...Weather.methods.measure, idempotency: "sometimes" } })

// @ts-expect-error there is no such shape
Service.make("test.Wrong", { wrong: { path: "/test.Wrong/Wrong", shape: "sometimes", input: text, output: text } })

declare const gossip: Effect.Effect<
  Datagrams.Channel,
  CallError,
  Transport.Transport | Datagrams.Datagrams | Scope.Scope
>
const overQuic = Effect.provide(gossip, QuicLive)
same<
  typeof overQuic,
  Effect.Effect<Datagrams.Channel, CallError | CredentialsError | MissingPackage, Credentials.Credentials | Scope.Scope>
>(true)

// @ts-expect-error only QUIC has datagrams
Effect.runPromise(Effect.scoped(Effect.provide(gossip, Layer.provide(GrpcLive, Credentials.layerDev()))))

// --- Clients as layers ---

class Echo extends Context.Tag("test/Echo")<Echo, Transport.Client<typeof EchoService>>() {}
class Forecast extends Context.Tag("test/Forecast")<Forecast, Transport.Client<typeof Weather>>() {}

const echoLayer = Transport.layerClient(Echo, EchoService, "127.0.0.1:50051", { timeout: "1 second" })
same<typeof echoLayer, Layer.Layer<Echo, ConnectError, Transport.Transport>>(true)

const forecastLayer = Transport.layerClient(Forecast, Weather, "127.0.0.1:50051")
same<typeof forecastLayer, Layer.Layer<Forecast, ConnectError, Transport.Transport>>(true)

// @ts-expect-error the tag is of another contract's client
Transport.layerClient(Forecast, EchoService, "127.0.0.1:50051")

// @ts-expect-error there is no such option
Transport.layerClient(Echo, EchoService, "127.0.0.1:50051", { time: "1 second" })

const replaced = Layer.succeed(Echo, client)
same<typeof replaced, Layer.Layer<Echo>>(true)

Layer.succeed(Forecast, {
  measure: (place) => Effect.succeed({ celsius: place.length }),
  follow: () => Stream.make({ celsius: 1 }),
  report: (measured) => Effect.as(Stream.runDrain(measured), "thanks"),
  talk: (measured) => Stream.map(measured, () => ({ celsius: 1 }))
})

// @ts-expect-error a client has a function for each method
Layer.succeed(Forecast, { measure: () => Effect.succeed({ celsius: 1 }) })

// The old name is the same error.
same<Quic.QuicUnavailable, MissingPackage>(true)
