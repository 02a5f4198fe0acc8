/** Why a peer can't be reached, in the words of the system: the same on every wire. */
import { formatAddress } from "../Peer.js"
import { Unavailable } from "../TransportError.js"

/** More addresses than these are not named in a message; the cause has all. */
const maxNamed = 8

const get = (error: object, key: string): unknown => Reflect.get(error, key)

/** What the system was asked about: an address and port, the path of a socket, or a name. */
const subjectOf = (error: Error): string => {
  const address = get(error, "address") ?? get(error, "hostname")
  const port = get(error, "port")
  return typeof address !== "string"
    ? ""
    : typeof port === "number"
      ? ` ${formatAddress({ host: address, port })}`
      : ` ${address}`
}

const reasonsOf = (cause: unknown): ReadonlyArray<string> => {
  if (cause instanceof AggregateError && cause.errors.length > 0) {
    return [...new Set(cause.errors.flatMap(reasonsOf))]
  }
  if (!(cause instanceof Error)) {
    return ["the connection was closed"]
  }
  const code = get(cause, "code")
  return typeof code === "string" && /^E[A-Z_]+$/.test(code) && subjectOf(cause) !== ""
    ? [`${get(cause, "syscall") === "getaddrinfo" ? "getaddrinfo" : "connect"} ${code}${subjectOf(cause)}`]
    : [cause.message]
}

/** `"connect ECONNREFUSED 127.0.0.1:9"`, `"getaddrinfo ENOTFOUND name"`, one for each address that was tried. */
export const reasonOf = (cause: unknown): string => {
  const reasons = reasonsOf(cause)
  const more = reasons.length - maxNamed
  return `${reasons.slice(0, maxNamed).join(", ")}${more > 0 ? `, and ${more} more` : ""}`
}

/** An error of the system that does not say what it is about. */
export const about = (cause: Error, host: string, port: number): Error =>
  Object.assign(new Error(cause.message, { cause }), {
    code: get(cause, "code"),
    syscall: "connect",
    address: host,
    port
  })

/** Nobody was there. */
export const unreachable = (peer: string, cause?: unknown): Unavailable =>
  new Unavailable({
    message: `can't connect to ${peer}: ${reasonOf(cause)}`,
    peer,
    processed: "no",
    ...(cause === undefined ? {} : { cause })
  })
