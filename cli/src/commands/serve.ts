/** `serve`: a node to call, with echo, health and reflection. */
import * as Command from "@effect/cli/Command"
import * as Options from "@effect/cli/Options"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import { Health, Reflection, Transport } from "effect-transport"
import { EchoService } from "../gen/echo/v1/echo_pb.js"
import * as Credentials from "../shared/credentials.js"
import { duration, json, wire } from "../shared/options.js"
import { print, printJson } from "../shared/output.js"
import * as Wires from "../shared/transport.js"
import { echo } from "./serve/echo.js"

const host = Options.text("host").pipe(
  Options.withDefault("127.0.0.1"),
  Options.withDescription("The address to listen on; 0.0.0.0 or :: for all. Default: 127.0.0.1.")
)

const port = Options.integer("port").pipe(
  Options.withAlias("p"),
  Options.withDefault(0),
  Options.withDescription("The port; 0 lets the system choose, and it is printed. Default: 0.")
)

const path = Options.text("unix").pipe(
  Options.withPseudoName("path"),
  Options.optional,
  Options.withDescription("The path of a unix socket, instead of host and port. Not with --wire quic.")
)

const gracePeriod = duration("grace-period").pipe(
  Options.withDefault(Duration.seconds(5)),
  Options.withDescription("How long calls in flight may go on after Ctrl-C. Default: 5s.")
)

const config = { wire, host, port, path, ...Credentials.options, gracePeriod, json }

export const serve = Command.make("serve", config, ({ gracePeriod, host, json, path, port, ...config }) =>
  Effect.gen(function* () {
    const health = yield* Health.Health
    const service = EchoService.typeName
    yield* health.set(service, "SERVING")
    const where = path._tag === "Some" ? { path: path.value } : { host, port }
    const { address, target } = yield* Transport.listen([echo, Health.handlers, Reflection.handlers], {
      ...where,
      gracePeriod
    })
    const services = [service, "grpc.health.v1.Health", Reflection.Contract.typeName]
    yield* json
      ? printJson({ target, ...address, wire: config.wire, services })
      : print(`listening on ${target} (${config.wire}): ${services.join(", ")}; Ctrl-C ends it`)
    yield* Effect.never
  }).pipe(Effect.scoped, Effect.provide(Health.layer), Effect.provide(Wires.listening(config)))
).pipe(
  Command.withDescription(
    "Serves echo, health and reflection on a wire, until Ctrl-C. A listener needs a certificate, or --insecure."
  )
)
