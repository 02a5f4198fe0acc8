/** `doctor`: whether this machine has what a node needs. */
import * as Command from "@effect/cli/Command"
import * as Options from "@effect/cli/Options"
import * as Effect from "effect/Effect"
import { Failure } from "../shared/failure.js"
import { json } from "../shared/options.js"
import { paint, result } from "../shared/output.js"
import { columns } from "../shared/text.js"
import { certificateChecks } from "./doctor/certificates.js"
import { type Check, machineChecks } from "./doctor/machine.js"

const pem = Options.text("cert").pipe(
  Options.withPseudoName("file"),
  Options.repeated,
  Options.withDescription("Certificates (PEM) whose dates are compared with the clock. As often as needed.")
)

const marks = { ok: paint("green", "ok"), warning: paint("yellow", "warning"), failed: paint("red", "failed") }

const text = (checks: ReadonlyArray<Check>): string =>
  columns(
    checks.map(({ advice, name, status, value }) => [
      name,
      advice === undefined ? value : `${value}: ${advice}`,
      status === "ok" ? "" : marks[status]
    ])
  )

export const doctor = Command.make("doctor", { cert: pem, json }, ({ cert, json }) =>
  Effect.gen(function* () {
    const checks = [...(yield* machineChecks), ...(yield* certificateChecks(cert))]
    yield* result(json, { ok: checks.every(({ status }) => status !== "failed"), checks }, ({ checks }) => text(checks))
    if (checks.some(({ status }) => status === "failed")) {
      return yield* new Failure({ message: "something is missing", silent: true })
    }
  })
).pipe(
  Command.withDescription("Looks at versions, optional packages, limits, the clock, and the expiry of certificates.")
)
