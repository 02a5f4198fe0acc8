/** JSON with the lines of its values, which errors name: `JSON.parse` keeps none. */

/** A text that was read. */
export interface Parsed {
  readonly value: unknown
  /** The line of what is at a path, or of the nearest above it that is there. Lines count from 1. */
  readonly lineOf: (path: ReadonlyArray<PropertyKey>) => number
}

/** What is wrong with a text, and where. */
export class Unreadable {
  constructor(
    readonly message: string,
    readonly line: number
  ) {}
}

const lineAt = (text: string, offset: number): number => text.slice(0, offset).split("\n").length

interface Token {
  readonly text: string
  readonly at: number
}

/** Strings, marks, and everything else that is not white space, of a text that `JSON.parse` has taken. */
const tokenize = (text: string): ReadonlyArray<Token> =>
  Array.from(text.matchAll(/"(?:[^"\\]|\\.)*"|[[\]{}:,]|[^\s[\]{}:,"]+/g), (match) => ({
    text: match[0],
    at: match.index
  }))

/** The offsets of all values, by their paths as JSON. */
const offsetsOf = (text: string): ReadonlyMap<string, number> => {
  const all = tokenize(text)
  const offsets = new Map<string, number>()
  /** The containers that are open: the key or index that is next in each. */
  const open: Array<{ readonly isObject: boolean; key: string | number; hasKey: boolean }> = []
  const path = () => JSON.stringify(open.map(({ key }) => key))
  for (const { at, text: token } of all) {
    const container = open.at(-1)
    if (token === "}" || token === "]") {
      open.pop()
    } else if (token === ",") {
      if (container !== undefined) {
        container.hasKey = false
        container.key = container.isObject ? "" : Number(container.key) + 1
      }
    } else if (container?.isObject === true && !container.hasKey) {
      container.key = String(JSON.parse(token))
      container.hasKey = true
      offsets.set(path(), at)
    } else if (token !== ":") {
      if (container?.isObject !== true) {
        offsets.set(path(), at)
      }
      if (token === "{" || token === "[") {
        open.push({ isObject: token === "{", key: token === "{" ? "" : 0, hasKey: false })
      }
    }
  }
  return offsets
}

/** Where `JSON.parse` has stopped, as its messages say since Node 20. */
const errorLine = (text: string, message: string): number => {
  const line = /\(line (\d+) column/.exec(message)?.[1]
  const position = /at position (\d+)/.exec(message)?.[1]
  return line !== undefined
    ? Number(line)
    : lineAt(text, position === undefined ? text.trimEnd().length : Number(position))
}

/** Reads JSON, or throws `Unreadable`. */
export const parse = (text: string): Parsed => {
  let value: unknown
  try {
    value = JSON.parse(text)
  } catch (cause) {
    const message = cause instanceof Error ? cause.message : String(cause)
    throw new Unreadable(message, errorLine(text, message))
  }
  return {
    value,
    lineOf: (path) => {
      const offsets = offsetsOf(text)
      const keys = path.map((key) => (typeof key === "number" ? key : String(key)))
      for (let length = keys.length; length >= 0; length--) {
        const offset = offsets.get(JSON.stringify(keys.slice(0, length)))
        if (offset !== undefined) {
          return lineAt(text, offset)
        }
      }
      return 1
    }
  }
}
