/** What the compiler says of what clients reach, and how. `tsc` is the test: nothing here runs. */
import * as Context from "effect/Context"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import type * as Option from "effect/Option"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import {
  type CallError,
  type ConnectError,
  type Credentials,
  Discovery,
  GrpcLive,
  type InvalidArgument,
  Transport
} from "effect-transport"
import { type EchoResponse, EchoService } from "../../examples/gen/echo/v1/echo_pb.js"

type Equal<A, B> = (<T>() => T extends A ? 1 : 2) extends <T>() => T extends B ? 1 : 2 ? true : false

/** Compiles where both are the same type, and nowhere else. */
const same = <A, B>(_: Equal<A, B>): void => {}

type Opened = Effect.Effect<Transport.Client<typeof EchoService>, ConnectError, Transport.Transport | Scope.Scope>

declare const client: Transport.Client<typeof EchoService>
declare const strings: Array<string>
declare const literals: readonly ["10.0.0.1:50051", "10.0.0.2:50051"]

// --- Targets: whatever is reached, a client is the same ---

const list = Transport.client(EchoService, ["10.0.0.1:50051", "unix:/run/echo.sock", "dns:///echo.test:50051"])
same<typeof list, Opened>(true)
const mutable = Transport.client(EchoService, strings)
same<typeof mutable, Opened>(true)
const constant = Transport.client(EchoService, literals)
same<typeof constant, Opened>(true)
const name = Transport.client(EchoService, "dns:///echo.test:50051")
same<typeof name, Opened>(true)
const services = Transport.client(EchoService, "srv:///_grpc._tcp.echo.test")
same<typeof services, Opened>(true)
const found = Transport.client(EchoService, Discovery.dns("echo.test:50051", { servers: ["127.0.0.1:53"] }))
same<typeof found, Opened>(true)

same<Transport.Target, string | ReadonlyArray<string> | Discovery.Discovery>(true)
declare const target: Transport.Target
const either = Transport.client(EchoService, target)
same<typeof either, Opened>(true)

// @ts-expect-error a port is no target
Transport.client(EchoService, 50_051)
// @ts-expect-error an address with more to it comes from a Discovery
Transport.client(EchoService, [{ address: "10.0.0.1:50051" }])
// @ts-expect-error a list is of texts
Transport.client(EchoService, [Discovery.static([])])
// @ts-expect-error a stream is made a Discovery first
Transport.client(EchoService, Stream.make(["10.0.0.1:50051"]))
// @ts-expect-error there must be something to reach
Transport.client(EchoService, undefined)
// @ts-expect-error what looks like one is none
Transport.client(EchoService, { name: "mine" })

// --- Discovery ---

const discoveries = [
  Discovery.dns({ name: "echo.test", port: 50_051, interval: "5 seconds" }),
  Discovery.srv("_grpc._tcp.echo.test"),
  Discovery.srv({ name: "_grpc._tcp.echo.test", servers: ["127.0.0.1"] }),
  Discovery.file("/etc/echo.json", { interval: "1 minute" }),
  Discovery.static(["10.0.0.1:50051", { address: "10.0.0.2:50051", weight: 2, attributes: { zone: "a" } }]),
  // What the stream fails with is logged, and it is run again.
  Discovery.fromStream(Stream.fail("no list")),
  Discovery.fromStream(Stream.make([{ address: "10.0.0.1:50051", serverName: "echo.test" }]), { name: "registry" })
]
same<typeof discoveries, Array<Discovery.Discovery>>(true)

declare const unknown: unknown
if (Discovery.isDiscovery(unknown)) {
  same<typeof unknown, Discovery.Discovery>(true)
}

declare const needy: Stream.Stream<ReadonlyArray<string>, never, Transport.Transport>
// @ts-expect-error nobody provides what it requires
Discovery.fromStream(needy)
// @ts-expect-error an endpoint has an address
Discovery.static([{ weight: 2 }])
// @ts-expect-error a weight is a number
Discovery.static([{ address: "10.0.0.1:50051", weight: "2" }])
// @ts-expect-error an element is all that there are, not one of them
Discovery.fromStream(Stream.make("10.0.0.1:50051"))
// @ts-expect-error a name alone has no port
Discovery.dns({ name: "echo.test" })
// @ts-expect-error that is no interval
Discovery.srv("_grpc._tcp.echo.test", { interval: "often" })
// @ts-expect-error a discovery has no options of a client
Discovery.file("/etc/echo.json", { balance: "roundRobin" })

// --- Balance and key ---

for (const balance of ["pickFirst", "roundRobin", "leastPending", "weighted", undefined] as const) {
  const balanced = Transport.client(EchoService, strings, { balance })
  same<typeof balanced, Opened>(true)
}
const keyed = Transport.client(EchoService, strings, {
  balance: {
    byKey: (call) => {
      same<typeof call, Transport.KeyedCall>(true)
      same<typeof call.method, string>(true)
      same<typeof call.request, unknown>(true)
      return call.method
    }
  },
  connect: "lazy",
  subset: 8,
  health: "echo.v1.EchoService",
  outliers: { consecutiveFailures: Number.POSITIVE_INFINITY, latencyFactor: 5, ejection: "1 second" },
  slowStart: 0,
  waitForReady: true,
  timeout: "1 second"
})
same<typeof keyed, Opened>(true)
Transport.client(EchoService, strings, { outliers: false, health: false })

// @ts-expect-error there is no such balance
Transport.client(EchoService, strings, { balance: "random" })
// @ts-expect-error a key is text
Transport.client(EchoService, strings, { balance: { byKey: () => 1 } })
// @ts-expect-error a key is said at once
Transport.client(EchoService, strings, { balance: { byKey: () => Effect.succeed("key") } })
// @ts-expect-error outliers are on with their defaults, or off
Transport.client(EchoService, strings, { outliers: true })
// @ts-expect-error at once, or with the first call
Transport.client(EchoService, strings, { connect: "later" })
// @ts-expect-error that is no duration
Transport.client(EchoService, strings, { slowStart: "slowly" })

const called = client.echo({}, { key: "tx-123", timeout: "1 second" })
same<typeof called, Effect.Effect<EchoResponse, CallError>>(true)
const streamed = client.echoBidi(Stream.make({ message: "hello" }), { key: "tx-123" })
same<typeof streamed, Stream.Stream<EchoResponse, CallError>>(true)

// @ts-expect-error a key is text
client.echo({}, { key: 123 })
// @ts-expect-error a client has no key: its calls do
Transport.client(EchoService, strings, { key: "tx-123" })
// @ts-expect-error a call does not choose how calls are shared
client.echo({}, { balance: "roundRobin" })

// --- The states of endpoints ---

const states = Transport.connection(["10.0.0.1:50051", "10.0.0.2:50051"])
same<typeof states, Stream.Stream<ReadonlyArray<Transport.EndpointStatus>, InvalidArgument, Transport.Transport>>(true)
const statesOf = Transport.connection(Discovery.static(strings), { balance: "pickFirst", health: false })
same<typeof statesOf, typeof states>(true)
const statesOfTarget = Transport.connection(target)
same<typeof statesOfTarget, typeof states>(true)

Stream.map(states, (endpoints) =>
  endpoints.map(({ attributes, pending, reason, roundTrip, serverName, state }) => {
    same<typeof state, Transport.EndpointState>(true)
    same<typeof reason, Option.Option<string>>(true)
    same<typeof serverName, Option.Option<string>>(true)
    same<typeof roundTrip, Option.Option<Duration.Duration>>(true)
    same<typeof attributes, Readonly<Record<string, string>>>(true)
    same<typeof pending, number>(true)
    // @ts-expect-error there is no such state
    return state === "dead"
  })
)
same<Transport.EndpointState, "idle" | "connecting" | "ready" | "backingOff" | "unhealthy" | "ejected" | "draining">(
  true
)

// @ts-expect-error what calls take means nothing to it
Transport.connection(strings, { timeout: "1 second" })
// @ts-expect-error it is a stream, not an effect
Effect.map(states, () => 1)

// --- As layers ---

class Echo extends Context.Tag("test/Echo")<Echo, Transport.Client<typeof EchoService>>() {}

const layer = Transport.layerClient(Echo, EchoService, Discovery.srv("_grpc._tcp.echo.test"), {
  balance: "weighted",
  connect: "lazy"
})
same<typeof layer, Layer.Layer<Echo, ConnectError, Transport.Transport>>(true)

const wired = Layer.provide(layer, GrpcLive)
same<typeof wired, Layer.Layer<Echo, ConnectError, Credentials.Credentials>>(true)
