import { describe, expect, it } from "@effect/vitest"
import * as Fields from "../../../src/protocol/Fields.js"
import * as HttpFields from "../../../src/protocol/http/HttpFields.js"

const get: Fields.Fields = [
  [":method", "GET"],
  [":scheme", "https"],
  [":authority", "a.example"],
  [":path", "/"]
]

const ok: Fields.Field = [":status", "200"]

const request = (section: Fields.Fields, needsAuthority = false) =>
  HttpFields.readRequestHead(section, { needsAuthority })

/** Anything else that is thrown goes on. */
const isMalformed = (run: () => void): boolean => {
  try {
    run()
    return false
  } catch (error) {
    if (error instanceof HttpFields.MalformedMessage) {
      return true
    }
    throw error
  }
}

describe("heads", () => {
  const head = { method: "PUT", scheme: "https", authority: "a", path: "/p?q", fields: [["x", "y"]] } as const

  it("what is written is what is read", () => {
    expect(request(HttpFields.requestSection(head))).toEqual({ ...head, contentLength: undefined })
    const response = { status: 404, fields: [["content-length", "12"]] } as const
    expect(HttpFields.readResponseHead(HttpFields.responseSection(response))).toEqual({
      ...response,
      contentLength: 12
    })
  })

  it("the authority may be named by host, and by both where they agree", () => {
    const { authority: _, ...rest } = head
    const byHost = { ...rest, authority: undefined, fields: [["host", "b"]] } as const
    expect(request(HttpFields.requestSection(byHost), true).authority).toBe("b")
    expect(request([...get, ["host", "a.example"]], true).authority).toBe("a.example")
  })

  it("the authority may be missing where the version of HTTP lets it", () => {
    const section = get.filter(([name]) => name !== ":authority")
    expect(request(section).authority).toBeUndefined()
    expect(isMalformed(() => request(section, true))).toBe(true)
    const foreign = section.map(([name, value]) => [name, name === ":scheme" ? "other" : value] as const)
    expect(request(foreign, true).authority).toBeUndefined()
  })

  it("white space around a value passes", () => {
    expect(request([...get, ["x", " a\t"]]).fields).toEqual([["x", " a\t"]])
  })
})

describe("what breaks the rules is malformed", () => {
  const without = (name: string) => get.filter((field) => field[0] !== name)
  const malformed: ReadonlyArray<readonly [string, ReadonlyArray<Fields.Field>]> = [
    ["no fields", []],
    ["no method", without(":method")],
    ["an empty method", [[":method", ""], ...without(":method")]],
    ["no scheme", without(":scheme")],
    ["an empty authority", [[":authority", ""], ...without(":authority")]],
    ["an empty host", [...get, ["host", ""]]],
    ["two authorities", [...get, ["host", "b"]]],
    ["two hosts", [...without(":authority"), ["host", "a"], ["host", "a"]]],
    ["no path", without(":path")],
    ["an empty path", [[":path", ""], ...without(":path")]],
    ["a path that is no path", [[":path", "a"], ...without(":path")]],
    ["a path with a space", [[":path", "/a b"], ...without(":path")]],
    ["a path with a control character", [[":path", "/\x7f"], ...without(":path")]],
    ["a GET of everything", [[":path", "*"], ...without(":path")]],
    ["a method twice", [...get, [":method", "GET"]]],
    ["a status in a request", [...get, ok]],
    ["a protocol", [...get, [":protocol", "websocket"]]],
    ["a pseudo-header field behind another", [["accept", "*/*"], ...get]],
    ["CONNECT with a path", [[":method", "CONNECT"], ...without(":method")]],
    ["CONNECT to nobody", [[":method", "CONNECT"]]],
    ["an upper case name", [...get, ["X-A", "1"]]],
    ["an empty name", [...get, ["", "1"]]],
    ["a name with a space", [...get, ["x a", "1"]]],
    ["a name beyond ASCII", [...get, ["x-é", "1"]]],
    ["a value with a line feed", [...get, ["x", "a\nb"]]],
    ["a value with a carriage return", [...get, ["x", "a\rb"]]],
    ["a value with a zero", [...get, ["x", "a\0b"]]],
    ["a value with a control character", [...get, ["x", "a\x7fb"]]],
    ["connection", [...get, ["connection", "close"]]],
    ["keep-alive", [...get, ["keep-alive", "1"]]],
    ["proxy-connection", [...get, ["proxy-connection", "close"]]],
    ["transfer-encoding", [...get, ["transfer-encoding", "chunked"]]],
    ["upgrade", [...get, ["upgrade", "h2c"]]],
    ["te with more than trailers", [...get, ["te", "trailers, gzip"]]],
    ["content-length that differ", [...get, ["content-length", "0"], ["content-length", "1"]]]
  ]
  for (const [name, section] of malformed) {
    it(name, () => {
      expect(isMalformed(() => request(section))).toBe(true)
    })
  }

  const responses: ReadonlyArray<readonly [string, ReadonlyArray<Fields.Field>]> = [
    ["a response without a status", [["x", "y"]]],
    ["a status of two digits", [[":status", "20"]]],
    ["a status that is no number", [[":status", "2x0"]]],
    ["a status twice", [ok, ok]],
    ["101", [[":status", "101"]]],
    ["a path in a response", [ok, [":path", "/"]]]
  ]
  for (const [name, section] of responses) {
    it(name, () => {
      expect(isMalformed(() => HttpFields.readResponseHead(section))).toBe(true)
    })
  }

  it("trailers with what belongs into a head", () => {
    for (const field of [[":path", "/"], ok, ["connection", "x"], ["te", "gzip"]] as const) {
      expect(isMalformed(() => HttpFields.readTrailers([field]))).toBe(true)
    }
  })
})

it("fields that a program wants to send can be checked before", () => {
  expect(["x-a", "", "X-A", "a b", ":path", "ä", "ű"].map(Fields.isName)).toEqual([true, ...Array(6).fill(false)])
  expect(["", "a b\t~", "ä", "a\nb", "\x7f", "ű", "Ċ"].map(Fields.isValue)).toEqual([
    ...Array(3).fill(true),
    ...Array(4).fill(false)
  ])
})
