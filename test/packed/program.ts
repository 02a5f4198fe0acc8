/** A program of a user, with what README's install line installs: `.ci/run` type-checks it without `skipLibCheck`. */
import { Effect, Layer, Stream } from "effect"
import { Credentials, GrpcLive, type Method, NotFound, Service, Transport } from "effect-transport"

interface Degrees {
  readonly degrees: number
}

declare const degrees: Method.Codec<Degrees, Degrees>
declare const text: Method.Codec<string, string>

const Weather = Service.make("example.Weather", {
  measure: { path: "/example.Weather/Measure", shape: "unary", input: text, output: degrees },
  follow: { path: "/example.Weather/Follow", shape: "serverStreaming", input: text, output: degrees },
  report: { path: "/example.Weather/Report", shape: "clientStreaming", input: degrees, output: text },
  talk: { path: "/example.Weather/Talk", shape: "bidiStreaming", input: degrees, output: degrees }
})

const WeatherHandlers = Transport.handlers(Weather, {
  measure: (place, call) =>
    place === "" ? new NotFound({ message: call.method }) : Effect.succeed({ degrees: place.length }),
  follow: (place) => Stream.make({ degrees: place.length }),
  report: (measured) => Effect.map(Stream.runCount(measured), (count) => `${count} reports`),
  talk: (measured) => Stream.map(measured, ({ degrees }) => ({ degrees: degrees + 1 }))
})

const program = Effect.gen(function* () {
  const { target } = yield* Transport.Listener
  const weather = yield* Transport.client(Weather, target)
  const { degrees } = yield* weather.measure("Cologne", { timeout: "1 second" })
  const reported: string = yield* weather.report(Stream.make({ degrees }))
  const talked = yield* Stream.runCollect(weather.talk(weather.follow(reported)))
  return Array.from(talked, ({ degrees }) => degrees satisfies number)
})

const MainLive = Transport.serve([WeatherHandlers], { port: 0 }).pipe(
  Layer.provideMerge(GrpcLive),
  Layer.provide(Credentials.layerDev())
)

export const main: Promise<ReadonlyArray<number>> = program.pipe(
  Effect.scoped,
  Effect.provide(MainLive),
  Effect.runPromise
)
