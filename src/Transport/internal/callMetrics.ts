/**
 * What is measured of each call, on every wire: found once for each method and status, so that a call does no more than add
 * to it. Labels are OpenTelemetry's, and come from the contract and the program alone: nothing that a peer invents is one.
 */
import * as Cause from "effect/Cause"
import * as Option from "effect/Option"
import * as Metric from "../../effect/Metric.js"
import { HandshakeFailed, isStatusError } from "../TransportError.js"
import * as Keys from "./metricKeys.js"

/** What is measured of one method, at one side. Undefined where metrics are off. */
export interface Method {
  readonly side: "client" | "server"
  readonly labels: Labels
  /** By status code: made when a call first ends with it. */
  readonly durations: Array<Metric.Hook | undefined>
  readonly messagesSent: Metric.Hook
  readonly bytesSent: Metric.Hook
  readonly messagesReceived: Metric.Hook
  readonly bytesReceived: Metric.Hook
  waited: Metric.Hook | undefined
}

type Labels = { readonly [name: string]: string | undefined }

/** The methods of one server as a client sees it, or of all listeners of a wire. */
export type Methods = (path: string) => Method

/** `rpc.system.name` of wires that speak no standard. */
export const ownSystem = "effect_transport"

/** The label of what no contract of this process has. */
export const unknown = "unknown"

const names = [
  "OK",
  "CANCELLED",
  "UNKNOWN",
  "INVALID_ARGUMENT",
  "DEADLINE_EXCEEDED",
  "NOT_FOUND",
  "ALREADY_EXISTS",
  "PERMISSION_DENIED",
  "RESOURCE_EXHAUSTED",
  "FAILED_PRECONDITION",
  "ABORTED",
  "OUT_OF_RANGE",
  "UNIMPLEMENTED",
  "INTERNAL",
  "UNAVAILABLE",
  "DATA_LOSS",
  "UNAUTHENTICATED"
] as const

export const statusName = (code: number): string => names[code] ?? "UNKNOWN"

/** What is the fault of whoever answers: the others are not errors to a server. */
const serverFaults = new Set(["UNKNOWN", "DEADLINE_EXCEEDED", "UNIMPLEMENTED", "INTERNAL", "UNAVAILABLE", "DATA_LOSS"])

/**
 * `error.type` of a status, where it counts as an error.
 *
 * Source: OpenTelemetry's semantic conventions for gRPC, "rpc.response.status_code".
 */
export const errorType = (side: "client" | "server", code: number): string | undefined => {
  const name = statusName(code)
  return (side === "client" ? code !== 0 : serverFaults.has(name)) ? name : undefined
}

export const cancelled = 1

export const deadlineExceeded = 4

/** The status of what a call failed with: of a `HandshakeFailed`, what a handler that passes it on answers with. */
export const codeOf = (error: { readonly _tag: string }): number =>
  "code" in error && typeof error.code === "number" ? error.code : 14

/** The same of a cause: a call that was given up, or whose own requests failed, is cancelled. */
export const codeOfCause = (cause: Cause.Cause<unknown>): number => {
  const failure = Option.getOrUndefined(Cause.failureOption(cause))
  return isStatusError(failure) || failure instanceof HandshakeFailed ? codeOf(failure) : cancelled
}

/**
 * How a call ended that was interrupted at the serving side after so many milliseconds of those that it had: a caller whose
 * deadline passes resets the call, and that reset is here at about the time at which the deadline passes here.
 */
export const interruptedCode = (elapsed: number, timeout: number): number =>
  elapsed >= timeout - Math.min(250, timeout / 5) ? deadlineExceeded : cancelled

/** `rpc.method` of a path: without its leading slash. */
export const methodName = (path: string): string => path.slice(1)

/** Servers that metrics tell apart: targets may come from others, and a metric that was once made stays. */
const maxServers = 64

const other = { "server.address": "other" }

/** The labels of a target as `Peer.formatTarget` writes it. */
export const serverLabels = (target: string): Labels => {
  if (target.startsWith("unix:")) {
    return { "server.address": target.slice(5) }
  }
  const colon = target.lastIndexOf(":")
  return colon < 0
    ? { "server.address": target }
    : { "server.address": target.slice(0, colon).replace(/^\[|\]$/g, ""), "server.port": target.slice(colon + 1) }
}

/** The paths of contracts that this process has called or served. */
const known = new Set<string>()

const make = (side: Method["side"], system: string, path: string, server: Labels): Method => {
  const method = { "rpc.system.name": system, "rpc.method": path === unknown ? unknown : methodName(path) }
  known.add(path)
  const messages = { ...method, side }
  const bytes = { ...messages, unit: "By" }
  return {
    side,
    labels: { ...method, ...server, unit: "s" },
    durations: [],
    messagesSent: Metric.hook(Keys.messagesSent, messages),
    bytesSent: Metric.hook(Keys.bytesSent, bytes),
    messagesReceived: Metric.hook(Keys.messagesReceived, messages),
    bytesReceived: Metric.hook(Keys.bytesReceived, bytes),
    waited: undefined
  }
}

const methodsOf = (side: Method["side"], system: string, server: Labels): Methods => {
  const methods = new Map<string, Method>()
  return (path) => {
    const found = methods.get(path)
    if (found !== undefined) {
      return found
    }
    const made = make(side, system, path, server)
    methods.set(path, made)
    return made
  }
}

/** By system, and at clients by target. */
const clients = new Map<string, Methods>()
const servers = new Map<string, Methods>()

const orMake = (all: Map<string, Methods>, key: string, make: () => Methods): Methods => {
  const found = all.get(key)
  if (found !== undefined) {
    return found
  }
  const made = make()
  all.set(key, made)
  return made
}

/**
 * The methods of a server, if metrics are on. Where the other end made the connection, `target` is undefined: what it calls from is one of as
 * many addresses as it likes.
 */
export const client = (isOn: boolean, system: string | undefined, target: string | undefined): Methods | undefined =>
  isOn ? clientOf(system ?? ownSystem, target) : undefined

const clientOf = (system: string, target: string | undefined): Methods => {
  const key = `${system} ${target ?? ""}`
  const isOther = target === undefined || (clients.size >= maxServers && !clients.has(key))
  return isOther
    ? orMake(clients, system, () => methodsOf("client", system, other))
    : orMake(clients, key, () => methodsOf("client", system, serverLabels(target)))
}

/** Those of all listeners of a system, if metrics are on. To be asked with paths that are served, or `unknown`. */
export const server = (isOn: boolean, system: string): Methods | undefined =>
  isOn ? orMake(servers, system, () => methodsOf("server", system, {})) : undefined

const inFlight = Metric.hook(Keys.clientCallsInFlight, {})
let calls = 0

/** A client's call has begun. */
export const began = (method: Method | undefined): void => {
  if (method !== undefined) {
    calls += 1
    inFlight.update(calls)
  }
}

/** A call has ended with a status. */
export const ended = (method: Method | undefined, code: number, millis: number): void => {
  if (method === undefined) {
    return
  }
  const hook = method.durations[code] ?? makeDuration(method, code)
  hook.update(millis / 1000)
}

/** A call was refused for its head; by default, one of a path that is not served. */
export const refused = (methods: Methods | undefined, error: { readonly _tag: string }, path: string = unknown): void =>
  ended(methods?.(path), codeOf(error), 0)

/** A client's call that had begun has ended. */
export const endedInFlight = (method: Method | undefined, code: number, millis: number): void => {
  if (method !== undefined) {
    calls -= 1
    inFlight.update(calls)
    ended(method, code, millis)
  }
}

/** What failed so far is not how the call ends: it goes to another endpoint. */
export const endedElsewhere = (method: Method | undefined): void => {
  if (method !== undefined) {
    calls -= 1
    inFlight.update(calls)
  }
}

const makeDuration = (method: Method, code: number): Metric.Hook => {
  const { labels, side } = method
  const hook = Metric.hook(side === "client" ? Keys.clientCallDuration : Keys.serverCallDuration, {
    ...labels,
    "rpc.response.status_code": statusName(code),
    "error.type": errorType(side, code)
  })
  method.durations[code] = hook
  return hook
}

/** A message has left, of so many bytes. */
export const sent = (method: Method | undefined, bytes: number): void => {
  if (method !== undefined) {
    method.messagesSent.update(1)
    method.bytesSent.update(bytes)
  }
}

/** A message has come. */
export const received = (method: Method | undefined, bytes: number): void => {
  if (method !== undefined) {
    method.messagesReceived.update(1)
    method.bytesReceived.update(bytes)
  }
}

/** A call has waited until its peer took one more, or given that up. */
export const waited = (method: Method | undefined, millis: number): void => {
  if (method !== undefined) {
    const { "rpc.method": name, "rpc.system.name": system } = method.labels
    method.waited ??= Metric.hook(Keys.queueTime, { "rpc.method": name, "rpc.system.name": system, unit: "s" })
    method.waited.update(millis / 1000)
  }
}

const retries = new Map<string, Metric.Hook>()

/** A call is retried. What is not an error of this library's own, or not of a known method, is not told apart. */
export const retried = (error: unknown): void => {
  const isOwn = isStatusError(error) || error instanceof HandshakeFailed
  const type = isOwn ? statusName(codeOf(error)) : "other"
  const path = isOwn && error.method !== undefined && known.has(error.method) ? error.method : unknown
  const key = `${type} ${path}`
  const hook =
    retries.get(key) ??
    Metric.hook(Keys.retries, { "error.type": type, "rpc.method": path === unknown ? unknown : methodName(path) })
  retries.set(key, hook)
  hook.update(1)
}
