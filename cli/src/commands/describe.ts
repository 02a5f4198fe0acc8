/** `describe`: services, methods, messages and enums as `.proto` has them. */
import * as Command from "@effect/cli/Command"
import * as Effect from "effect/Effect"
import * as Source from "../contract/source.js"
import { contractOf, places } from "../contract/target.js"
import { Failure } from "../shared/failure.js"
import { json, metadata } from "../shared/options.js"
import { result } from "../shared/output.js"
import { printable } from "../shared/text.js"
import * as Wires from "../shared/transport.js"
import * as Render from "./describe/render.js"

const config = { places: places("symbol"), metadata, ...Wires.connection, ...Source.options, json }

export const describe = Command.make("describe", config, ({ json, places, ...config }) =>
  Effect.gen(function* () {
    const { contract, symbol } = yield* contractOf(config, places)
    const names = symbol === undefined ? yield* contract.services : [symbol.replace(/^[./]/, "").replace("/", ".")]
    const registry = yield* contract.files(names)
    const found = yield* Effect.forEach(names, (name) => {
      const described = Render.find(registry, name)
      return described === undefined
        ? Effect.fail(new Failure({ message: `there is no ${name}`, hint: "effect-transport list shows the services" }))
        : Effect.succeed({
            name,
            kind: described.kind,
            file: described.file.proto.name,
            definition: Render.text(described)
          })
    })
    yield* result(json, { symbols: found }, () =>
      found
        .map(({ definition, file, kind, name }) => printable(`// ${name} is a ${kind} of ${file}\n${definition}`))
        .join("\n\n")
    )
  }).pipe(Effect.scoped)
).pipe(
  Command.withDescription(
    "Describes a service, method, message, enum or extension as .proto has it, or all services: of a node, by its reflection, or " +
      "of --proto or --descriptors files, for which no target is given."
  )
)
