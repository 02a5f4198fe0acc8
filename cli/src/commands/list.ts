/** `list`: the services of a node or a contract, or the methods of one. */

import type { DescService } from "@bufbuild/protobuf"
import * as Command from "@effect/cli/Command"
import * as Options from "@effect/cli/Options"
import * as Effect from "effect/Effect"
import * as Source from "../contract/source.js"
import { contractOf, places } from "../contract/target.js"
import { Failure } from "../shared/failure.js"
import { json, metadata } from "../shared/options.js"
import { result } from "../shared/output.js"
import { printable } from "../shared/text.js"
import * as Wires from "../shared/transport.js"

const methods = Options.boolean("methods").pipe(Options.withDescription("The methods of all services as well."))

const config = { places: places("service"), methods, metadata, ...Wires.connection, ...Source.options, json }

const methodsOf = ({ methods, typeName }: DescService) => ({
  service: typeName,
  methods: methods.map(({ name }) => name)
})

export const list = Command.make("list", config, ({ json, methods, places, ...config }) =>
  Effect.gen(function* () {
    const { contract, symbol } = yield* contractOf(config, places)
    if (symbol === undefined && !methods) {
      const services = yield* contract.services
      return yield* result(json, { services }, () => services.map(printable).join("\n"))
    }
    const names = symbol === undefined ? yield* contract.services : [symbol]
    const registry = yield* contract.files(names)
    const services = yield* Effect.forEach(names, (name) => {
      const service = registry.getService(name)
      return service === undefined
        ? Effect.fail(new Failure({ message: `there is no service ${name}`, hint: "list without a name shows all" }))
        : Effect.succeed(methodsOf(service))
    })
    yield* result(json, { services }, () =>
      services.flatMap(({ methods, service }) => methods.map((name) => printable(`${service}/${name}`))).join("\n")
    )
  }).pipe(Effect.scoped)
).pipe(
  Command.withDescription(
    "Lists the services of a node, by its reflection, or those of --proto or --descriptors files, for which no target is given. " +
      "With a service, its methods."
  )
)
