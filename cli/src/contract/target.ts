/** Commands that look at a contract: of a target, or of files alone. */
import * as Args from "@effect/cli/Args"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import { type Metadata, Peer } from "effect-transport"
import { exitCodes, Failure } from "../shared/failure.js"
import * as Wires from "../shared/transport.js"
import * as Source from "./source.js"

/** The target, where the contract is not in files, and the name of what is looked for. */
export const places = (what: string) =>
  Args.text({ name: `[target] [${what}]` }).pipe(
    Args.withDescription(
      `The node, "host:port", "[v6]:port" or "unix:path", without --proto and --descriptors; and the full name of a ${what}.`
    ),
    Args.between(0, 2)
  )

const usage = (message: string, hint: string) => new Failure({ message, hint, exitCode: exitCodes.usage })

type Config = Source.SourceConfig & Wires.ConnectionConfig & { readonly metadata: Metadata.Metadata }

/** The contract that is looked at, and the name of what is looked for in it. */
export const contractOf = (config: Config, places: ReadonlyArray<string>) =>
  Effect.gen(function* () {
    if (Source.isLocal(config)) {
      const [symbol, ...more] = places
      return more.length > 0
        ? yield* usage("there is a target beside --proto or --descriptors", "leave it out: nobody is called")
        : { contract: yield* Source.local(config), symbol }
    }
    const [target, symbol] = places
    if (target === undefined) {
      return yield* usage("the target is missing", "give a node to ask, or the contract with --proto or --descriptors")
    }
    const parsed = Peer.parseTarget(target)
    if (parsed._tag === "Left") {
      return yield* usage(`target: ${parsed.left}`, 'write "host:port", "[v6]:port" or "unix:path"')
    }
    const transport = yield* Layer.build(Wires.layer(config))
    const contract = yield* Effect.provide(Source.contract(config, target, config.metadata), transport)
    return { contract, symbol }
  })
