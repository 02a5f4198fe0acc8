/**
 * The header `grpc-timeout`: at most eight digits and a unit.
 *
 * Source: "PROTOCOL-HTTP2.md" of gRPC, production `Timeout`.
 */
import * as Option from "effect/Option"

const units: ReadonlyArray<readonly [unit: string, millis: number]> = [
  ["n", 1e-6],
  ["u", 1e-3],
  ["m", 1],
  ["S", 1000],
  ["M", 60_000],
  ["H", 3_600_000]
]

const most = 99_999_999

/** Milliseconds above zero as text, in the finest unit from milliseconds on that has room for them; never less. */
export const format = (millis: number): string => {
  for (const [unit, size] of units.slice(2)) {
    const count = Math.ceil(millis / size)
    if (count <= most) {
      return `${count}${unit}`
    }
  }
  return `${most}H`
}

const pattern = /^([0-9]{1,8})([numSMH])$/

/** Milliseconds; none where the text is no timeout. */
export const parse = (text: string): Option.Option<number> => {
  const [, digits, unit] = pattern.exec(text) ?? []
  const millis = units.find(([name]) => name === unit)?.[1]
  return millis === undefined ? Option.none() : Option.some(Number(digits) * millis)
}
