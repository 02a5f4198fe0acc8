/**
 * The heads and trailers of HTTP messages as header and trailer fields, which are the same in HTTP/2 and HTTP/3: RFC 9113
 * sections 8.2 and 8.3, RFC 9114 sections 4.2 and 4.3. Extended CONNECT (RFC 8441, RFC 9220) is not supported.
 */
import { type Field, type Fields, isName, isValue } from "../Fields.js"

/** Fields that break the rules. Thrown while a section is read, and caught where the stream is reset. */
export class MalformedMessage {
  constructor(readonly text: string) {}
}

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

/** Fields of HTTP/1 connections: RFC 9113 section 8.2.2 and RFC 9114 section 4.2. */
const connectionFields = new Set(["connection", "keep-alive", "proxy-connection", "transfer-encoding", "upgrade"])

const malformed = (text: string) => new MalformedMessage(text)

/**
 * Rejects a field that may not be there. White space around a value passes, against RFC 9113 section 8.2.1: grpc-go and
 * gRPC's C core send metadata and the text of a status as programs gave them.
 */
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

/** Checks trailers, or the fields behind the pseudo-header fields, and returns the content-length. */
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

/** What the version of HTTP asks of a request. */
export interface RequestRules {
  /** HTTP/3 asks for `:authority` or `host`; a gRPC request on HTTP/2 may have neither (PROTOCOL-HTTP2.md). */
  readonly needsAuthority: boolean
}

export const readRequestHead = (section: Fields, { needsAuthority }: RequestRules): RequestHead => {
  let method: string | undefined
  let scheme: string | undefined
  let named: string | undefined
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
        named = once(named, field)
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
  const authority = readAuthority(named, fields)
  if (method === undefined || method === "") {
    throw malformed("a request without a method")
  }
  if (method === "CONNECT") {
    if (scheme !== undefined || path !== undefined || named === undefined) {
      throw malformed("a CONNECT request with a scheme or path, or without an authority")
    }
  } else {
    checkTarget(method, scheme, path)
    if (needsAuthority && authority === undefined && isHttp(scheme)) {
      throw malformed("a request without an authority")
    }
  }
  return { method, scheme, authority, path, fields, contentLength }
}

/** The one authority of a request, whether `:authority` or `host` names it. */
const readAuthority = (named: string | undefined, fields: Fields): string | undefined => {
  let authority = named
  let hosts = 0
  for (const [name, value] of fields) {
    if (name === "host") {
      hosts += 1
      authority ??= value
      if (hosts > 1 || authority !== value) {
        throw malformed("a request with two authorities")
      }
    }
  }
  if (authority === "") {
    throw malformed("a request with an empty authority")
  }
  return authority
}

const isHttp = (scheme: string | undefined): boolean => scheme === "https" || scheme === "http"

const checkTarget = (method: string, scheme: string | undefined, path: string | undefined) => {
  if (scheme === undefined || path === undefined) {
    throw malformed("a request without a scheme or path")
  }
  if (isHttp(scheme) && path.charCodeAt(0) !== 0x2f && !(path === "*" && method === "OPTIONS")) {
    throw malformed("a path that does not begin with a slash")
  }
}

const statusPattern = /^[1-9][0-9][0-9]$/

export const readResponseHead = (section: Fields): ResponseHead => {
  const first = section[0]
  if (first === undefined || first[0] !== ":status" || !statusPattern.test(first[1]) || first[1] === "101") {
    throw malformed("a response that does not begin with a status")
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
