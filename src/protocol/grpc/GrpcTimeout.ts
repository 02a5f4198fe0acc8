/**
 * The header `grpc-timeout`: at most eight digits and a unit.
 *
 * Source: "PROTOCOL-HTTP2.md" of gRPC, production `Timeout`.
 */

const millisOf: Readonly<Record<string, number>> = { n: 1e-6, u: 1e-3, m: 1, S: 1000, M: 60_000, H: 3_600_000 }

const most = 99_999_999

/** From milliseconds on, so that there is room for all but the longest. */
const units = ["m", "S", "M", "H"]

/**
 * Milliseconds above zero as text, never less, and no more than one part in a hundred more than that: what is left of the
 * timeouts of many calls is then the same text, which is sent and read more easily. The C library of gRPC does so too.
 */
export const format = (millis: number): string => {
  for (const unit of units) {
    const count = Math.ceil(millis / (millisOf[unit] ?? 1))
    if (count <= most) {
      let step = 1
      while (count >= step * 1000) {
        step *= 10
      }
      return `${Math.min(most, Math.ceil(count / step) * step)}${unit}`
    }
  }
  return `${most}H`
}

const pattern = /^([0-9]{1,8})([numSMH])$/

/** Milliseconds; undefined where the text is no timeout. */
export const parse = (text: string): number | undefined => {
  const [, digits, unit = ""] = pattern.exec(text) ?? []
  const millis = millisOf[unit]
  return millis === undefined ? undefined : Number(digits) * millis
}
