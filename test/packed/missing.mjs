/** What the layers say whose packages are missing; the argument is what QUIC's engine lacks. */
import { Effect, Layer } from "effect"
import { Credentials, Grpc, Middleware, Quic } from "effect-transport"
import * as ClusterTransport from "effect-transport/ClusterTransport"

const failure = (layer) => Effect.runPromise(Effect.flip(Effect.scoped(Layer.build(layer))))
const platform = `${process.platform}-${process.arch}`
const check = (error, expected) => {
  if (Object.entries({ _tag: "MissingPackage", platform, ...expected }).some(([key, value]) => error[key] !== value)) {
    throw error
  }
  console.log(`${error._tag}, ${error.reason}: ${error.message}`)
}

const [reason] = process.argv.slice(2)
check(await failure(Layer.provide(Quic.QuicLive, Credentials.layerDev())), { package: "@infisical/quic", reason })
check(await failure(Layer.provide(Grpc.layerGrpcJs(), Credentials.layerDev())), {
  package: "@grpc/grpc-js",
  reason: "NotInstalled"
})
const { layer, layerClientOnly, layerRunnerHealth } = ClusterTransport
for (const each of [layer(), layerClientOnly, layerRunnerHealth]) {
  check(await failure(each), { package: "@effect/cluster", reason: "NotInstalled" })
}
check(await Effect.runPromise(Effect.flip(Middleware.validation())), {
  package: "@bufbuild/protovalidate",
  reason: "NotInstalled"
})
