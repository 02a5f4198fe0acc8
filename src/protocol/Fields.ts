/**
 * The header and trailer fields of HTTP as HTTP/2 and HTTP/3 send them: RFC 9110 section 5. They are the entries of metadata
 * whose values are all text.
 */

/** A header or trailer field. Its characters stand for bytes, as in latin1. */
export type Field = readonly [name: string, value: string]

export type Fields = ReadonlyArray<Field>

/** The size of a field as RFC 9113 section 6.5.2 and RFC 9114 section 4.2.2 count it: name, value and 32 bytes. */
export const sizeOf = ([name, value]: Field): number => 32 + name.length + value.length

/** The size of a header or trailer section. */
export const sectionSize = (fields: Fields): number => {
  let size = 0
  for (const field of fields) {
    size += sizeOf(field)
  }
  return size
}

/** Fields that must not be put into a dynamic table: RFC 7541 section 7.1.3 and RFC 9204 section 7.1.3. */
export const secrets: ReadonlySet<string> = new Set(["authorization", "cookie", "proxy-authorization", "set-cookie"])

const nameCharacters = new Uint8Array(256)
for (const character of "!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyz") {
  nameCharacters[character.charCodeAt(0)] = 1
}

/** A field name as HTTP/2 and HTTP/3 send it: a token without upper case. */
export const isName = (name: string): boolean => {
  for (let i = 0; i < name.length; i++) {
    if (nameCharacters[name.charCodeAt(i)] !== 1) {
      return false
    }
  }
  return name.length > 0
}

/** A field value: no control characters but the tab, and none beyond one byte. */
export const isValue = (value: string): boolean => {
  for (let i = 0; i < value.length; i++) {
    const code = value.charCodeAt(i)
    if ((code < 0x20 && code !== 0x09) || code === 0x7f || code > 0xff) {
      return false
    }
  }
  return true
}
