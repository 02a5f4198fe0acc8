/**
 * What may stand in header and trailer sections: RFC 9110 section 5 and RFC 9114 sections 4.2 and 4.3.
 */
import { type Field, type Fields, isName, isValue } from "../Fields.js"
import { onStream } from "./Http3Error.js"

export interface RequestHead {
  readonly method: string
  /** Undefined for CONNECT, which has no path either. */
  readonly scheme: string | undefined
  /** From `:authority`, or from `host` where that is missing. */
  readonly authority: string | undefined
  readonly path: string | undefined
  readonly fields: Fields
  readonly contentLength: number | undefined
}

export interface ResponseHead {
  readonly status: number
  readonly fields: Fields
  readonly contentLength: number | undefined
}

/** Fields of HTTP/1 connections, which HTTP/3 has no use for: RFC 9114 section 4.2. */
const connectionFields = new Set(["connection", "keep-alive", "proxy-connection", "transfer-encoding", "upgrade"])

const malformed = (text: string) => onStream("H3_MESSAGE_ERROR", text)

/** A field that may not be there is a violation. */
const checkField = ([name, value]: Field): void => {
  if (!isName(name)) {
    throw malformed(name.startsWith(":") ? "a pseudo-header field out of place" : "a field name with wrong characters")
  }
  if (!isValue(value)) {
    throw malformed(`the value of ${name} has wrong characters`)
  }
  if (connectionFields.has(name) || (name === "te" && value.toLowerCase() !== "trailers")) {
    throw malformed(`a field that belongs to HTTP/1 connections: ${name}`)
  }
}

const digits = /^[0-9]{1,15}$/

const readContentLength = (before: number | undefined, value: string): number => {
  const length = Number(value)
  if (!digits.test(value) || (before !== undefined && before !== length)) {
    throw malformed("a content-length that is no number, or two that differ")
  }
  return length
}

/** Checks trailers, or the fields behind the pseudo-header fields, and gives the content-length. */
const checkFields = (fields: Fields, start: number): number | undefined => {
  let contentLength: number | undefined
  for (let i = start; i < fields.length; i++) {
    const field = fields[i]
    if (field !== undefined) {
      checkField(field)
      if (field[0] === "content-length") {
        contentLength = readContentLength(contentLength, field[1])
      }
    }
  }
  return contentLength
}

export const readTrailers = (fields: Fields): Fields => {
  checkFields(fields, 0)
  return fields
}

/** Whether all characters are visible ASCII, as in all that pseudo-header fields may hold. */
const isVisible = (value: string): boolean => {
  for (let i = 0; i < value.length; i++) {
    const code = value.charCodeAt(i)
    if (code < 0x21 || code > 0x7e) {
      return false
    }
  }
  return true
}

const once = (before: string | undefined, [name, value]: Field): string => {
  if (before !== undefined || !isVisible(value)) {
    throw malformed(`${name} twice, or with wrong characters`)
  }
  return value
}

export const readRequestHead = (section: Fields): RequestHead => {
  let method: string | undefined
  let scheme: string | undefined
  let authority: string | undefined
  let path: string | undefined
  let count = 0
  for (const field of section) {
    if (field[0].charCodeAt(0) !== 0x3a) {
      break
    }
    switch (field[0]) {
      case ":method":
        method = once(method, field)
        break
      case ":scheme":
        scheme = once(scheme, field)
        break
      case ":authority":
        authority = once(authority, field)
        break
      case ":path":
        path = once(path, field)
        break
      default:
        throw malformed("a pseudo-header field that no request has")
    }
    count += 1
  }
  const contentLength = checkFields(section, count)
  const fields = section.slice(count)
  const host = fields.find(([name]) => name === "host")?.[1]
  if (method === undefined || method === "" || authority === "" || host === "") {
    throw malformed("a request without a method, or with an empty authority")
  }
  if (authority !== undefined && host !== undefined && authority !== host) {
    throw malformed("a request with two authorities")
  }
  if (method === "CONNECT") {
    if (scheme !== undefined || path !== undefined || authority === undefined) {
      throw malformed("a CONNECT request with a scheme or path, or without an authority")
    }
  } else {
    checkTarget(method, scheme, authority ?? host, path)
  }
  return { method, scheme, authority: authority ?? host, path, fields, contentLength }
}

const checkTarget = (
  method: string,
  scheme: string | undefined,
  authority: string | undefined,
  path: string | undefined
) => {
  if (scheme === undefined || path === undefined) {
    throw malformed("a request without a scheme or path")
  }
  if (scheme === "https" || scheme === "http") {
    if (authority === undefined) {
      throw malformed("a request without an authority")
    }
    if (path.charCodeAt(0) !== 0x2f && !(path === "*" && method === "OPTIONS")) {
      throw malformed("a path that does not begin with a slash")
    }
  }
}

const statusPattern = /^[1-9][0-9][0-9]$/

export const readResponseHead = (section: Fields): ResponseHead => {
  const first = section[0]
  if (first === undefined || first[0] !== ":status" || !statusPattern.test(first[1]) || first[1] === "101") {
    throw malformed("a response that does not begin with a status of HTTP/3")
  }
  const contentLength = checkFields(section, 1)
  return { status: Number(first[1]), fields: section.slice(1), contentLength }
}

/** The section of a request: its pseudo-header fields, then the others. */
export const requestSection = (head: Omit<RequestHead, "contentLength">): Fields => {
  const section: Array<Field> = [[":method", head.method]]
  if (head.scheme !== undefined) {
    section.push([":scheme", head.scheme])
  }
  if (head.authority !== undefined) {
    section.push([":authority", head.authority])
  }
  if (head.path !== undefined) {
    section.push([":path", head.path])
  }
  return section.concat(head.fields)
}

export const responseSection = (head: Omit<ResponseHead, "contentLength">): Fields => [
  [":status", String(head.status)],
  ...head.fields
]
