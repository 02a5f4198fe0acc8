import { describe, expect, it } from "@effect/vitest"
import * as Either from "effect/Either"
import * as FastCheck from "effect/FastCheck"
import { Peer } from "effect-transport"

const port = FastCheck.integer({ min: 1, max: 65535 })
const host = FastCheck.oneof(FastCheck.domain(), FastCheck.ipV4(), FastCheck.ipV6())
const tcp = FastCheck.record({ _tag: FastCheck.constant("Tcp" as const), host, port })
const path = FastCheck.fullUnicodeString({ minLength: 1 }).filter(
  (path) => !path.includes("\0") && !path.startsWith("//")
)
const unix = FastCheck.record({ _tag: FastCheck.constant("Unix" as const), path })
const target: FastCheck.Arbitrary<Peer.Target> = FastCheck.oneof(tcp, unix)

const nearlyTarget = FastCheck.oneof(
  FastCheck.string(),
  FastCheck.fullUnicodeString(),
  FastCheck.stringMatching(/^\[?[0-9a-f:.%]{0,12}\]?:?[0-9]{0,6}$/),
  FastCheck.stringMatching(/^unix:\/{0,3}[a-z./]{0,8}$/)
)

describe("Peer", () => {
  it.prop("reads what it has formatted", [target], ([target]) => {
    expect(Peer.parseTarget(Peer.formatTarget(target))).toEqual(Either.right(target))
  })

  it.prop("reads any text without a throw, and formats what it accepts as it was meant", [nearlyTarget], ([text]) => {
    const target = Peer.parseTarget(text)
    if (Either.isLeft(target)) {
      expect(target.left).toBeTypeOf("string")
      expect(target.left).not.toBe("")
    } else {
      expect(Peer.parseTarget(Peer.formatTarget(target.right))).toEqual(target)
    }
  })

  it.each([
    ["node-1:50051", { _tag: "Tcp", host: "node-1", port: 50051 }],
    ["peer.example.org:443", { _tag: "Tcp", host: "peer.example.org", port: 443 }],
    ["127.0.0.1:1", { _tag: "Tcp", host: "127.0.0.1", port: 1 }],
    ["[::1]:65535", { _tag: "Tcp", host: "::1", port: 65535 }],
    ["[fe80::1%eth0]:80", { _tag: "Tcp", host: "fe80::1%eth0", port: 80 }],
    ["unix:/run/node.sock", { _tag: "Unix", path: "/run/node.sock" }],
    ["unix:///run/node.sock", { _tag: "Unix", path: "/run/node.sock" }],
    ["unix:node.sock", { _tag: "Unix", path: "node.sock" }]
  ] as const)("reads %s", (text, target) => {
    expect(Peer.parseTarget(text)).toEqual(Either.right(target))
  })

  it.each([
    "",
    "node-1",
    "node-1:",
    ":50051",
    "node-1:0",
    "node-1:65536",
    "node-1:x",
    "::1:80",
    "[::1]",
    "unix:",
    "a b:1"
  ])("refuses %j", (text) => {
    expect(Either.isLeft(Peer.parseTarget(text))).toBe(true)
  })
})
