import type { ListenOptions } from "../../Transport.js"
import * as Peer from "../Peer.js"
import { BindError } from "../TransportError.js"

const reasons: Record<string, BindError["reason"]> = {
  EADDRINUSE: "AddressInUse",
  EACCES: "AccessDenied",
  EPERM: "AccessDenied",
  EADDRNOTAVAIL: "AddressNotAvailable",
  EAFNOSUPPORT: "AddressNotAvailable",
  ENOTFOUND: "InvalidAddress",
  EAI_AGAIN: "InvalidAddress",
  EINVAL: "InvalidAddress",
  ENAMETOOLONG: "InvalidAddress",
  ERR_SOCKET_BAD_PORT: "InvalidAddress"
}

/** Where to listen, with the defaults filled in. */
export const address = ({ host = "127.0.0.1", path, port = 0 }: ListenOptions): Peer.Address =>
  path === undefined ? { host, port } : { host: "", port: 0, path }

export const error = (where: ListenOptions, reason: BindError["reason"], why: string, cause?: unknown): BindError => {
  const wanted = Peer.formatAddress(address(where))
  return new BindError({ reason, address: wanted, message: `can't listen on ${wanted}: ${why}`, cause })
}

/** What the system says. */
export const fromSystem = (where: ListenOptions, cause: NodeJS.ErrnoException): BindError =>
  error(where, reasons[cause.code ?? ""] ?? "Unknown", cause.message, cause)
