/** Command line options whose help states their defaults, and whose errors name them. */
import * as Options from "@effect/cli/Options"
import * as Schema from "effect/Schema"

const listed = (values: ReadonlyArray<string>) => `${values.slice(0, -1).join(", ")} or ${values.at(-1)}`

/** One of some words. */
export const choice = <const A extends string>(
  name: string,
  values: readonly [A, A, ...ReadonlyArray<A>],
  value: NoInfer<A>,
  description: string
): Options.Options<A> => {
  const isOne = (text: string): text is A => values.some((each) => each === text)
  return Options.text(name).pipe(
    Options.withPseudoName(values.join("|")),
    Options.withDescription(`${description}: ${listed(values)}. Default: ${value}`),
    Options.withSchema(
      Schema.String.pipe(Schema.filter(isOne)).annotations({
        message: ({ actual }) => `--${name} takes ${listed(values)}, not ${JSON.stringify(actual)}`
      })
    ),
    Options.withDefault(value)
  )
}

interface Range {
  readonly min: number
  readonly max: number
  readonly value: number
  readonly isInteger?: boolean
}

/** A number within a range. */
export const number = (
  name: string,
  { isInteger = false, max, min, value }: Range,
  description: string
): Options.Options<number> => {
  const isValid = (n: number) => n >= min && n <= max && (!isInteger || Number.isInteger(n))
  const kind = isInteger ? "an integer" : "a number"
  return Options.text(name).pipe(
    Options.withPseudoName(isInteger ? "integer" : "number"),
    Options.withDescription(`${description}: ${kind} from ${min} to ${max}. Default: ${value}`),
    Options.withSchema(
      Schema.NumberFromString.pipe(Schema.filter(isValid)).annotations({
        message: ({ actual }) => ({
          message: `--${name} takes ${kind} from ${min} to ${max}, not ${JSON.stringify(actual)}`,
          override: true
        })
      })
    ),
    Options.withDefault(value)
  )
}

/** `--json`. */
export const json = Options.boolean("json").pipe(
  Options.withDescription("Print the summary as JSON on stdout, and the progress on stderr. Default: no")
)
