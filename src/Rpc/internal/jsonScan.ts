/** The scan of JSON: one text a line, or all that there is. */
import {
  type Limits,
  longNumber,
  maxDepth,
  maxNumberLength,
  type Scan,
  tooDeep,
  tooLarge,
  tooMany
} from "./frameScan.js"

const code = (char: string) => char.charCodeAt(0)
const newline = code("\n")
const quote = code('"')
const backslash = code("\\")

/** What stands in a JSON text outside of its strings. */
enum Json {
  Other,
  Number,
  Open,
  Close,
  Next
}

const jsonTable = new Uint8Array(256)
for (const char of "0123456789+-.eE") {
  jsonTable[code(char)] = Json.Number
}
for (const char of "[{") {
  jsonTable[code(char)] = Json.Open
}
for (const char of "]}") {
  jsonTable[code(char)] = Json.Close
}
for (const char of ",:") {
  jsonTable[code(char)] = Json.Next
}

/** What is no JSON at all is left to the parser to say. */
export const make = ({ maxFrameElements, maxFrameSize }: Limits, isLines: boolean): Scan => {
  let pos = 0
  let depth = 0
  let elements = 1
  let digits = 0
  let isString = false
  let isEscaped = false

  const reset = () => {
    pos = 0
    depth = 0
    elements = 1
    digits = 0
    isString = false
    isEscaped = false
  }

  return {
    next: (bytes, start, end) => {
      for (let at = start + pos; at < end; at++) {
        const byte = bytes[at] ?? 0
        if (byte === newline && isLines) {
          const length = at + 1 - start
          reset()
          return length > maxFrameSize + 1 ? tooLarge : length
        }
        if (isString) {
          if (isEscaped) {
            isEscaped = false
          } else if (byte === backslash) {
            isEscaped = true
          } else if (byte === quote) {
            isString = false
          }
          continue
        }
        if (byte === quote) {
          isString = true
          digits = 0
          continue
        }
        const kind = jsonTable[byte]
        if (kind === Json.Number) {
          digits += 1
          if (digits > maxNumberLength) {
            return longNumber
          }
          continue
        }
        digits = 0
        if (kind === Json.Open) {
          depth += 1
          elements += 1
          if (depth > maxDepth) {
            return tooDeep
          }
        } else if (kind === Json.Close) {
          depth -= 1
        } else if (kind === Json.Next) {
          elements += 1
        }
        if (elements > maxFrameElements) {
          return tooMany
        }
      }
      pos = end - start
      return pos > maxFrameSize ? tooLarge : 0
    }
  }
}
