/** Where to listen: defaults, checks, and the system's errors as `BindError`. */
import * as Effect from "effect/Effect"
import * as Peer from "../Peer.js"
import { BindError } from "../TransportError.js"
import type { ListenOptions } from "../TransportService.js"

const reasons: Record<string, BindError["reason"]> = {
  EADDRINUSE: "AddressInUse",
  EACCES: "AccessDenied",
  EPERM: "AccessDenied",
  EADDRNOTAVAIL: "AddressNotAvailable",
  EAFNOSUPPORT: "AddressNotAvailable",
  ENOTFOUND: "InvalidAddress",
  EAI_AGAIN: "InvalidAddress",
  EINVAL: "InvalidAddress",
  ENAMETOOLONG: "InvalidAddress"
}

/** Where to listen, with the defaults filled in. */
export const address = ({ host = "127.0.0.1", path, port = 0 }: ListenOptions): Peer.Address =>
  path === undefined ? { host, port } : { host: "", port: 0, path }

/** What no transport can listen on. A port beyond 65535 would be another port on some, and an exception on others. */
export const check = (where: ListenOptions): Effect.Effect<void, BindError> => {
  const { mode = 0, path, port = 0 } = where
  return path === undefined && !(Number.isInteger(port) && port >= 0 && port <= 65535)
    ? Effect.fail(error(where, "InvalidAddress", `port ${port} is not an integer between 0 and 65535`))
    : !(Number.isInteger(mode) && mode >= 0 && mode <= 0o777)
      ? Effect.fail(error(where, "InvalidAddress", `mode ${mode} is not between 0 and 0o777`))
      : Effect.void
}

export const error = (where: ListenOptions, reason: BindError["reason"], why: string, cause?: unknown): BindError => {
  const wanted = Peer.formatAddress(address(where))
  return new BindError({ reason, address: wanted, message: `can't listen on ${wanted}: ${why}`, cause })
}

/** What the system says. */
export const fromSystem = (where: ListenOptions, cause: NodeJS.ErrnoException): BindError =>
  error(where, reasons[cause.code ?? ""] ?? "Unknown", cause.message, cause)
