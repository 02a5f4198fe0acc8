/** `call`: any method of any contract, JSON in and out. */

import { type DescMethod, type Message, type Registry, toJson } from "@bufbuild/protobuf"
import * as Args from "@effect/cli/Args"
import * as Command from "@effect/cli/Command"
import * as Options from "@effect/cli/Options"
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Stream from "effect/Stream"
import { Health, Transport } from "effect-transport"
import * as Source from "../contract/source.js"
import { explain, Failure } from "../shared/failure.js"
import { json, metadata, target } from "../shared/options.js"
import { print } from "../shared/output.js"
import { printable } from "../shared/text.js"
import * as Wires from "../shared/transport.js"
import * as Handshake from "./call/handshake.js"
import { invoke } from "./call/invoke.js"
import { requests } from "./call/requests.js"
import * as Verbose from "./call/verbose.js"

const method = Args.text({ name: "method" }).pipe(Args.withDescription("package.Service/Method."))

const data = Options.text("data").pipe(
  Options.withAlias("d"),
  Options.withPseudoName("json"),
  Options.repeated,
  Options.withDescription(
    "The request as JSON; as often as there are messages in its stream. - reads stdin, for streams one message on each line. " +
      "Default: stdin for methods that take a stream, otherwise an empty message."
  )
)

const emitDefaults = Options.boolean("emit-defaults").pipe(
  Options.withDescription("Print fields that have their default value too.")
)

const verbose = Options.boolean("verbose").pipe(
  Options.withAlias("v"),
  Options.withDescription("Tell on stderr of connection, headers, trailers, status and times.")
)

const config = {
  target,
  method,
  data,
  metadata,
  ...Source.options,
  ...Wires.connection,
  emitDefaults,
  verbose,
  json
}

/** A message as JSON: one line of it in a stream and with `--json`. */
const format = (
  message: Message,
  { methodKind, output }: DescMethod,
  options: FormatOptions
): Effect.Effect<string, Failure> =>
  Effect.try({
    try: () => {
      const value = toJson(output, message, { registry: options.registry, alwaysEmitImplicit: options.emitDefaults })
      const isOne = methodKind === "unary" || methodKind === "client_streaming"
      return printable(JSON.stringify(value, undefined, isOne && !options.json ? 2 : 0))
    },
    catch: (cause) =>
      new Failure({
        message: `a response can't be printed as JSON: ${cause instanceof Error ? cause.message : String(cause)}`,
        hint: "the type of a google.protobuf.Any may not be in the contract",
        cause
      })
  })

interface FormatOptions {
  readonly registry: Registry
  readonly emitDefaults: boolean
  readonly json: boolean
}

export const call = Command.make(
  "call",
  config,
  ({ data, emitDefaults, json, metadata, method: name, target, verbose, ...config }) =>
    Effect.gen(function* () {
      const told = Verbose.make(verbose, json)
      const { event, metadata: tell, metadataNow } = told
      if (verbose && !config.insecure) {
        yield* Handshake.tell(target, config, told)
      }
      // All that follows goes over this connection.
      yield* Transport.client(Health.Contract, target)
      yield* event("connected", `connected to ${target} over ${config.wire}`, { target, wire: config.wire })
      const contract = yield* Source.contract(config, target, metadata)
      const { method, registry } = yield* Source.method(contract, name)
      const path = `/${method.parent.typeName}/${method.name}`
      yield* event("contract", `${path} takes ${method.input.typeName} and returns ${method.output.typeName}`, {
        method: path
      })
      yield* tell("request", ">", metadata)
      let sent = 0
      let received = 0
      const counted = Stream.tap(requests(data, method, registry), () =>
        Effect.sync(() => {
          sent += 1
        })
      )
      const exit = yield* invoke(method, target, counted, {
        metadata: metadata.entries,
        timeout: config.timeout,
        onHeaders: metadataNow("headers", "<"),
        onTrailers: metadataNow("trailers", "<")
      }).pipe(
        Stream.runForEach((message) =>
          Effect.suspend(() => {
            received += 1
            return Effect.flatMap(format(message, method, { registry, emitDefaults, json }), print)
          })
        ),
        Effect.exit
      )
      const status = Exit.isSuccess(exit) ? "OK" : explain(Cause.squash(exit.cause)).tag
      yield* event("status", `${status}: ${sent} sent, ${received} received`, { status, sent, received })
      return yield* exit
    }).pipe(Effect.scoped, Effect.provide(Wires.layer(config)))
).pipe(
  Command.withDescription(
    "Calls a method, by the node's reflection or by --proto or --descriptors files. Messages are JSON; those of a stream are one " +
      "on each line. The exit code is 0, or 64 + the gRPC status."
  )
)
