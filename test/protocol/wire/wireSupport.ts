import { constVoid } from "effect/Function"
import type { Entries } from "../../../src/protocol/Entries.js"
import type { Reason } from "../../../src/protocol/wire/Wire.js"
import * as WireConnection from "../../../src/protocol/wire/WireConnection.js"

export const limits: WireConnection.Limits = {
  maxMessageSize: 100_000,
  maxMetadataSize: 2_000,
  maxCalls: 8,
  streamWindow: 40_000,
  connectionWindow: 120_000,
  maxCallRate: 1_000_000,
  maxCancelRate: 1_000_000,
  maxPingRate: 1_000_000,
  maxUselessRate: 1_000_000
}

/** What one end was told, as readable lines; messages are told apart by size and sum. */
export interface End {
  readonly wire: WireConnection.WireConnection
  readonly log: Array<string>
  /** Messages as they came, with what they cost. */
  readonly inbox: Map<
    number,
    Array<{ readonly message: Uint8Array; readonly cost: number; readonly costOnConnection: number }>
  >
}

const show = (metadata: Entries) => metadata.map(([key, value]) => `${key}=${String(value)}`).join("&")

/** A message of a size. */
export const bytes = (size: number) => Uint8Array.from({ length: size }, (_, i) => (i * 7 + (i >> 8)) & 0xff)

export const digest = (bytes: Uint8Array) => `${bytes.length}:${bytes.reduce((sum, byte) => (sum * 31 + byte) | 0, 7)}`

export const makeEnd = (
  role: "client" | "server",
  options: Partial<WireConnection.Limits> = {},
  on: Partial<WireConnection.Events> = {}
): End => {
  const log: Array<string> = []
  const inbox: End["inbox"] = new Map()
  const events: WireConnection.Events = {
    onSettings: constVoid,
    onOpen: (call, { halfClosed, message, metadata, path, timeout }) => {
      log.push(
        `open ${call} ${path} ${timeout} ${show(metadata)} ${message === undefined ? "-" : digest(message)} ${halfClosed}`
      )
    },
    onMessage: (call, message, cost, costOnConnection) => {
      log.push(`message ${call} ${digest(message)}`)
      inbox.set(call, [...(inbox.get(call) ?? []), { message, cost, costOnConnection }])
    },
    onHalfClose: (call) => log.push(`half-close ${call}`),
    onHeaders: (call, headers) => log.push(`headers ${call} ${show(headers)}`),
    onReply: (call, { headers, message, trailers }) =>
      log.push(`reply ${call} ${show(headers)} ${digest(message)} ${show(trailers)}`),
    onTrailers: (call, { code, details, message, metadata }) =>
      log.push(`trailers ${call} ${code} ${message} ${digest(details)} ${show(metadata)}`),
    onCancel: (call) => log.push(`cancel ${call}`),
    onDropped: (call, reason) => log.push(`dropped ${call} ${reason}`),
    onPong: (payload) => log.push(`pong ${payload}`),
    onGoaway: ({ lastCall, reason, text }) => log.push(`goaway ${lastCall} ${reason} ${text}`),
    ...on
  }
  return { wire: WireConnection.make(role, { ...limits, ...options }, events), log, inbox }
}

/** Carries what one end has written to the other, in pieces of the given sizes, over and over. */
export const carry = (
  from: End,
  to: End,
  sizes: ReadonlyArray<number> = [Number.POSITIVE_INFINITY],
  now = 0
): number => {
  const bytes = Buffer.concat(from.wire.output(64 * 1024))
  let at = 0
  for (let i = 0; at < bytes.length; i++) {
    const size = Math.max(1, sizes[i % sizes.length] ?? 1)
    to.wire.receive(bytes.subarray(at, Math.min(bytes.length, at + size)), now)
    at += size
  }
  return bytes.length
}

/** Carries both ways until nothing moves. */
export const settle = (a: End, b: End, sizes?: ReadonlyArray<number>): void => {
  let moved = 1
  for (let i = 0; moved > 0; i++) {
    if (i > 10_000) {
      throw new Error("two ends do not come to rest")
    }
    moved = carry(a, b, sizes) + carry(b, a, sizes)
  }
}

export const pair = (options?: Partial<WireConnection.Limits>) => {
  const client = makeEnd("client", options)
  const server = makeEnd("server", options)
  settle(client, server)
  return { client, server }
}

/** Reads all that an end has received and not read. */
export const readAll = (end: End): void => {
  for (const [call, messages] of end.inbox) {
    for (const { cost, costOnConnection } of messages) {
      end.wire.consumed(call, cost, costOnConnection)
    }
  }
  end.inbox.clear()
}

/** The reason that an end gives for bytes that break the rules, or undefined for such as do not. */
export const reasonFor = (run: () => void): Reason | undefined => {
  try {
    run()
    return undefined
  } catch (error) {
    if (typeof error === "object" && error !== null && "reason" in error) {
      return error.reason as Reason
    }
    throw error
  }
}

export const request = (path = "/a.B/C", timeout = 1000, metadata: Entries = []) => ({
  path,
  timeout,
  metadata
})
