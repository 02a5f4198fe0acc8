/** Where in a JSON text something stands, for messages that name the line. */

const space = /\s*/y
const string = /"(?:[^"\\]|\\.)*"/y
const plain = /[^\s,\]}]+/y

const after = (pattern: RegExp, text: string, position: number): number => {
  pattern.lastIndex = position
  return pattern.test(text) ? pattern.lastIndex : position
}

/** Behind the value that begins at a position of a valid text. */
const skip = (text: string, start: number): number => {
  let depth = 0
  let position = start
  do {
    const char = text[position]
    if (char === '"') {
      position = after(string, text, position)
    } else if (char === "[" || char === "{") {
      depth += 1
      position += 1
    } else if (char === "]" || char === "}") {
      depth -= 1
      position += 1
    } else if (char === "," || char === ":") {
      position += 1
    } else {
      position = after(plain, text, position)
    }
    position = depth === 0 ? position : after(space, text, position)
  } while (depth > 0 && position < text.length)
  return position
}

/** The position of an element or a member of the value at a position; that of the value itself where it has none. */
const childOf = (text: string, start: number, key: PropertyKey): number => {
  const isObject = text[start] === "{"
  let position = after(space, text, start + 1)
  for (let index = 0; position < text.length && text[position] !== "]" && text[position] !== "}"; index++) {
    let name: PropertyKey = index
    if (isObject) {
      const end = after(string, text, position)
      name = JSON.parse(text.slice(position, end))
      position = after(space, text, after(space, text, end) + 1)
    }
    if (name === key) {
      return position
    }
    position = after(space, text, skip(text, position))
    position = text[position] === "," ? after(space, text, position + 1) : position
  }
  return start
}

/** The line of a position, from 1. */
export const lineAt = (text: string, position: number): number => text.slice(0, position).split("\n").length

/** The line of what stands at a path of a valid text. */
export const lineOf = (text: string, path: ReadonlyArray<PropertyKey>): number =>
  lineAt(
    text,
    path.reduce((position: number, key) => childOf(text, position, key), after(space, text, 0))
  )

/** The line that `JSON.parse` complains of. */
export const lineOfError = (text: string, error: unknown): number => {
  const position = error instanceof Error ? /at position (\d+)/.exec(error.message)?.[1] : undefined
  return lineAt(text, position === undefined ? unexpectedAt(text) : Number(position))
}

const hasUnexpected = (text: string): boolean => {
  try {
    JSON.parse(text)
    return false
  } catch (error) {
    return error instanceof Error && error.message.startsWith("Unexpected token")
  }
}

/** Node 20 does not say where an unexpected token is: at the end of the shortest beginning of the text that has one. */
const unexpectedAt = (text: string): number => {
  if (!hasUnexpected(text)) {
    return text.length
  }
  let without = 0
  let having = text.length
  while (having - without > 1) {
    const middle = Math.floor((without + having) / 2)
    if (hasUnexpected(text.slice(0, middle))) {
      having = middle
    } else {
      without = middle
    }
  }
  return without
}
