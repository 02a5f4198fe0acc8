/** `certs check`: whether a certificate, or a live node, would be refused, by whom, and why. */

import { stat } from "node:fs/promises"
import * as Args from "@effect/cli/Args"
import * as Command from "@effect/cli/Command"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import { Peer } from "effect-transport"
import { exitCodes, Failure } from "../../shared/failure.js"
import { json } from "../../shared/options.js"
import { result } from "../../shared/output.js"
import { printable } from "../../shared/text.js"
import * as Wires from "../../shared/transport.js"
import { checkFile } from "./checkFile.js"
import { checkPeer } from "./checkPeer.js"
import { lines } from "./describe.js"
import { verdictLine } from "./show.js"
import type { Checked } from "./verdict.js"

const text = ({ chain, checked, protocol, verdicts, wire }: Checked): string =>
  [
    `${printable(checked)}${wire === undefined ? "" : ` over ${wire}`}${protocol === undefined ? "" : ` (${printable(protocol)})`}`,
    ...chain.flatMap(lines),
    ...verdicts.map(verdictLine)
  ].join("\n")

const what = Args.text({ name: "what" }).pipe(
  Args.withDescription('The file of a certificate or PKCS#12, or a live node: "host:port", "[v6]:port" or "unix:path".')
)

const isFile = (path: string): Effect.Effect<boolean> =>
  Effect.promise(() =>
    stat(path).then(
      () => true,
      () => false
    )
  )

export const check = Command.make("check", { what, ...Wires.connection, json }, ({ json, what, ...config }) =>
  Effect.gen(function* () {
    const isTarget = Either.isRight(Peer.parseTarget(what))
    const file = yield* isFile(what)
    if (!file && !isTarget) {
      return yield* new Failure({
        message: `${what} is no file that is there, and no target`,
        hint: 'give a file, "host:port", "[v6]:port" or "unix:path"',
        exitCode: exitCodes.usage
      })
    }
    const checked: Checked = yield* file ? checkFile(what, config) : checkPeer(what, config)
    const accepted = checked.verdicts.every(({ accepted }) => accepted)
    yield* result(json, { accepted, ...checked }, text)
    if (!accepted) {
      return yield* new Failure({ message: "it would be refused", silent: true })
    }
  })
).pipe(
  Command.withDescription(
    "Says whether a certificate would be refused by peers that trust --ca; of a live node, whether you would refuse it, and it you."
  )
)
