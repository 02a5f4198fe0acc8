/** Reads from the private parts of a grpc-js call what its public ones don't tell: stream, session, HTTP status. */
import type { Http2Session } from "node:http2"
import { Duplex } from "node:stream"
import type * as Grpc from "@grpc/grpc-js"

type Call = ReturnType<Grpc.ChannelInterface["createCall"]>

/**
 * What grpc-js 1.14 keeps of a call that has reached a connection. Nothing public leads to it: where another grpc-js keeps it
 * elsewhere, nothing is found.
 */
const path = ["child", "underlyingCalls", "0", "call", "child"]

const get = (value: unknown, key: string): unknown =>
  typeof value === "object" && value !== null ? Reflect.get(value, key) : undefined

const of = (call: Call): unknown => path.reduce<unknown>(get, call)

/** The HTTP/2 stream of a call. */
export const http2Stream = (call: Call): Duplex | undefined => {
  const stream = get(of(call), "http2Stream")
  return stream instanceof Duplex ? stream : undefined
}

const isSession = (u: unknown): u is Http2Session => typeof get(u, "ping") === "function"

/** The connection of a call that has reached one. */
export const session = (call: Call): Http2Session | undefined => {
  const session = get(get(of(call), "transport"), "session")
  return isSession(session) ? session : undefined
}

/** The HTTP status of an answer whose headers have come. */
export const httpStatus = (call: Call): number => {
  const status = get(of(call), "httpStatusCode")
  return typeof status === "number" ? status : 200
}

/** Whether a message of the answer has begun and not ended. */
export const isMidMessage = (call: Call): boolean => {
  const state = get(get(of(call), "decoder"), "readState")
  return typeof state === "number" && state !== 0
}

/** Whether the connection of a call is gone. */
export const isConnectionLost = (call: Call): boolean => session(call)?.destroyed === true
